"""What `--labels` names: a file or a folder, its files, and the content of those that are JSON or XML."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from ppl.data.own.layout import Choices
from ppl.data.own.names import Names
from ppl.data.own.photos import SYSTEM_FOLDERS
from ppl.data.own.rows import decoded_text
from ppl.jobs.errors import UserError, reason

NUMPY = b"\x93NUMPY"
PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
SAMPLES = 5  # files of a folder that decide what all of its kind are


@dataclass(frozen=True)
class Source:
    """A file or folder of labels, the photos they are about, and what the user says about them."""

    path: Path
    names: Names
    choices: Choices = field(default_factory=Choices)
    class_names: tuple[str, ...] = ()
    """Names of classes by their number, of `--classes`; empty without it."""
    masks: Path | None = None
    """The folder of masks, which holds no labels."""

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The file itself, or all below the folder except hidden ones."""
        return (self.path,) if self.path.is_file() else tuple(files_below(self.path, without=self.masks))

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Return the files with one of the suffixes; a single file whatever its suffix."""
        return [path for path in self.files if path == self.path or path.suffix.lower() in suffixes]

    def title(self, path: Path, name: str) -> str:
        """Return a name in one of the files as messages write it: with the file if there may be several."""
        return name if path == self.path else f"{path.relative_to(self.path)}: {name}"

    @cached_property
    def xml_roots(self) -> dict[Path, str]:
        """The root element of each XML file."""
        files = [path for path in self.with_suffix(".xml") if starts_with(path, "<")]
        return {path: read_xml(path).tag for path in samples(files)}

    @cached_property
    def json_files(self) -> dict[Path, Any]:
        """The content of the first JSON files, which decides the format of all."""
        files = [path for path in self.with_suffix(".json") if starts_with(path, "{", "[")]
        return {path: read_json(path) for path in samples(files) if not is_json_lines(path)}


def samples(files: Sequence[Path]) -> Sequence[Path]:
    """Return some files, at even distances."""
    return files[:: max(1, -(-len(files) // SAMPLES))]


def files_below(root: Path, *, without: Path | None = None) -> Iterator[Path]:
    """Yield the files below a folder, sorted, except hidden ones, those of systems and `without`; no folder twice."""
    visited = {os.path.realpath(without)} - {os.path.realpath(root)} if without else set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f.casefold() not in SYSTEM_FOLDERS)
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def starts_with(path: Path, *signs: str) -> bool:
    """Return whether the text of a file starts with one of the signs, behind white space."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "make it readable") from error
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return start.decode(encoding, errors="ignore").lstrip().startswith(signs)


def is_array(path: Path) -> bool:
    """Return whether a file is an array of numpy or a pickle."""
    with path.open("rb") as file:
        return file.read(len(NUMPY)).startswith((NUMPY, *PICKLES))


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; UserError that names line and column of a fault."""
    try:
        state = path.stat()
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "name the file with the labels") from error
    return _read_json(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)
def _read_json(path: Path, changed: int, size: int) -> Any:
    """Return the content of a file in a state that its time and size identify: recognised first, then read."""
    text, _ = decoded_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        what = f"not valid JSON ({error.msg}, line {error.lineno}, column {error.colno})"
        raise UserError(path, what, "export it again") from error
    except (ValueError, RecursionError) as error:
        raise UserError(path, f"not valid JSON ({reason(error)})", "export it again") from error


def is_json_lines(path: Path) -> bool:
    """Return whether a file has a JSON object in its first line and another text below."""
    with path.open("rb") as file:
        lines = (line for line in file if line.strip())
        first, second = next(lines, b""), next(lines, b"")
    try:
        return bool(second) and isinstance(json.loads(first.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def read_xml(path: Path) -> Element:
    """Return the root element of an XML file; UserError for broken XML, and for entities, which may hide attacks."""
    try:
        return parse(path, forbid_dtd=False).getroot()
    except DefusedXmlException as error:
        what = "declares XML entities, which may expand without limit or read other files"
        raise UserError(path, what, "remove them") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UserError(path, f"not valid XML ({reason(error)})", "export it again, or remove the file") from error
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "make it readable") from error
