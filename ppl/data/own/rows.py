"""Rows of a text file: its encoding, separator of columns and quotation marks. What cells mean is in `table`."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ppl.jobs.errors import UserError

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "spaces"}
"""Between columns, in the order in which they are tried; spaces are tried if nothing else separates columns."""
SAMPLE = 4096  # bytes of a file that decide how many a character has
SIGNS = r"[\xa2-\xa6\xa8\xac\xaf\xb1\xb6\xb8\xb9\xbe\xbf]"
CAPITALS = "[ƒ„…†‡ˆ‰‹“”•˜™›ŠšŽžŸ]"  # noqa: RUF001 - signs that look like others
GARBLED = tuple(map(re.compile, (
    r"\w*[\xc3-\xc5][\x80-\xbf\u0152-\u2122]\w*",  # UTF-8 that is damaged elsewhere
    r"(?<![a-zA-Z])[\xb5\xc0-\xff]{2}[\xa0-\xff]*(?![a-zA-Z])",  # words of another script, without any of a to z
    rf"\w*[a-zA-Z\xc0-\xff]{SIGNS}\w*|{SIGNS}[a-zA-Z\xc0-\xff]\w*",  # signs in place of letters
    rf"\w*[a-zA-Z]{CAPITALS}[a-zA-Z]\w*",  # what MS-DOS and old Macs have as letters
)))  # fmt: skip
"""Text of other encodings, read as Windows-1252."""
WORKBOOK_OR_ARCHIVE = (b"PK\3\4", b"\xd0\xcf\x11\xe0")


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
    text, encoding = decoded_text(path)
    if text.lstrip().startswith("<"):
        raise UserError(path, "XML or HTML of an unknown format, not a table", "docs/own-data.md lists the formats")
    return text.replace("\0", ""), encoding


def decoded_text(path: Path) -> tuple[str, str]:
    """Return the text of a file and the name of its encoding; UserError for a file that is not a text file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "name the file with the labels") from error
    if content.startswith(WORKBOOK_OR_ARCHIVE):
        raise UserError(path, "a workbook or an archive, not a text file", archive_remedy(content))
    return _text(path, content)


def archive_remedy(content: bytes) -> str:
    """Return what to do with a file that starts like an archive, which workbooks are too."""
    is_workbook = content.startswith(b"\xd0\xcf\x11\xe0") or b"xl/" in content or len(content) < 100
    return "save its sheet as CSV (UTF-8)" if is_workbook else "unpack it, and name the folder"


def _text(path: Path, content: bytes) -> tuple[str, str]:
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16"), "UTF-16"
        if encoding := _wide(content):
            return content.decode(encoding), "UTF-16"
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError as fault:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as error:
            raise UserError(path, f"not a text file (byte {error.start})", "save it as CSV (UTF-8)") from error
        if word := _garbled(text):
            what = f"in an unknown encoding, neither UTF-8 nor Windows-1252, which makes {word!r} of a word"
            raise UserError(path, what, "save it as UTF-8, in Excel as CSV UTF-8") from fault
        return text, "Windows-1252"


def _wide(content: bytes) -> str:
    """Return the encoding of text of two bytes a character without a mark: most bytes on one side are 0."""
    start = content[:SAMPLE]
    zeros = [start[side::2].count(0) for side in (0, 1)]
    if not any(zeros) or 2 * max(zeros) < len(start) // 2 or 4 * min(zeros) > max(zeros):
        return ""
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def _garbled(text: str) -> str:
    """Return a word of text of Windows-1252 that is most likely of another encoding; empty if there is none."""
    match = next(filter(None, (pattern.search(text) for pattern in GARBLED)), None)
    return match[0] if match else ""
