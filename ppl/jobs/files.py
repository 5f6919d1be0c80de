"""Outputs that appear whole or not at all, digests of inputs, and errors that a user can act on."""

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
FULL = 1 << 20  # bytes left on a disk that is as good as full


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yields a temporary sibling of `path`, to be filled as a file or a folder; renamed to `path` on success.

    On an exception the temporary is removed and whatever stood at `path` stays; UserError where it is that the disk is
    full. Host and process in the name keep two writers apart and tell what a killed one has left, which goes first; the
    suffix is kept because libraries choose a format by it.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()  # a folder elsewhere that the user linked here stays there
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.tmp{path.suffix}")
    for left in [temporary, *_left(path)]:
        _remove(left)
    try:
        yield temporary
        if temporary.is_file():
            if path.is_dir():
                raise UserError(path, "is a folder, where a file is to be written", "name the file in it")
            _to_disk(temporary)  # renamed before its content is there, it could be empty after a power failure
        if path.is_dir() and temporary.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # libraries that write tell in many ways
        if shutil.disk_usage(path.parent).free > FULL:
            raise
        raise UserError(
            path, f"cannot be written, its disk is full ({reason(error)})", "free some space and run again"
        ) from None
    finally:
        _remove(temporary)


def write_text(path: Path | str, text: str) -> None:
    """Writes a text file in one piece."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Writes JSON in one piece, readable and with sorted keys."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def digest_of(settings: object, *files: Path) -> str:
    """Digest of settings (anything with a complete `repr`) and of the content of files: what a state belongs to."""
    content = hashlib.sha256(repr(settings).encode())
    for file in files:
        content.update(file_digest(file).encode())
    return content.hexdigest()


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _left(path: Path) -> Iterator[Path]:
    """Temporaries for `path` whose writer is gone: no such process here, or on another host untouched for a day."""
    start, end = f".{path.stem}.", f".tmp{path.suffix}"
    for found in path.parent.glob(f"{glob.escape(start)}*{glob.escape(end)}"):
        host, _, process = found.name.removeprefix(start).removesuffix(end).rpartition(".")
        with suppress(FileNotFoundError):  # another writer has just finished
            if not process.isdecimal():
                continue
            here = host == socket.gethostname()
            if not _is_alive(int(process)) if here else time.time() - found.stat().st_mtime > DAY:
                yield found


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


def _to_disk(file: Path) -> None:
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
