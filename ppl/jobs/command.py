"""Run entry points: parse settings from the command line, print errors as one line, record outputs."""

import dataclasses
import errno
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from ppl.jobs import fields
from ppl.jobs.errors import UserError
from ppl.jobs.files import FULL
from ppl.jobs.lifetime import end_with_snakemake, exit_on_signals
from ppl.jobs.provenance import record

Settings = TypeVar("Settings")

TRACEBACK = "PPL_TRACEBACK"
"""Environment variable: 1 to print the traceback of a user's error, with its causes, instead of one line."""
REMEDIES = {
    errno.ENOSPC: "free some space and run again; finished outputs are kept",
    errno.EDQUOT: "delete files of yours or ask for a larger quota, then run again",
    errno.EACCES: "change the permissions, or ask the owner to",
    errno.EPERM: "change the permissions, or ask the owner to",
    errno.ENOENT: "name an existing file, or run the step that writes it",
}
"""Advice if the system's own message ("No space left on device") does not imply one."""
WORKER_ERROR = f"{UserError.__module__}.{UserError.__name__}: "
"""Start of a UserError in the traceback of a data loader's worker process."""
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_FULL = (
    f"{SHARED_MEMORY}: shared memory is full; enlarge it (docker run --shm-size=2g), or lower hardware.workers"
)


def command(main: Callable[[Settings], None], settings: type[Settings]) -> None:
    """Run an entry point: parse `settings` from the command line, call `main`, record the outputs (provenance).

    A user's error is printed as one line and exits with 1; with PPL_TRACEBACK=1 as a traceback. A programming error
    stays a traceback. Signals and the end of Snakemake: `ppl.jobs.lifetime`.

    The module is imported under its own name, as its functions and classes are pickled by that name for worker
    processes, which do not import `__main__`.
    """
    module = importlib.import_module(sys.modules["__main__"].__spec__.name)
    signals = exit_on_signals()
    end_with_snakemake()
    try:
        values = parse(getattr(module, settings.__name__), sys.argv[1:], description=module.__doc__)
        getattr(module, main.__name__)(values)
        if os.environ.get("LOCAL_RANK", "0") == "0":  # in data-parallel training the first process writes
            record(module.__name__, values, sys.argv[1:])
    except BaseException as error:
        if signals:  # worker processes that received them too may raise errors here
            sys.exit(128 + signals[0])
        line = explain(error)
        if line is None or os.environ.get(TRACEBACK) == "1":
            raise
        sys.exit(f"error: {line}")


def parse(settings: type[Settings], arguments: Sequence[str], description: str | None = None) -> Settings:
    """Return the dataclass `settings` of a command line; flags of its sections are the keys of the configuration.

    A command with switches in its sections writes them as the configuration does, `--key True`; others have flags
    `--key`. UserError for a value of a section outside of its range.
    """
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_json_of_mapping)
    hints = get_type_hints(settings)
    sections = [hint for hint in hints.values() if isinstance(hint, type) and issubclass(hint, fields.Section)]
    config = (tyro.conf.FlagConversionOff,) if any(map(_has_switches, sections)) else ()
    values = tyro.cli(settings, args=list(arguments), description=description, registry=registry, config=config)
    for field in dataclasses.fields(values):
        section = getattr(values, field.name)
        if isinstance(section, fields.Section):
            where = f"command line, --{field.name}"
            fields.read(type(section), fields.plain(section), where, "--help lists all options")
    return values


def _has_switches(section: type[fields.Section]) -> bool:
    """Return whether a section, or one within it, has a field that is on or off."""
    hints = get_type_hints(section).values()
    return any(
        hint is bool or (isinstance(hint, type) and dataclasses.is_dataclass(hint) and _has_switches(hint))
        for hint in hints
    )


def _json_of_mapping(info: Any) -> Any:
    """Let tyro read the settings of a user's own module as JSON."""
    if info.type_origin is not dict:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda texts: json.loads(texts[0]),
        is_instance=lambda instance: isinstance(instance, dict),
        str_from_instance=lambda instance: [json.dumps(instance)],
    )


def explain(error: BaseException) -> str | None:
    """Return the message of an error that a user can fix, usually one line; None for a programming error."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, RuntimeError) and WORKER_ERROR in str(error):
        # A data loader cannot rebuild exceptions of several arguments: it raises the worker's traceback as text.
        return str(error).rpartition(WORKER_ERROR)[2].rstrip()
    if _lacks_shared_memory(error):
        return SHARED_MEMORY_FULL
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid"):
        return "data loader: a worker process was killed, often for lack of memory; lower hardware.workers"
    names_file = isinstance(error, OSError) and isinstance(error.filename, str | bytes | os.PathLike)
    if names_file or (isinstance(error, OSError) and error.errno in REMEDIES):
        where = f"{os.fsdecode(error.filename)}: " if names_file else ""
        remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
        return f"{where}{error.strerror}{remedy}"
    if isinstance(error, MemoryError):
        return "memory: out of memory; lower hardware.workers or a batch_size"
    if type(error).__name__ == "OutOfMemoryError":  # torch.OutOfMemoryError, without importing torch
        return f"GPU: out of memory ({str(error).split('. ')[0]}); lower a batch_size or a crop"
    return None


def _lacks_shared_memory(error: BaseException) -> bool:
    """Return whether shared memory, through which worker processes pass data, was too small."""
    text = str(error)
    if isinstance(error, RuntimeError):
        of_loader = text.startswith("DataLoader worker (pid") and "Bus error" in text
        return of_loader or ("shared memory" in text and "No space left" in text)
    # Semaphores of worker processes: the system names no file.
    nameless = isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None
    return nameless and SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < FULL
