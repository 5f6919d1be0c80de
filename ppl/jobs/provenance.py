"""Provenance: a record beside every output, `.NAME.provenance.json`, of its code, settings and inputs.

The digest of an input is taken from the input's own record if nothing has changed since, so each file is read once.
Records contain neither times nor host names: equal results have equal records, except for tables of times.
"""

import dataclasses
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import ppl
from ppl.jobs.code_hash import code_hash
from ppl.jobs.fields import Section, plain
from ppl.jobs.files import file_digest, write_json
from ppl.jobs.slots import LOADED

OUTPUTS = ("out", "log", "tar")  # fields of settings that name outputs
NOT_READ = (*OUTPUTS, "benchmarks")  # all other paths are inputs; benchmarks are times
PACKAGES = (
    *("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "scipy", "pillow", "pycocotools", "h5py"),
    *("pydensecrf2", "pandas", "matplotlib"),
)
MODULES = {
    "pillow": "PIL",
    "pydensecrf2": "pydensecrf",
    "segmentation-models-pytorch": "segmentation_models_pytorch",
}
IGNORED = ".snakemake_timestamp"  # of Snakemake, in folders that are outputs
READERS = 8  # threads


class Content(NamedTuple):
    """Digest of a file, or of the names and contents in a folder; number of files."""

    sha256: str
    files: int


def record(module: str, settings: Any, arguments: Sequence[str]) -> None:
    """Write the records of the outputs of a step: `module` with its `settings`, a dataclass, of command-line arguments.

    Inputs are the paths in `settings`, unless it has a method `reads` that returns them. Of sections, the settings
    named by the arguments are recorded: the workflow names all that the step uses, and no others. A step without `out`
    has no records.
    """
    outputs = [getattr(settings, name) for name in OUTPUTS if getattr(settings, name, None) is not None]
    if not hasattr(settings, "out") or not all(path.exists() for path in outputs):
        return
    inputs = [Path(path) for path in (settings.reads() if hasattr(settings, "reads") else _paths(settings))]
    digests = {path: recorded(path) or content(path) for path in dict.fromkeys(inputs) if path.exists()}
    common = {
        "made_by": module,
        "code": code_hash(module, *LOADED),
        "settings": _recorded(settings, {flag[2:].partition("=")[0].replace("-", "_") for flag in arguments}),
        "versions": {"ppl": ppl.__version__, "python": platform.python_version(), **_versions()},
    }
    for path in outputs:
        relative = {_relative(source, path.parent): digest._asdict() for source, digest in digests.items()}
        write_json(file_of(path), {"name": path.name, **content(path)._asdict(), **common, "inputs": relative})


def file_of(path: Path) -> Path:
    """Return the path of the record of an output."""
    return path.with_name(f".{path.name}.provenance.json")


def read(path: Path) -> dict[str, Any] | None:
    """Return the record of an output, or None."""
    if not path.name:  # the root, or the working directory
        return None
    try:
        return json.loads(file_of(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def recorded(path: Path) -> Content | None:
    """Return the content according to an output's record; None if a file is newer or the number of files differs."""
    stored = read(path)
    if stored is None:
        return None
    since = file_of(path).stat().st_mtime_ns
    files = list(_files(path))
    if len(files) != stored["files"] or any(file.stat().st_mtime_ns > since for file in files):
        return None
    return Content(stored["sha256"], stored["files"])


def content(path: Path) -> Content:
    """Compute the digest of the present content; links are followed."""
    if not path.is_dir():
        return Content(file_digest(path), 1)
    files = list(_files(path))
    with ThreadPoolExecutor(READERS) as pool:
        digests = pool.map(file_digest, files)
        lines = (f"{file.relative_to(path).as_posix()}\0{d}\n" for file, d in zip(files, digests, strict=True))
        return Content(hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest(), len(files))


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or all files of a folder without links to missing ones, which the check of the data lists."""
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        files = (Path(folder, name) for name in sorted(names) if name != IGNORED)
        yield from (file for file in files if file.exists())


def _paths(settings: Any) -> Iterator[Path]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _paths(value)
        elif field.name == "weights" and Path(value).is_file():
            yield Path(value)
        elif field.name not in NOT_READ:
            yield from (path for path in (value if isinstance(value, tuple) else [value]) if isinstance(path, Path))


def _recorded(settings: Any, flags: set[str], above: str = "") -> dict[str, Any]:
    """Return settings without paths, as nested dicts; in sections only those that flags name."""
    values = {}
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), f"{above}{field.name}"
        if dataclasses.is_dataclass(value):
            if below := _recorded(value, flags, f"{name}."):
                values[field.name] = below
        elif isinstance(settings, Section):
            if name in flags:
                values[field.name] = plain(value)
        elif value != () and not isinstance(value[0] if isinstance(value, tuple) else value, Path):
            values[field.name] = value
    return values


def _versions() -> dict[str, str]:
    """Return the versions of the packages that the step has imported."""
    return {name: metadata.version(name) for name in PACKAGES if MODULES.get(name, name) in sys.modules}


def _relative(path: Path, folder: Path) -> str:
    """Return a path relative to the folder of an output, so that results may be moved; an absolute path stays."""
    return str(path) if path.is_absolute() else os.path.relpath(path, folder)
