"""Labels from a table as people have it: names in one column, a column of 0 and 1 for each class, or a row per class.

Comma, semicolon or tab between columns, with or without a line of titles, as UTF-8, UTF-16 or Windows-1252.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.jobs.errors import UserError

DELIMITERS = ("\t", ";", ",")
WITHIN = (";", "|", ",")  # between the names of classes in one cell; the first of them that the file uses counts
SAMPLE = 200  # rows that tell which column names photos
TITLES = {
    "class",
    "classes",
    "label",
    "labels",
    "category",
    "categories",
    "tag",
    "tags",
    "species",
    "object",
    "objects",
}
PHOTO_TITLES = {"image", "images", "photo", "photos", "picture", "file", "filename", "file_name", "name", "path", "id"}
YES = {"1", "1.0", "true", "yes", "x", "y"}
NO = {"0", "0.0", "false", "no", "n", ""}
NO_CLASS = {"", "none", "nan", "n/a", "-", "background"}
Names = frozenset[str]


@dataclass(frozen=True)
class Table:
    """What a table says: names of classes by name of photo, in the order of its rows, and what was left aside."""

    labels: dict[str, Names]
    classes: tuple[str, ...]
    """In the order of their columns, or of the alphabet."""
    form: str
    """How it was read, for people."""
    ignored: tuple[str, ...] = ()
    """Titles of columns that say nothing about classes."""


def read_table(path: Path, is_photo: Callable[[str], bool]) -> Table:
    """Reads a table; `is_photo` tells whether a cell names a photo. UserError for what cannot be understood."""
    text, encoding = _decoded(path)
    rows, delimiter = _rows(path, text)
    column = _column_of_photos(rows, is_photo)
    if column is None:
        raise UserError(
            path,
            "no column names any of the photos",
            f"the first line is {';'.join(rows[0])[:80]!r}, so write the names of the photo files into one column",
        )
    if is_photo(rows[0][column]) and rows[0][column].strip().casefold() not in PHOTO_TITLES:
        read = _without_titles(rows, column)
    else:
        read = _with_titles(path, rows, column)
    columns = {"\t": "tabs", ";": "semicolons", ",": "commas"}[delimiter]
    labels: dict[str, Names] = {}
    for image, names in read.pairs:
        if image:
            labels[image] = labels.get(image, frozenset()) | {name for name in names if name.casefold() not in NO_CLASS}
    shown = frozenset().union(*labels.values())
    if not shown:
        raise UserError(path, "names no class at all", "write the names of classes beside those of the photos")
    classes = [name for name in read.classes if name in shown] or sorted(
        shown, key=lambda name: (name.casefold(), name)
    )
    return Table(labels, tuple(classes), f"{read.form}, {columns} between columns, {encoding}", read.ignored)


@dataclass(frozen=True)
class _Read:
    pairs: list[tuple[str, Sequence[str]]]
    form: str
    classes: Sequence[str] = ()
    ignored: tuple[str, ...] = ()


def _without_titles(rows: Sequence[Sequence[str]], column: int) -> _Read:
    cells = [
        (row[column].strip(), [cell for i, cell in enumerate(row) if i != column]) for row in rows if _has(row, column)
    ]
    within = _separator(cell for _, others in cells for cell in others)
    pairs = [(image, [name for cell in others for name in _names(cell, within)]) for image, others in cells]
    return _Read(pairs, "no line of titles, names of classes beside the photo")


def _with_titles(path: Path, rows: Sequence[Sequence[str]], column: int) -> _Read:
    titles, rows = [title.strip() for title in rows[0]], [row for row in rows[1:] if _has(row, column)]
    others = [i for i in range(len(titles)) if i != column]
    named = [i for i in others if titles[i].casefold() in TITLES]
    flags = [i for i in others if all(cell.strip().casefold() in YES | NO for cell in _cells(rows, i))]
    marked = [i for i in flags if titles[i] and any(cell.strip() for cell in _cells(rows, i))]
    if len(named) == 1 or (not marked and len(others) == 1):
        chosen = (named or others)[0]
        if chosen in marked:
            raise UserError(
                path,
                f"column {titles[chosen]!r} holds only 0 and 1",
                "name the column after what 1 shows, as in image,crack",
            )
        further = [[cell for i, cell in enumerate(row) if i >= len(titles)] for row in rows]
        cells = [[_cell(row, chosen), *more] for row, more in zip(rows, further, strict=True)]
        within = _separator(cell for row in cells for cell in row)
        pairs = [
            (row[column].strip(), [name for cell in named_ for name in _names(cell, within)])
            for row, named_ in zip(rows, cells, strict=True)
        ]
        ignored = tuple(titles[i] for i in others if i != chosen)
        return _Read(pairs, f"names of classes in column {titles[chosen]!r}", (), ignored)
    if not marked:
        raise UserError(
            path,
            f"which of the columns {', '.join(titles[i] for i in others) or '(there is but one)'} "
            "names the classes is not clear",
            "call it classes, or write a column of 0 and 1 for each class",
        )
    twice = sorted({titles[i] for i in marked if [titles[j] for j in marked].count(titles[i]) > 1})
    if twice:
        raise UserError(path, f"two columns are called {twice[0]!r}", "rename one of them")
    pairs = [
        (row[column].strip(), [titles[i] for i in marked if _cell(row, i).strip().casefold() in YES]) for row in rows
    ]
    ignored = tuple(titles[i] for i in others if i not in marked)
    return _Read(pairs, "a column of 0 and 1 for each class", [titles[i] for i in marked], ignored)


def _rows(path: Path, text: str) -> tuple[list[list[str]], str]:
    """Cells of all lines that are not empty, and what separates columns: what gives most lines as many as the first."""
    first, _, rest = text.partition("\n")
    if first.casefold().startswith("sep=") and len(first.strip()) == len("sep=") + 1:  # as Excel writes it
        text = rest
    best: tuple[float, list[list[str]], str] | None = None
    for delimiter in DELIMITERS:
        try:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
            rows = [row for row in lines if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise UserError(path, f"{error}", "look for a quotation mark that stands alone") from None
        if rows and len(rows[0]) > 1:
            even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
            if best is None or even > best[0]:
                best = even, rows, delimiter
    if best is None:
        raise UserError(path, "has no columns", "separate photo and classes by a comma, as in photo.jpg,cat")
    return best[1], best[2]


def _column_of_photos(rows: Sequence[Sequence[str]], is_photo: Callable[[str], bool]) -> int | None:
    """The column that names most photos: of some rows, or of all where these name none.

    Different ones count: a column of 0 and 1 names at most the photos 0.jpg and 1.jpg.
    """
    for some in (rows[:: len(rows) // SAMPLE + 1], rows):
        named = [sum(map(is_photo, set(_cells(some, column)))) for column in range(len(rows[0]))]
        if any(named):
            return named.index(max(named))
    return None


def _decoded(path: Path) -> tuple[str, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "name the file with the labels") from None
    if content.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        raise UserError(path, "is a workbook or an archive", "save its sheet as CSV (UTF-8)")
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16"), "UTF-16"
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        try:
            return content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError as error:
            raise UserError(path, f"is no text (byte {error.start})", "save it as CSV (UTF-8)") from None


def _separator(cells: Iterable[str]) -> str:
    text = "\n".join(cells)
    return next((sign for sign in WITHIN if sign in text), ";")


def _names(cell: str, separator: str) -> list[str]:
    """Names of classes in one cell, also where it is written as a list: ['cat', 'dog']."""
    cell = cell.strip()
    if cell.startswith("[") and cell.endswith("]"):
        return [name.strip().strip("'\"") for name in cell[1:-1].split(",")]
    return [name.strip() for name in cell.split(separator)]


def _has(row: Sequence[str], column: int) -> bool:
    return column < len(row) and bool(row[column].strip())


def _cell(row: Sequence[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _cells(rows: Sequence[Sequence[str]], column: int) -> list[str]:
    return [_cell(row, column) for row in rows]
