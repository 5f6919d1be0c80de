"""The classes of label tables: which columns hold them, as names or as a column of 0 and 1 for each.

Where a table can be read in two ways, the error names both and the option that decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.data.findings import listed
from ppl.data.own.cells import (
    CLASS_WORDS,
    NO,
    SIGNS,
    YES,
    cell_of,
    kind_of,
    lowered,
    number_of,
    recurs,
    separator_of,
    split_names,
    stem,
    words_of,
)
from ppl.data.own.layout import Choices, Layout, named_column
from ppl.jobs.errors import UserError

PRESENCE_WORDS = {"confidence", "present"}
"""Words in the title of a column whose 0 says that the class of the row is absent."""
OTHER_WORDS = {"annotator", "annotation", "confidence", "fold", "split", "subset", "test", "val", "valid"} | {
    "crowd", "difficult", "occluded", "truncated", "reviewed", "verified"
}  # fmt: skip
"""Words in titles of columns of 0 and 1 that are most likely no classes."""


@dataclass(frozen=True)
class Content:
    """Name of the photo and class names of each row, the form of the table, and the classes in column order."""

    pairs: list[tuple[str, list[str]]]
    form: str
    classes: Sequence[str] = ()
    ignored: tuple[str, ...] = ()


def with_titles(path: Path, layout: Layout, choices: Choices) -> Content:
    """Interpret a table with titles: columns of class names, or a column of 0 and 1 for each class."""
    if choices.class_columns:
        columns = _named_classes(path, layout, layout.titles, choices)
        names = any(kind_of(layout.cells(column)) == "names" for column in columns)
        return (_names if names or _are_class_numbers(layout, columns) else _flags)(path, layout, columns, choices)
    kinds = {column: kind_of(layout.cells(column)) for column in layout.others}
    flags = [column for column in layout.others if layout.titles[column] and kinds[column] in ("flags", "signs")]
    if columns := _titled_classes(path, layout, kinds, flags):
        return _names(path, layout, columns, choices)
    doubtful = [column for column in flags if words_of(layout.titles[column]) & OTHER_WORDS]
    clear = [column for column in flags if column not in doubtful]
    names = [column for column in layout.others if kinds[column] == "names" and recurs(layout.cells(column))]
    if names and len(clear) < 2:
        readings = [f"class names in column {layout.titles[c]!r}" for c in names]
        readings += [f"0 and 1 of class {layout.titles[c]!r}" for c in clear]
        if len(readings) > 1:
            raise _two_readings(path, readings, [*names, *clear], layout)
        return _names(path, layout, names, choices)
    if doubtful and clear:
        readings = [f"column {layout.titles[doubtful[0]]!r} is a class"]
        readings += [f"the classes are {listed(layout.titles[c] for c in clear)}"]
        raise _two_readings(path, readings, clear, layout)
    counts = [column for column in layout.others if layout.titles[column] and kinds[column] == "counts"]
    if counts and clear:
        what = f"column {layout.titles[counts[0]]!r} holds numbers: a class, with the number of its objects, or none"
        raise UserError(path, what, "name all columns of classes: --class-column TITLE TITLE ...")
    columns = clear or (counts if len(counts) > 1 and len(counts) == len(layout.others) else [])
    if not columns:
        raise _no_classes(path, layout)
    return _flags(path, layout, columns, choices)


def _titled_classes(path: Path, layout: Layout, kinds: Mapping[int, str], flags: Sequence[int]) -> list[int]:
    """Return the columns of class names by a word in their titles, or the only one; UserError if several may be."""
    titled = [column for column in layout.others if words_of(layout.titles[column]) & CLASS_WORDS]
    if len(flags) == 1 and titled == flags:
        raise _class_without_a_name(path, layout, flags[0])
    titled = [column for column in titled if column not in flags]  # those are named label_cat, label_dog
    titled = [column for column in titled if kinds[column] != "empty"] or titled
    if len({stem(layout.titles[column]) for column in titled}) > 1:
        readings = [f"class names in column {layout.titles[column]!r}" for column in titled]
        raise _two_readings(path, readings, titled, layout)
    is_only_one = len(layout.others) == 1 and kinds[layout.others[0]] == "names"
    return titled or (layout.others if is_only_one else [])


def _class_without_a_name(path: Path, layout: Layout, column: int) -> UserError:
    title, values = layout.titles[column], [cell for cell in layout.cells(column) if cell]
    if lowered(values) <= SIGNS:
        what = f"column {title!r} holds only 0 and 1"
        return UserError(path, what, "name the column after the class that 1 stands for, as in image,crack")
    word = next((cell for cell in values if number_of(cell) is None), values[0])
    remedy = "name the column after the class that yes stands for, as in image,crack; --class-column"
    what = f"column {title!r} holds only yes and no, such as {word!r}"
    return UserError(path, what, f"{remedy} {title!r} reads names of classes")


def without_titles(path: Path, layout: Layout, choices: Choices) -> Content:
    """Interpret a table without titles: cells other than the photo's are class names, but for numbers and splits."""
    if choices.class_columns:
        columns = _named_classes(path, layout, [""] * (len(layout.others) + 1), choices)
        return _names(path, layout, columns, choices)
    kinds = {column: kind_of(layout.cells(column)) for column in layout.others}
    names = [column for column in layout.others if kinds[column] == "names"]
    numbers = [column for column in layout.others if kinds[column] not in ("names", "splits", "empty")]
    if not names and len(numbers) > 1:
        raise UserError(path, "numbers beside the photos, without titles", "write a line of titles: image, classes")
    columns = names or numbers or layout.others
    content = _names(path, layout, columns, choices)
    return Content(content.pairs, "no line of titles, names of classes beside the photo", (), content.ignored)


def _named_classes(path: Path, layout: Layout, titles: Sequence[str], choices: Choices) -> list[int]:
    """Return the columns that --class-column names; UserError if one of them is that of photos."""
    columns = [named_column(path, titles, name, "--class-column") for name in choices.class_columns]
    if layout.photo in columns:
        what = f"column {layout.title(layout.photo)!r} of {path} names photos"
        raise UserError("--class-column", what, "name a column of classes, or the photos' by --image-column")
    return columns


def _names(path: Path, layout: Layout, columns: Sequence[int], choices: Choices) -> Content:
    """Return the class names in some columns, and in cells beyond the titles, of rows that separate names like columns.

    Rows whose confidence is 0 say that their class is absent.
    """
    presence = [
        column
        for column in layout.others
        if column not in columns and layout.titles and words_of(layout.titles[column]) & PRESENCE_WORDS
    ]
    for column in presence:
        if kind_of(layout.cells(column)) != "flags" and not choices.class_columns:
            what = f"column {layout.titles[column]!r} holds confidences: a class of a low one is present, or absent"
            raise UserError(path, what, "delete rows of absent classes, and name --class-column to read all others")
    presence = [column for column in presence if kind_of(layout.cells(column)) == "flags"]
    width = max([layout.photo, *layout.others]) + 1
    cells = [[cell_of(row, column) for column in columns] + [cell.strip() for cell in row[width:]]
             for row in layout.rows]  # fmt: skip
    separator = choices.separator or separator_of(path, [cell for row in cells for cell in row])
    pairs = []
    for row, beside in zip(layout.rows, cells, strict=True):
        is_absent = any(cell_of(row, column).casefold() in NO for column in presence)
        names = [] if is_absent else [name for cell in beside for name in split_names(cell, separator)]
        pairs.append((cell_of(row, layout.photo), names))
    ignored = tuple(layout.title(c) for c in layout.others if c not in columns and c not in presence)
    titles = " and ".join(repr(layout.title(column)) for column in columns)
    form = f"names of classes in column{'s' * (len(columns) > 1)} {titles}"
    form += "".join(f", absent where {layout.titles[column]!r} is 0" for column in presence)
    return Content(pairs, form, (), ignored)


def _flags(path: Path, layout: Layout, columns: Sequence[int], choices: Choices) -> Content:
    """Return the classes whose columns are set; UserError if a number may mean either."""
    classes = [layout.titles[column] for column in columns]
    if repeated := sorted({name for name in classes if classes.count(name) > 1}):
        raise UserError(path, f"two columns are titled {repeated[0]!r}", "rename one of them")
    absent = NO | {word.casefold() for word in choices.absent}
    values = lowered(cell for column in columns for cell in layout.cells(column))
    numbers = {number for value in values - YES - absent if (number := number_of(value)) is not None}
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
    if words := sorted(value for value in values - YES - absent if number_of(value) is None):
        raise UserError(path, f"{words[0]!r} in a column of 0 and 1", "name its meaning by --absent, or correct it")
    pairs = [
        (cell_of(row, layout.photo), [layout.titles[c] for c in columns if cell_of(row, c).casefold() not in absent])
        for row in layout.rows
    ]
    ignored = tuple(layout.title(column) for column in layout.others if column not in columns)
    return Content(pairs, form, classes, ignored)


def _two_readings(path: Path, readings: Sequence[str], columns: Sequence[int], layout: Layout) -> UserError:
    what = f"can be read in two ways: {readings[0]}, or {readings[1]}"
    return UserError(path, what, f"choose by --class-column, such as --class-column {layout.titles[columns[0]]!r}")


def _no_classes(path: Path, layout: Layout) -> UserError:
    others = ", ".join(layout.title(column) for column in layout.others)
    if numbers := [column for column in layout.others if kind_of(layout.cells(column)) == "numbers"]:
        others += f" ({layout.title(numbers[0])}: {next(filter(None, layout.cells(numbers[0])))})"
    what = f"no column of class names among {others}" if others else "only one column"
    return UserError(path, what, "title it classes or name it by --class-column, or write 0 and 1 for each class")


def _are_class_numbers(layout: Layout, columns: Sequence[int]) -> bool:
    """Return whether one column of numbers holds the numbers of classes rather than those of objects."""
    (title, *others) = [layout.titles[column] for column in columns]
    return not others and bool(words_of(title) & CLASS_WORDS)
