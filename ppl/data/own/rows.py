"""Rows of a text file: its encoding, separator of columns and quotation marks. What cells mean is in `table`."""

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ppl.jobs.errors import UserError

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "spaces"}
"""Between columns, in the order in which they are tried; spaces are tried if nothing else separates columns."""
WRITE_TABLE = 'write a table of it, a row photo,class for each object (docs/own-data.md, "Labels of other tools")'
FOLDERS = {".xml": "Pascal VOC", ".json": "LabelMe", ".txt": "YOLO"}


@dataclass(frozen=True)
class Rows:
    """Cells of the lines that are not empty, the separator of columns and the encoding of the file."""

    cells: list[list[str]]
    separator: str
    encoding: str

    @cached_property
    def width(self) -> int:
        """The most frequent number of cells in a row."""
        return Counter(map(len, self.cells)).most_common(1)[0][0]

    @property
    def evenness(self) -> float:
        """The share of the rows that have as many cells."""
        return sum(len(row) == self.width for row in self.cells) / len(self.cells)


def read_rows(path: Path) -> list[Rows]:
    """Return the rows of a file for each separator that gives columns; UserError if none does, or for other files."""
    text, encoding = _decoded(path)
    first, _, rest = text.partition("\n")
    if first.casefold().startswith("sep=") and len(first.strip()) == len("sep=") + 1:  # written by Excel
        text = rest
    found, faults = [], []
    for separator in SEPARATORS:
        if separator == " " and (found or faults):
            break
        try:
            cells = [row for row in _split(text, separator) if any(cell.strip() for cell in row)]
        except csv.Error as error:  # quotation marks that are right for another separator, or wrong for all
            faults.append(error)
            continue
        rows = Rows(cells, separator, encoding)
        if cells and rows.width > 1:
            found.append(rows)
    if not found and faults:
        raise UserError(path, f"{faults[0]}", "look for an unmatched quotation mark") from faults[0]
    if not found:
        raise UserError(path, "no columns", "separate photo and classes by a comma, as in photo.jpg,cat")
    return found


def _split(text: str, separator: str) -> Iterator[list[str]]:
    if separator == " ":
        return (line.split() for line in text.splitlines())
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)


def _decoded(path: Path) -> tuple[str, str]:
    """Return the text of a file and the name of its encoding; UserError for files that are no text tables."""
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise UserError(path, _folder_kind(path), WRITE_TABLE) from error
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "name the file with the labels") from error
    if content.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        raise UserError(path, "a workbook or an archive, not a text file", "save its sheet as CSV (UTF-8)")
    if content.startswith((b"\x93NUMPY", b"\x80\4", b"\x80\5")):
        raise UserError(path, "an array of NumPy or a pickled object, not a table", WRITE_TABLE)
    text, encoding = _text(path, content)
    start = text.lstrip()
    if start.startswith("<"):
        raise UserError(path, "XML or HTML, not a table", WRITE_TABLE)
    if start.startswith(("{", "[")) and _is_json(start):
        raise UserError(path, "JSON, not a table", WRITE_TABLE)
    return text.replace("\0", ""), encoding


def _text(path: Path, content: bytes) -> tuple[str, str]:
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16"), "UTF-16"
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        try:
            return content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError as error:
            raise UserError(path, f"not a text file (byte {error.start})", "save it as CSV (UTF-8)") from error


def _is_json(text: str) -> bool:
    """Return whether a text is JSON, or its first line is, as in JSON lines."""
    for part in (text, text.partition("\n")[0]):
        try:
            json.loads(part)
        except ValueError:
            continue
        return True
    return False


def _folder_kind(folder: Path) -> str:
    suffixes = Counter(path.suffix.lower() for path in folder.iterdir())
    for suffix, tool in FOLDERS.items():
        if suffixes[suffix]:
            return f"a folder of {suffixes[suffix]:,} {suffix} files, as of {tool}, not a table"
    return "a folder, not a table"
