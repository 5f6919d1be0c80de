"""Outputs that appear whole or not at all, digests of inputs, and errors that a user can act on."""

import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import tyro

Settings = TypeVar("Settings")


class UserError(Exception):
    """A mistake in input or configuration: one line that names the file and the remedy; shown without a traceback."""


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yields a temporary sibling of `path`, to be filled as a file or a folder; renamed to `path` on success.

    On an exception the temporary is removed and whatever stood at `path` stays. The process id in the name keeps two
    writers apart; the suffix is kept because libraries choose a format by it.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()  # a folder elsewhere that the user linked here stays there
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    _remove(temporary)
    try:
        yield temporary
        if path.is_dir() and temporary.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
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


def command(main: Callable[[Settings], None], settings: type[Settings]) -> None:
    """Runs an entry point: the settings dataclass is the command line, a UserError one line and exit status 1.

    The entry point's module is taken under its own name, not as `__main__`: worker processes find its functions there
    without running the command again.
    """
    module = importlib.import_module(sys.modules["__main__"].__spec__.name)
    try:
        getattr(module, main.__name__)(tyro.cli(getattr(module, settings.__name__), description=module.__doc__))
    except UserError as error:
        sys.exit(f"error: {error}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
