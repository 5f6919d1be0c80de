"""Read label tables: class names in one column, a column of 0 and 1 for each class, or a row per class.

Columns are separated by comma, semicolon or tab, with or without a line of titles, in UTF-8, UTF-16 or Windows-1252.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.jobs.errors import UserError

DELIMITERS = ("\t", ";", ",")
WITHIN = (";", "|", ",")  # between class names in one cell; the first of them that occurs is used
SAMPLE = 200  # rows from which the column of photos is determined
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
ClassNames = frozenset[str]


@dataclass(frozen=True)
class Table:
    """Class names by name of photo, in the order of the rows."""

    labels: dict[str, ClassNames]
    classes: tuple[str, ...]
    """In the order of their columns, else in alphabetical order."""
    form: str
    """Description of the table's form, for messages."""
    ignored: tuple[str, ...] = ()
    """Titles of columns that hold no classes."""


def read_table(path: Path, is_photo: Callable[[str], bool]) -> Table:
    """Read a table of labels; `is_photo` returns whether a cell names a photo.

    Rows of the same photo are merged. UserError for a table that cannot be read or interpreted.
    """
    text, encoding = _decoded(path)
    rows, delimiter = _rows(path, text)
    column = _photo_column(rows, is_photo)
    if column is None:
        what = f"no column names any of the photos; the first line is {';'.join(rows[0])[:80]!r}"
        raise UserError(path, what, "write the names of the photo files into one column")
    first = rows[0][column]
    if is_photo(first) and first.strip().casefold() not in PHOTO_TITLES:
        content = _without_titles(rows, column)
    else:
        content = _with_titles(path, rows, column)
    labels = _merged(content.pairs)
    present = frozenset().union(*labels.values())
    if not present:
        raise UserError(path, "no class names", "write the names of classes beside those of the photos")
    classes = [name for name in content.classes if name in present]
    if not classes:
        classes = sorted(present, key=lambda name: (name.casefold(), name))
    columns = {"\t": "tabs", ";": "semicolons", ",": "commas"}[delimiter]
    return Table(labels, tuple(classes), f"{content.form}, {columns} between columns, {encoding}", content.ignored)


@dataclass(frozen=True)
class _Content:
    """Name of the photo and class names of each row, the form of the table, and the classes in column order."""

    pairs: list[tuple[str, list[str]]]
    form: str
    classes: Sequence[str] = ()
    ignored: tuple[str, ...] = ()


def _merged(pairs: Iterable[tuple[str, Iterable[str]]]) -> dict[str, ClassNames]:
    """Return the class names of each photo over all its rows, without names such as `none` or `background`."""
    labels: dict[str, ClassNames] = {}
    for photo, names in pairs:
        known = {name for name in names if name.casefold() not in NO_CLASS}
        labels[photo] = labels.get(photo, frozenset()) | known
    return labels


def _without_titles(rows: Sequence[Sequence[str]], column: int) -> _Content:
    """Interpret a table without titles: every cell other than the photo's holds names of classes."""
    rows = [row for row in rows if _has(row, column)]
    cells = [[cell for i, cell in enumerate(row) if i != column] for row in rows]
    return _Content(_named(rows, column, cells), "no line of titles, names of classes beside the photo")


def _with_titles(path: Path, rows: Sequence[Sequence[str]], column: int) -> _Content:
    """Interpret a table with titles: one column of class names, or a column of 0 and 1 for each class."""
    titles, rows = [title.strip() for title in rows[0]], [row for row in rows[1:] if _has(row, column)]
    others = [i for i in range(len(titles)) if i != column]
    by_title = [i for i in others if titles[i].casefold() in TITLES]
    flags = [i for i in others if titles[i] and _holds_flags(_cells(rows, i))]
    if len(by_title) == 1 or (not flags and len(others) == 1):
        names_in = (by_title or others)[0]
        if names_in in flags:
            what = f"column {titles[names_in]!r} holds only 0 and 1"
            raise UserError(path, what, "name the column after the class that 1 stands for, as in image,crack")
        surplus = [list(row[len(titles) :]) for row in rows]  # of rows that separate names like columns
        cells = [[_cell(row, names_in), *more] for row, more in zip(rows, surplus, strict=True)]
        ignored = tuple(titles[i] for i in others if i != names_in)
        return _Content(_named(rows, column, cells), f"names of classes in column {titles[names_in]!r}", (), ignored)
    if not flags:
        columns = ", ".join(titles[i] for i in others)
        what = f"no column of class names among {columns}" if columns else "only one column"
        raise UserError(path, what, "title it classes, or write a column of 0 and 1 for each class")
    classes = [titles[i] for i in flags]
    if repeated := sorted({name for name in classes if classes.count(name) > 1}):
        raise UserError(path, f"two columns are titled {repeated[0]!r}", "rename one of them")
    pairs = [
        (row[column].strip(), [titles[i] for i in flags if _cell(row, i).strip().casefold() in YES]) for row in rows
    ]
    ignored = tuple(titles[i] for i in others if i not in flags)
    return _Content(pairs, "a column of 0 and 1 for each class", classes, ignored)


def _named(rows: Sequence[Sequence[str]], column: int, cells: Sequence[Sequence[str]]) -> list[tuple[str, list[str]]]:
    """Return the name of the photo and the class names of each row, whose class names are in `cells`."""
    separator = _separator(cell for row in cells for cell in row)
    names = [[name for cell in row for name in _names(cell, separator)] for row in cells]
    return [(row[column].strip(), in_row) for row, in_row in zip(rows, names, strict=True)]


def _holds_flags(cells: Sequence[str]) -> bool:
    """Return whether all cells are flags such as 0, 1, yes or empty, and not all are empty."""
    stripped = {cell.strip().casefold() for cell in cells}
    return stripped <= YES | NO and stripped != {""} and bool(stripped)


def _rows(path: Path, text: str) -> tuple[list[list[str]], str]:
    """Return the cells of all non-empty lines and the delimiter: most lines have as many cells as the first."""
    first, _, rest = text.partition("\n")
    if first.casefold().startswith("sep=") and len(first.strip()) == len("sep=") + 1:  # written by Excel
        text = rest
    best: tuple[float, list[list[str]], str] | None = None
    fault: csv.Error | None = None
    for delimiter in DELIMITERS:
        try:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
            rows = [row for row in lines if any(cell.strip() for cell in row)]
        except csv.Error as error:  # quotation marks that are right for another delimiter, or wrong for all
            fault = error
            continue
        if rows and len(rows[0]) > 1:
            even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
            if best is None or even > best[0]:
                best = even, rows, delimiter
    if fault is not None and (best is None or best[0] < 1):
        raise UserError(path, f"{fault}", "look for an unmatched quotation mark") from fault
    if best is None:
        raise UserError(path, "no columns", "separate photo and classes by a comma, as in photo.jpg,cat")
    return best[1], best[2]


def _photo_column(rows: Sequence[Sequence[str]], is_photo: Callable[[str], bool]) -> int | None:
    """Return the column that names most photos in a sample of rows, else in all rows; None if no column names one.

    Repeated names count once: a column of 0 and 1 names at most the photos 0.jpg and 1.jpg.
    """
    for sample in (rows[:: len(rows) // SAMPLE + 1], rows):
        counts = [sum(map(is_photo, set(_cells(sample, column)))) for column in range(len(rows[0]))]
        if any(counts):
            return counts.index(max(counts))
    return None


def _decoded(path: Path) -> tuple[str, str]:
    """Return the text of a file and the name of its encoding."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "name the file with the labels") from error
    if content.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        raise UserError(path, "a workbook or an archive, not a text file", "save its sheet as CSV (UTF-8)")
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16"), "UTF-16"
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        try:
            return content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError as error:
            raise UserError(path, f"not a text file (byte {error.start})", "save it as CSV (UTF-8)") from error


def _separator(cells: Iterable[str]) -> str:
    text = "\n".join(cells)
    return next((sign for sign in WITHIN if sign in text), ";")


def _names(cell: str, separator: str) -> list[str]:
    """Return the class names in one cell, which may also be written as a list: ['cat', 'dog']."""
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
