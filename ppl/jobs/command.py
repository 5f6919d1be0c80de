"""How every step runs: settings as command line, errors as one line, an end when told, a record of its outputs."""

import errno
import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import tyro

from ppl.jobs.errors import UserError
from ppl.jobs.provenance import record

Settings = TypeVar("Settings")

PARENT = "PPL_PARENT"
"""Environment variable with the process id of the Snakemake whose job this is (workflow/rules/common.smk)."""
PATIENCE = 25  # seconds that a step has to save what it computes once its Snakemake is gone
REMEDIES = {
    errno.ENOSPC: "free some space and run again, what is finished is kept",
    errno.EDQUOT: "delete something of yours or ask for a larger quota, then run again",
    errno.EROFS: "work in a folder on a disk that can be written",
    errno.EACCES: "ask its owner for the permission, or chmod it",
    errno.EPERM: "ask its owner for the permission, or chmod it",
    errno.EMFILE: "allow more open files: ulimit -n",
    errno.ENOENT: "name a file that exists, or run the step that writes it",
    errno.EISDIR: "a file belongs here, not a folder",
    errno.ENOTDIR: "a folder belongs here, not a file",
    errno.EIO: "the disk fails: look at it before you run again",
    errno.ESTALE: "the network drive has lost it: mount the drive again, then run again",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle; make them end at a file",
}


def command(main: Callable[[Settings], None], settings: type[Settings]) -> None:
    """Runs an entry point: the settings dataclass is the command line, a mistake of the user one line and status 1.

    SIGTERM and SIGINT leave nothing half-written; so does the death of the Snakemake whose job this is, however it
    dies. The entry point's module is taken under its own name, not as `__main__`: worker processes find its functions
    there without running the command again.
    """
    module = importlib.import_module(sys.modules["__main__"].__spec__.name)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number) or sys.exit(128 + number))
    _end_with_snakemake()
    try:
        chosen = tyro.cli(getattr(module, settings.__name__), description=module.__doc__)
        getattr(module, main.__name__)(chosen)
        if os.environ.get("LOCAL_RANK", "0") == "0":  # of a data-parallel training the first process writes
            record(module.__name__, chosen)
    except BaseException as error:
        if told:  # worker processes that were told too may fail in this one's hands
            sys.exit(128 + told[0])
        line = explain(error)
        if line is None:
            raise
        sys.exit(f"error: {line}")


def explain(error: BaseException) -> str | None:
    """What a user can do about an exception, one line; None for one that tells of a fault in the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, RuntimeError) and "Caught UserError in DataLoader worker" in str(error):
        # torch cannot rebuild an exception of several arguments, and raises the text of its traceback instead
        return str(error).rpartition(f"{UserError.__module__}.UserError: ")[2].rstrip()
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid"):
        return "a worker process was killed, often for want of memory; lower hardware.workers and run again"
    if isinstance(error, OSError) and error.errno in REMEDIES:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
        return f"{where}{error.strerror}; {REMEDIES[error.errno]}"
    if isinstance(error, MemoryError):
        return "out of memory; lower hardware.workers or a batch_size"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which many steps do without
        return f"the GPU is out of memory ({str(error).split('. ')[0]}); lower a batch_size or a crop"
    return None


def _end_with_snakemake() -> None:
    """Has this process told to stop when its Snakemake, or the shell between the two, has died."""
    if os.environ.get(PARENT, "").isdecimal() and hasattr(os, "pidfd_open"):
        watched = {int(os.environ[PARENT]), os.getppid()} - {0}  # that is one outside of a container
        try:
            ends = [os.pidfd_open(process) for process in watched]
        except ProcessLookupError:
            print(f"the Snakemake of this step, process {os.environ[PARENT]}, is gone", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        threading.Thread(target=_watch, args=(ends,), daemon=True).start()


def _watch(ends: list[int]) -> None:
    select.select(ends, [], [])
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE)
    os._exit(128 + signal.SIGTERM)
