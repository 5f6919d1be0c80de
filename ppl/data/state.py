"""State of the files that a dataset is made from: a token for the content of each, without reading it at every start.

A file keeps its token while its content is the same. The token is a digest of the size and time at which the file was
first seen; as long as both are those of the record beside the dataset folder, nothing is read. A file with another
time, as in a copied project, is compared by content.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppl.jobs.errors import reason
from ppl.jobs.files import file_digest, write_text

READERS = 8  # threads
Token = Callable[[Path], str]
Parts = dict[str, str]
"""Digests of what steps read of a dataset, by names such as "photos train"."""


@dataclass
class Record:
    """Tokens of files, with the size, the time and, if known, the SHA-256 that they stand for."""

    files: dict[str, list[Any]] = field(default_factory=dict)
    """`[size, mtime_ns, token, sha256]` by path relative to the folder of the source."""
    prepared: dict[str, str] = field(default_factory=dict)
    """The parts of the dataset folder as it was last prepared."""

    def token_of(self, path: Path, name: str) -> str:
        """Return the token of a file; if its time or size has changed, compare its content and remember both."""
        try:
            state = os.stat(path)
        except OSError as error:
            return reason(error)
        size, time = state.st_size, state.st_mtime_ns
        known = self.files.get(name)
        if known is not None and known[:2] == [size, time]:
            return str(known[2])
        same = known is not None and known[0] == size and known[3] and _digest(path) == known[3]
        token = known[2] if same else hashlib.sha256(f"{size} {time}".encode()).hexdigest()[:16]
        self.files[name] = [size, time, token, known[3] if same else ""]
        return str(token)

    def complete(self, root: Path) -> None:
        """Add the SHA-256 of all files that are as they were when their token was taken."""
        missing = {name: root / name for name, state in self.files.items() if not state[3] and _is(root / name, state)}
        with ThreadPoolExecutor(READERS) as pool:
            for name, sha256 in zip(missing, pool.map(_digest, missing.values()), strict=True):
                self.files[name][3] = sha256


def record_of(folder: Path) -> Path:
    """Return the path of the record of a dataset folder."""
    return folder.with_name(f".{folder.name}.sources.json")


def read_record(folder: Path) -> Record:
    """Return the record of a dataset folder; an empty one if there is none."""
    try:
        content = json.loads(record_of(folder).read_text(encoding="utf-8"))
        return Record(dict(content["files"]), dict(content["prepared"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Record()


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a dataset folder."""
    write_text(record_of(folder), json.dumps(vars(record), sort_keys=True) + "\n")


def digest(lines: Iterable[str]) -> str:
    """Return a digest of the lines that describe a part of a dataset."""
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def _is(path: Path, state: list[Any]) -> bool:
    """Return whether a file has a recorded size and time."""
    try:
        present = os.stat(path)
    except OSError:
        return False
    return [present.st_size, present.st_mtime_ns] == state[:2]


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read, which the check reports."""
    try:
        return file_digest(path)
    except OSError:
        return ""
