"""Read label tables: class names in one column, a column of 0 and 1 for each class, or a row per class.

What is clear from titles and contents is read. Where a table can be read in two ways, the error names both and the
option that decides.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ppl.data.dataset import MAX_CLASSES
from ppl.data.findings import listed
from ppl.data.own.rows import SEPARATORS, Rows, read_rows
from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError

WITHIN = (";", "|", ",")  # between class names in one cell; the first of them that occurs is used
CLASS_WORDS = {"class", "category", "categorie", "label", "tag", "choice", "species", "object"}
"""Words in the title of a column of class names, without the s of plurals."""
PHOTO_WORDS = {"image", "photo", "picture", "file", "filename", "name", "path", "id"}
SURE_WORDS = {"confidence", "present"}
"""Words in the title of a column whose 0 says that the class of the row is absent."""
OTHER_WORDS = {"annotator", "annotation", "confidence", "fold", "split", "subset", "test", "val", "valid"} | {
    "crowd", "difficult", "occluded", "truncated", "reviewed", "verified"
}  # fmt: skip
"""Words in titles of columns of 0 and 1 that are most likely no classes."""
FEW = 10  # names in a column that may all differ though they are those of classes
SPLITS = {"train", "training", "val", "valid", "validation", "test", "unassigned"}
SIGNS = {"-1", "-1.0", "0", "0.0", "1", "1.0"}
YES = {"1", "1.0", "true", "yes", "x", "y"}
NO = {"0", "0.0", "false", "no", "n", ""}
ABSENT = {"", "none", "nan", "n/a", "na", "null", "nil", "-", "background", "no finding", "no class", "nothing"}
"""Cells that say that a photo shows no class."""
ClassNames = frozenset[str]


@dataclass(frozen=True)
class Choices:
    """What the user says about a table; empty where the table itself decides."""

    image_column: str = ""
    """Title or number (from 1) of the column that names photos."""
    class_columns: tuple[str, ...] = ()
    """Titles of the columns of classes: of names, or of 0 and 1."""
    absent: tuple[str, ...] = ()
    """Further cells that mean no class, or with columns of numbers that a class is absent."""
    separator: str = ""
    """Sign between class names in one cell."""


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
    absent: tuple[tuple[str, int], ...] = ()
    """Words such as `No Finding` that were read as no class, and how often."""


def read_table(path: Path, is_photo: Callable[[str], bool], choices: Choices | None = None) -> Table:
    """Read a table of labels; `is_photo` returns whether a cell names a photo.

    Rows of the same photo are merged. UserError for a table that cannot be read, or that can be read in two ways.
    """
    choices = choices or Choices()
    readings = read_rows(path)
    layouts = [layout for rows in readings if (layout := _layout(path, rows, is_photo, choices))]
    if not layouts:
        raise _no_photo(path, readings[0])
    layout = max(layouts, key=lambda each: each.evenness)  # of equal ones the first
    content = _with_titles(path, layout, choices) if layout.titles else _without_titles(path, layout, choices)
    absent = ABSENT | {word.casefold() for word in choices.absent}
    labels: dict[str, ClassNames] = {}
    words: Counter[str] = Counter()
    for photo, names in content.pairs:
        labels[photo] = labels.get(photo, frozenset()) | {name for name in names if name.casefold() not in absent}
        words.update(name for name in names if name and name.casefold() in absent)
    present = frozenset().union(*labels.values())
    if not present:
        raise UserError(path, "no class names", "write the names of classes beside those of the photos")
    _check_names(path, present)
    classes = [name for name in content.classes if name in present]
    if not classes:
        classes = sorted(present, key=lambda name: (name.casefold(), name))
    form = f"{content.form}, {SEPARATORS[layout.separator]} between columns, {layout.encoding}"
    return Table(labels, tuple(classes), form, content.ignored, tuple(sorted(words.items())))


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Raise UserError for names that differ in case alone, and for more classes than masks can hold."""
    by_key: dict[str, str] = {}
    for name in sorted(names):
        if (other := by_key.setdefault(name.casefold(), name)) != name:
            raise UserError(path, f"{other!r} and {name!r} differ in case alone", "spell the class in one way")
    if len(by_key) > MAX_CLASSES:
        remedy = "merge or leave out classes; --class-column TITLE names the right column if it is another"
        raise UserError(path, f"{len(by_key)} classes, more than {MAX_CLASSES}", remedy)


@dataclass(frozen=True)
class _Layout:
    """A table whose column of photos is known: titles (none without a line of titles) and the rows below."""

    titles: tuple[str, ...]
    rows: list[list[str]]
    photo: int
    """Number of the column of photos."""
    evenness: float
    separator: str
    encoding: str

    @property
    def others(self) -> list[int]:
        """The numbers of the other columns."""
        width = len(self.titles) or Counter(map(len, self.rows)).most_common(1)[0][0]
        return [column for column in range(width) if column != self.photo]

    def cells(self, column: int) -> list[str]:
        """Return the cells of a column, stripped; empty where a row is too short."""
        return [_cell(row, column) for row in self.rows]

    def title(self, column: int) -> str:
        """Return the title of a column, or its number from 1."""
        return (self.titles[column] if self.titles else "") or f"number {column + 1}"


@dataclass(frozen=True)
class _Content:
    """Name of the photo and class names of each row, the form of the table, and the classes in column order."""

    pairs: list[tuple[str, list[str]]]
    form: str
    classes: Sequence[str] = ()
    ignored: tuple[str, ...] = ()


# The lines of titles and the column of photos


def _layout(path: Path, rows: Rows, is_photo: Callable[[str], bool], choices: Choices) -> _Layout | None:
    """Return the layout of a table; None if no column names a photo."""
    cells = _without_preface(rows, is_photo)
    column = _photo_column(path, cells, is_photo, choices)
    if column is None:
        return None
    titles: tuple[str, ...] = ()
    if _is_title(cells, column, is_photo):
        titles = tuple(title.strip() for title in cells[0])
        cells = [row for row in cells[1:] if row != cells[0]]  # files that were joined repeat it
    cells = [row for row in cells if _cell(row, column)]
    return _Layout(titles, cells, column, rows.evenness, rows.separator, rows.encoding)


def _without_preface(rows: Rows, is_photo: Callable[[str], bool]) -> list[list[str]]:
    """Return the rows without comments and headings above the table.

    Titles of all columns but the first, as R and CelebA write them, get an empty one in front.
    """
    cells = rows.cells
    while len(cells) > 1:
        first = [cell.strip() for cell in cells[0]]
        if any(map(_looks_like_photo, first)) or any(map(is_photo, first)):
            break
        is_comment = first[0].startswith("#") and len(first[0]) > 1
        is_alone = sum(map(bool, first)) == 1 and sum(bool(cell.strip()) for cell in cells[1]) > 1
        if is_comment or (is_alone and len(first) in (1, rows.width)):
            cells = cells[1:]
            continue
        if len(first) == rows.width - 1 and len(cells[1]) == rows.width:
            cells = [["", *cells[0]], *cells[1:]]
        break
    return cells


def _photo_column(
    path: Path, rows: Sequence[Sequence[str]], is_photo: Callable[[str], bool], choices: Choices
) -> int | None:
    """Return the column that names photos; None if no column does, UserError if several may.

    Names with the suffix of a photo go before plain numbers, which may be those of rows. Repeated names count once: a
    column of 0 and 1 names at most the photos 0.jpg and 1.jpg.
    """
    width = max(map(len, rows))
    titles = [cell.strip() for cell in rows[0]]
    distinct = [{_cell(row, column) for row in rows} for column in range(width)]
    matches = [{cell for cell in cells if cell and is_photo(cell)} for cells in distinct]
    if choices.image_column:
        column = _named_column(path, titles, choices.image_column, "--image-column")
        return column if matches[column] else None
    found = [column for column in range(width) if matches[column]]
    with_suffix = [column for column in found if any(map(_looks_like_photo, matches[column]))]
    found = with_suffix or found
    if not found:
        return None
    most = max(len(matches[column]) for column in found)
    rivals = [c for c in found if 2 * len(matches[c]) >= most and not _lower(distinct[c] - {titles[c]}) <= YES | NO]
    by_title = [column for column in rivals if _words(titles[column]) & PHOTO_WORDS - {"id", "name"}]
    rivals = by_title if len(by_title) == 1 else rivals
    if len(rivals) > 1:
        names = " and ".join(f"{titles[c] or f'number {c + 1}'!r} ({min(matches[c])})" for c in rivals[:2])
        raise UserError(path, f"columns {names} both name photos", "name one by --image-column, by title or number")
    return rivals[0] if rivals else max(found, key=lambda column: len(matches[column]))


def _is_title(rows: Sequence[Sequence[str]], column: int, is_photo: Callable[[str], bool]) -> bool:
    """Return whether the first row holds titles: it names no photo, and what stands beside does not recur below."""
    first = _cell(rows[0], column)
    if first.casefold() in PHOTO_WORDS | {"file_name", "images", "photos"}:
        return True
    if is_photo(first) or _looks_like_photo(first):
        return False
    if _words(first) & PHOTO_WORDS or not first:
        return True
    beside = {(c, cell.strip()) for c, cell in enumerate(rows[0]) if c != column and cell.strip()}
    return not any((c, _cell(row, c)) in beside for row in rows[1:] for c, _ in beside if row != rows[0])


def _no_photo(path: Path, rows: Rows) -> UserError:
    like = next((cell for row in rows.cells for cell in row if _looks_like_photo(cell)), "")
    what = f"{like!r} is not among the photos" if like else f"its first line is {';'.join(rows.cells[0])[:80]!r}"
    return UserError(path, f"no column names any of the photos; {what}", "write the names of the files into one column")


# The columns of classes


def _with_titles(path: Path, layout: _Layout, choices: Choices) -> _Content:
    """Interpret a table with titles: columns of class names, or a column of 0 and 1 for each class."""
    if choices.class_columns:
        chosen = [_named_column(path, layout.titles, title, "--class-column") for title in choices.class_columns]
        if all(_kind(layout.cells(column)) != "names" for column in chosen) and not _is_classes(layout, chosen):
            return _flags(path, layout, chosen, choices)
        return _names(path, layout, chosen, choices)
    kinds = {column: _kind(layout.cells(column)) for column in layout.others}
    flags = [column for column in layout.others if layout.titles[column] and kinds[column] in ("flags", "signs")]
    by_title = [c for c in layout.others if _words(layout.titles[c]) & CLASS_WORDS]
    if len(flags) == 1 and by_title == flags:
        what = f"column {layout.titles[flags[0]]!r} holds only 0 and 1"
        raise UserError(path, what, "name the column after the class that 1 stands for, as in image,crack")
    by_title = [c for c in by_title if c not in flags]  # those are named label_cat, label_dog
    by_title = [c for c in by_title if kinds[c] != "empty"] or by_title
    if len(by_title) > 1 and len({_stem(layout.titles[c]) for c in by_title}) > 1:
        raise _two_readings(path, [f"class names in column {layout.titles[c]!r}" for c in by_title], by_title, layout)
    if not by_title and len(layout.others) == 1 and kinds[layout.others[0]] == "names":
        by_title = layout.others
    if by_title:
        return _names(path, layout, by_title, choices)
    doubtful = [column for column in flags if _words(layout.titles[column]) & OTHER_WORDS]
    clear = [column for column in flags if column not in doubtful]
    names = [column for column in layout.others if kinds[column] == "names" and _recurs(layout.cells(column))]
    if names and len(clear) < 2:
        readings = [f"class names in column {layout.titles[c]!r}" for c in names]
        readings += [f"0 and 1 of class {layout.titles[c]!r}" for c in clear]
        if len(readings) > 1:
            raise _two_readings(path, readings, [*names, *clear], layout)
        return _names(path, layout, names, choices)
    if doubtful:
        title = layout.titles[doubtful[0]]
        if not clear:
            raise _no_classes(path, layout)
        readings = [f"column {title!r} is a class", f"the classes are {listed(layout.titles[c] for c in clear)}"]
        raise _two_readings(path, readings, clear, layout)
    counts = [column for column in layout.others if layout.titles[column] and kinds[column] == "counts"]
    if counts and flags:
        what = f"column {layout.titles[counts[0]]!r} holds numbers: a class, with the number of its objects, or none"
        raise UserError(path, what, "name all columns of classes: --class-column TITLE TITLE ...")
    columns = flags or (counts if len(counts) > 1 and len(counts) == len(layout.others) else [])
    if not columns:
        raise _no_classes(path, layout)
    return _flags(path, layout, columns, choices)


def _without_titles(path: Path, layout: _Layout, choices: Choices) -> _Content:
    """Interpret a table without titles: cells other than the photo's are class names, but for numbers and splits."""
    if choices.class_columns:
        numbers = [""] * (len(layout.others) + 1)
        columns = [_named_column(path, numbers, number, "--class-column") for number in choices.class_columns]
        return _names(path, layout, columns, choices)
    kinds = {column: _kind(layout.cells(column)) for column in layout.others}
    names = [column for column in layout.others if kinds[column] == "names"]
    numbers = [column for column in layout.others if kinds[column] not in ("names", "splits", "empty")]
    if not names and len(numbers) > 1:
        raise UserError(path, "numbers beside the photos, without titles", "write a line of titles: image, classes")
    columns = names or numbers or layout.others
    content = _names(path, layout, columns, choices)
    return _Content(content.pairs, "no line of titles, names of classes beside the photo", (), content.ignored)


def _names(path: Path, layout: _Layout, columns: Sequence[int], choices: Choices) -> _Content:
    """Return the class names in some columns, and in cells beyond the titles, of rows that separate names like columns.

    Rows whose confidence is 0 say that their class is absent.
    """
    sure = [c for c in layout.others if c not in columns and layout.titles and _words(layout.titles[c]) & SURE_WORDS]
    for column in sure:
        if _kind(layout.cells(column)) != "flags" and not choices.class_columns:
            what = f"column {layout.titles[column]!r} holds confidences: a class of a low one is present, or absent"
            raise UserError(path, what, "delete rows of absent classes, and name --class-column to read all others")
    sure = [column for column in sure if _kind(layout.cells(column)) == "flags"]
    width = max([layout.photo, *layout.others]) + 1
    cells = [[*(_cell(row, column) for column in columns), *(cell.strip() for cell in row[width:])]
             for row in layout.rows]  # fmt: skip
    absent = [any(_cell(row, column).casefold() in NO for column in sure) for row in layout.rows]
    separator = choices.separator or _separator(path, [cell for row in cells for cell in row])
    pairs = [
        (_cell(row, layout.photo), [] if is_absent else [name for cell in beside for name in _split(cell, separator)])
        for row, beside, is_absent in zip(layout.rows, cells, absent, strict=True)
    ]
    ignored = tuple(layout.title(c) for c in layout.others if c not in columns and c not in sure)
    titles = " and ".join(repr(layout.title(column)) for column in columns)
    form = f"names of classes in column{'s' * (len(columns) > 1)} {titles}"
    form += "".join(f", absent where {layout.titles[column]!r} is 0" for column in sure)
    return _Content(pairs, form, (), ignored)


def _flags(path: Path, layout: _Layout, columns: Sequence[int], choices: Choices) -> _Content:
    """Return the classes whose columns are set; UserError if a number may mean either."""
    classes = [layout.titles[column] for column in columns]
    if repeated := sorted({name for name in classes if classes.count(name) > 1}):
        raise UserError(path, f"two columns are titled {repeated[0]!r}", "rename one of them")
    absent = NO | {word.casefold() for word in choices.absent}
    values = _lower(cell for column in columns for cell in layout.cells(column))
    numbers = {number for value in values - YES - absent if (number := _number(value)) is not None}
    form = "a column of 0 and 1 for each class"
    if not choices.absent and -1 in numbers:
        if values & {"0", "0.0"}:
            what = "-1, 0 and 1 in the columns of classes: a 0 may mean absent or unknown"
            raise UserError(path, what, "--absent=-1 reads both as absent; delete rows of unknown classes")
        absent, form = absent | {"-1", "-1.0"}, "a column of -1 and 1 for each class"
        numbers -= {-1}
    if any(number < 0 or number != int(number) for number in numbers):
        what = f"{min(numbers):g} in the columns of classes is neither 0 nor 1 nor a number of objects"
        raise UserError(path, what, "write 1 for classes in the photo and 0 for others")
    if numbers:
        form = "a column of the number of objects for each class"
    if strange := sorted(value for value in values - YES - absent if _number(value) is None):
        raise UserError(path, f"{strange[0]!r} in a column of 0 and 1", "name its meaning by --absent, or correct it")
    pairs = [
        (_cell(row, layout.photo), [layout.titles[c] for c in columns if _cell(row, c).casefold() not in absent])
        for row in layout.rows
    ]
    ignored = tuple(layout.title(column) for column in layout.others if column not in columns)
    return _Content(pairs, form, classes, ignored)


def _two_readings(path: Path, readings: Sequence[str], columns: Sequence[int], layout: _Layout) -> UserError:
    what = f"can be read in two ways: {readings[0]}, or {readings[1]}"
    return UserError(path, what, f"choose by --class-column, such as --class-column {layout.titles[columns[0]]!r}")


def _no_classes(path: Path, layout: _Layout) -> UserError:
    others = ", ".join(layout.title(column) for column in layout.others)
    if numbers := [column for column in layout.others if _kind(layout.cells(column)) == "numbers"]:
        others += f" ({layout.title(numbers[0])}: {next(filter(None, layout.cells(numbers[0])))})"
    what = f"no column of class names among {others}" if others else "only one column"
    return UserError(path, what, "title it classes or name it by --class-column, or write 0 and 1 for each class")


def _named_column(path: Path, titles: Sequence[str], name: str, option: str) -> int:
    """Return the column of a title, or of a number from 1; UserError if there is none."""
    alike = [column for column, title in enumerate(titles) if title.strip().casefold() == name.strip().casefold()]
    if not alike and name.isdecimal() and 1 <= int(name) <= len(titles):
        return int(name) - 1
    if len(alike) != 1:
        what = f"no column {name!r}" if not alike else f"{len(alike)} columns {name!r}"
        shown = ", ".join(title.strip() or f"number {column + 1}" for column, title in enumerate(titles))
        raise UserError(option, f"{path} has {what}", f"choose of {shown}")
    return alike[0]


# Cells


def _kind(cells: Iterable[str]) -> str:
    """Return what the cells of a column are: empty, splits, flags, signs (-1 among them), counts, numbers or names."""
    values = _lower(cells)
    if values <= {""}:
        return "empty"
    if values <= SPLITS | {""}:
        return "splits"
    if values <= YES | NO:
        return "flags"
    numbers = [_number(value) for value in values if value]
    if None in numbers:
        return "names"
    if values <= SIGNS | {""}:
        return "signs"
    whole = all(number is not None and number >= 0 and number == int(number) for number in numbers)
    return "counts" if whole and (0 in numbers or "" in values) else "numbers"


def _is_classes(layout: _Layout, columns: Sequence[int]) -> bool:
    """Return whether one column of numbers holds the numbers of classes rather than those of objects."""
    (title, *others) = [layout.titles[column] for column in columns]
    return not others and bool(_words(title) & CLASS_WORDS)


def _recurs(cells: Sequence[str]) -> bool:
    """Return whether names recur, as those of classes do, rather than being notes or times, if that can be said."""
    named = [cell for cell in cells if cell]
    return len(named) < FEW or len(set(named)) < len(named)


def _separator(path: Path, cells: Sequence[str]) -> str:
    """Return the sign between class names in a cell; UserError if a comma may be part of a name."""
    plain = [cell for cell in cells if not cell.startswith(("[", "{"))]
    sign = next((sign for sign in WITHIN if any(sign in cell for cell in plain)), ";")
    if sign == ",":
        lists = {cell for cell in plain if "," in cell}
        parts = Counter(part for cell in lists for part in set(_split(cell, ",")))
        alone = {cell for cell in plain if cell and "," not in cell}
        if not alone & parts.keys() and max(parts.values()) == 1:
            cell = min(lists)
            what = f"{cell!r} may be one class, or the classes {listed(repr(part) for part in _split(cell, ','))}"
            raise UserError(path, what, "choose by --separator: ';' for one class, ',' for several")
    return sign


def _split(cell: str, separator: str) -> list[str]:
    """Return the class names in one cell, which may also be a list, ['cat', 'dog'], or choices of Label Studio."""
    if cell.startswith("{"):
        try:
            content = json.loads(cell)
        except ValueError:
            content = None
        if isinstance(content, dict) and isinstance(content.get("choices"), list):
            return [str(name).strip() for name in content["choices"]]
    if cell.startswith("[") and cell.endswith("]"):
        return [name.strip().strip("'\"") for name in cell[1:-1].split(",")]
    return [name.strip() for name in cell.split(separator)]


def _words(title: str) -> set[str]:
    """Return the words of a title in lower case, without the s of plurals: `LabelName` are label and name."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title)
    words = re.findall(r"[^\W\d_]+", apart.casefold())
    return {word if word in CLASS_WORDS or word in PHOTO_WORDS else _singular(word) for word in words}


def _singular(word: str) -> str:
    return word.removesuffix("es") if word.endswith("sses") else word.removesuffix("s") if len(word) > 2 else word


def _stem(title: str) -> str:
    """Return a title without numbers: class1 and class2 are columns of one kind."""
    return re.sub(r"[\W\d_]+", "", title.casefold())


def _looks_like_photo(cell: str) -> bool:
    return PurePosixPath(cell.strip().casefold().replace("\\", "/").partition("?")[0]).suffix in PHOTO_SUFFIXES


def _number(value: str) -> float | None:
    """Return the number that a cell holds; None for words, infinity among them."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _lower(cells: Iterable[str]) -> set[str]:
    return {cell.strip().casefold() for cell in cells}


def _cell(row: Sequence[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""
