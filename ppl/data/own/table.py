"""Read label tables: class names in one column, a column of 0 and 1 for each class, or a row per class.

What is clear from titles and contents is read. Where a table can be read in two ways, the error names both and the
option that decides. Read in this order: `rows` of the file, their `layout`, the `columns` of classes.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePosixPath

from ppl.data.dataset import MAX_CLASSES
from ppl.data.own.cells import ABSENT, clean_name, looks_like_photo
from ppl.data.own.columns import Content, with_titles, without_titles
from ppl.data.own.layout import Choices, Layout, layout_of, photo_column
from ppl.data.own.rows import SEPARATORS, Rows, read_rows
from ppl.data.own.source import Source
from ppl.jobs.errors import UserError

ClassNames = frozenset[str]


class NoPhotoError(UserError):
    """No column of a table names a photo."""


@dataclass(frozen=True)
class Table:
    """Class names by name of photo, in the order of the rows."""

    labels: dict[str, ClassNames]
    classes: tuple[str, ...]
    """Those of the photos, in the order of their columns, else in alphabetical order."""
    form: str
    """Description of the table's form, for messages."""
    ignored: tuple[str, ...] = ()
    """Titles of columns that hold no classes."""
    absent: tuple[tuple[str, int], ...] = ()
    """Words such as `No Finding` that were read as no class, and how often."""
    left_out: tuple[str, ...] = ()
    """What was not read, and why, in one line each."""
    photos: Mapping[str, Sequence[PurePosixPath]] = field(default_factory=dict)
    """The photos that a name means, where the place of its file decides; others are looked up by the name alone."""


def read_table(
    path: Path,
    is_photo: Callable[[str], bool],
    choices: Choices | None = None,
    like: str = "called differently",
    fits: Callable[[Layout], bool] = lambda layout: True,
) -> Table:
    """Read a table of labels; `is_photo` returns whether a cell names a photo, messages name one by `like`.

    A layout for which `fits` is false counts as one without a column of photos.

    Rows of the same photo are merged. UserError for a table that cannot be read, or that can be read in two ways.
    """
    choices = choices or Choices()
    readings = read_rows(path)
    layouts = [layout for rows in readings if (layout := layout_of(path, rows, is_photo, choices)) and fits(layout)]
    if not layouts:
        raise _no_photo(path, readings[0], like)
    layout = max(layouts, key=lambda each: each.evenness)  # of equal ones the first
    content = with_titles(path, layout, choices) if layout.titles else without_titles(path, layout, choices)
    form = f"{content.form}, {SEPARATORS[layout.separator]} between columns, {layout.encoding}"
    return _of_content(path, content, form, is_photo, choices)


def read_records(
    path: Path, records: Sequence[Mapping[str, str]], form: str, is_photo: Callable[[str], bool], choices: Choices
) -> Table:
    """Read records, each with the name of a photo and its classes, as the rows of a table with titles."""
    keys = tuple(dict.fromkeys(key for record in records for key in record))
    rows = [[record.get(key, "") for key in keys] for record in records]
    last = [key.rpartition(".")[2] for key in keys]  # of keys in keys, such as objects.categories
    titles = tuple(short if last.count(short) == 1 else key for short, key in zip(last, keys, strict=True))
    column = photo_column(path, [titles, *rows], is_photo, choices)
    if column is None:
        what = f"no key of its records names any of the photos, such as {next(filter(None, chain(*rows)), '')[:80]!r}"
        raise UserError(path, what, "write the names of the files into one key")
    layout = Layout(titles, [row for row in rows if row[column].strip()], column, 1.0, "", "")
    content = with_titles(path, layout, choices)
    return _of_content(path, content, f"{form}, {content.form}", is_photo, choices)


def _of_content(path: Path, content: Content, form: str, is_photo: Callable[[str], bool], choices: Choices) -> Table:
    table = merged(path, content.pairs, form, is_photo, choices.absent, content.classes)
    return replace(table, ignored=content.ignored)


def merged(
    path: Path,
    pairs: Iterable[tuple[str, Collection[str]]],
    form: str,
    is_photo: Callable[[str], bool],
    absent: Iterable[str] = (),
    order: Sequence[str] = (),
) -> Table:
    """Return a table of names of photos with their class names, of which a photo may have several.

    Words of ABSENT and `absent` are no classes. Classes are in the order of `order`, else of the alphabet. UserError if
    there are no classes.
    """
    absent = ABSENT | {word.casefold() for word in absent}
    labels: dict[str, ClassNames] = {}
    words: Counter[str] = Counter()
    for photo, spelled in pairs:
        names = [clean_name(name) for name in spelled]
        labels[photo] = labels.get(photo, frozenset()) | {name for name in names if name.casefold() not in absent}
        words.update(name for name in names if name and name.casefold() in absent)
    if not any(labels.values()):
        raise UserError(path, "no class names", "write the names of classes beside those of the photos")
    # The table may be that of a larger collection, whose other classes do not matter.
    present = frozenset().union(*(names for photo, names in labels.items() if is_photo(photo)))
    _check_names(path, present)
    classes = [name for name in dict.fromkeys(map(clean_name, order)) if name in present]
    classes += sorted(present.difference(classes), key=lambda name: (name.casefold(), name))
    return Table(labels, tuple(classes), form, absent=tuple(sorted(words.items())))


def annotated(
    source: Source,
    found: Iterable[tuple[str, Sequence[PurePosixPath], Collection[str]]],
    form: str,
    order: Sequence[str] = (),
    left_out: Iterable[str | None] = (),
) -> Table:
    """Return the table of a format whose labels come with the photos that they belong to.

    `found` yields a name for messages, the photos it means (none: not here) and class names.
    """
    photos: dict[str, Sequence[PurePosixPath]] = {}
    pairs = []
    for name, matches, classes in found:
        photos[name] = matches
        pairs.append((name, [each for each in classes if each.strip()]))
    table = merged(source.path, pairs, form, lambda name: bool(photos[name]), source.choices.absent, order)
    return replace(table, photos=photos, left_out=tuple(filter(None, left_out)))


def joined(source: Source, files: Sequence[Path], tables: Sequence[Table]) -> Table:
    """Return the labels of the tables in several files as one table."""
    if len(files) == 1:
        return tables[0]
    find = source.names.finder(files)
    found = [
        (source.title(path, name), find(path, name), classes)
        for path, table in zip(files, tables, strict=True)
        for name, classes in table.labels.items()
    ]
    order = list(dict.fromkeys(name for table in tables for name in table.classes))
    table = annotated(source, found, f"{len(files)} files, the first of {tables[0].form}", order)
    absent = Counter(dict(tables[0].absent))
    for each in tables[1:]:
        absent.update(dict(each.absent))
    return replace(table, ignored=tables[0].ignored, absent=tuple(sorted(absent.items())))


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Raise UserError for names that differ in case alone, and for more classes than masks can hold."""
    by_key: dict[str, str] = {}
    for name in sorted(names):
        if (other := by_key.setdefault(name.casefold(), name)) != name:
            raise UserError(path, f"{other!r} and {name!r} differ in case alone", "spell the class in one way")
    if len(by_key) > MAX_CLASSES:
        remedy = "merge or leave out classes; --class-column TITLE names the right column if it is another"
        raise UserError(path, f"{len(by_key)} classes, more than {MAX_CLASSES}", remedy)


def _no_photo(path: Path, rows: Rows, like: str) -> NoPhotoError:
    named = next((cell for row in rows.cells for cell in row if looks_like_photo(cell)), "")
    lines = " and ".join(repr(";".join(row)[:80]) for row in rows.cells[:2])
    what = f"{named!r} is not among the photos" if named else f"its first lines are {lines}"
    remedy = "write the names of the files into one column"
    if not named and any(map(_may_be_changed, chain(*rows.cells[1:]))):
        remedy += "; Excel changes names that look like dates or long numbers: format the column as text first"
    return NoPhotoError(path, f"no column names any of the photos, which are {like}; {what}", remedy)


def _may_be_changed(cell: str) -> bool:
    """Return whether a cell looks like a date or a number as Excel writes them."""
    return bool(re.fullmatch(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}|\d+([.,]\d+)?(E[+-]?\d+)?", cell.strip(), re.IGNORECASE))
