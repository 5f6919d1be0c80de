"""Outputs that appear whole or not at all, and digests of files."""

import difflib
import glob
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppl.jobs.errors import UserError, reason

DAY = 86_400  # seconds
FULL = 1 << 20  # a disk with fewer free bytes counts as full


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`, to be filled as a file or a folder; rename it to `path` on success.

    On an exception the temporary is removed and the previous content of `path` stays; UserError if the disk is full.
    The temporary's name holds host and process: two writers do not collide, and what a killed writer has left is
    recognised and removed first. It keeps the suffix, by which libraries choose a format.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()  # write to the folder that the user has linked here, and keep the link
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.tmp{path.suffix}")
    for stale in [temporary, *_stale(path)]:
        _remove(stale)
    try:
        yield temporary
        if temporary.is_file():
            if path.is_dir():
                raise UserError(path, "is a folder, not a file", "name a file in it")
            _sync(temporary)  # else the file could be empty after a power failure
        if path.is_dir() and temporary.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # on a full disk, h5py and torch raise errors of their own
        if shutil.disk_usage(path.parent).free > FULL:
            raise
        raise UserError(path, f"disk full ({reason(error)})", "free some space and run again") from error
    finally:
        _remove(temporary)


def not_there(path: Path | str, remedy: str) -> UserError:
    """Return an error for a path that does not exist, with a similar name beside it or the nearest existing folder."""
    path = Path(path)
    parent = path.absolute().parent
    what = "is not there"
    if parent.is_dir():
        with suppress(OSError):
            names = {name.casefold(): name for name in sorted(os.listdir(parent))}
            if similar := difflib.get_close_matches(path.name.casefold(), names, 1):
                remedy += f"; did you mean {path.with_name(names[similar[0]])}?"
        what += "" if path.is_absolute() else f" in {parent}"
    else:
        existing = next(folder for folder in parent.parents if folder.is_dir())
        what += f", nor its folder; the nearest that exists is {existing}"
    return UserError(path, what, remedy)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def digest_of(settings: object, *files: Path) -> str:
    """Return a digest of settings (anything with a complete `repr`) and of the content of files."""
    content = hashlib.sha256(repr(settings).encode())
    for file in files:
        content.update(file_digest(file).encode())
    return content.hexdigest()


def file_digest(path: Path | str) -> str:
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stale(path: Path) -> Iterator[Path]:
    """Yield temporaries for `path` whose writer has ended: a process of this host, or of another a day ago."""
    start, end = f".{path.stem}.", f".tmp{path.suffix}"
    for temporary in path.parent.glob(f"{glob.escape(start)}*{glob.escape(end)}"):
        host, _, process = temporary.name.removeprefix(start).removesuffix(end).rpartition(".")
        with suppress(FileNotFoundError):  # another writer has just finished
            if not process.isdecimal():
                continue
            local = host == socket.gethostname()
            if not _is_alive(int(process)) if local else time.time() - temporary.stat().st_mtime > DAY:
                yield temporary


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # a process of another user
    return True


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
