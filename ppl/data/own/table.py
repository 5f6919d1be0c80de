"""Read label tables: class names in one column, a column of 0 and 1 for each class, or a row per class.

What is clear from titles and contents is read. Where a table can be read in two ways, the error names both and the
option that decides. Read in this order: `rows` of the file, their `layout`, the `columns` of classes.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ppl.data.dataset import MAX_CLASSES
from ppl.data.own.cells import ABSENT, looks_like_photo
from ppl.data.own.columns import with_titles, without_titles
from ppl.data.own.layout import Choices, layout_of
from ppl.data.own.rows import SEPARATORS, Rows, read_rows
from ppl.jobs.errors import UserError

ClassNames = frozenset[str]


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


def read_table(path: Path, is_photo: Callable[[str], bool], choices: Choices | None = None) -> Table:
    """Read a table of labels; `is_photo` returns whether a cell names a photo.

    Rows of the same photo are merged. UserError for a table that cannot be read, or that can be read in two ways.
    """
    choices = choices or Choices()
    readings = read_rows(path)
    layouts = [layout for rows in readings if (layout := layout_of(path, rows, is_photo, choices))]
    if not layouts:
        raise _no_photo(path, readings[0])
    layout = max(layouts, key=lambda each: each.evenness)  # of equal ones the first
    content = with_titles(path, layout, choices) if layout.titles else without_titles(path, layout, choices)
    absent = ABSENT | {word.casefold() for word in choices.absent}
    labels: dict[str, ClassNames] = {}
    words: Counter[str] = Counter()
    for photo, names in content.pairs:
        labels[photo] = labels.get(photo, frozenset()) | {name for name in names if name.casefold() not in absent}
        words.update(name for name in names if name and name.casefold() in absent)
    if not any(labels.values()):
        raise UserError(path, "no class names", "write the names of classes beside those of the photos")
    # The table may be that of a larger collection, whose other classes do not matter.
    present = frozenset().union(*(names for photo, names in labels.items() if is_photo(photo)))
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


def _no_photo(path: Path, rows: Rows) -> UserError:
    like = next((cell for row in rows.cells for cell in row if looks_like_photo(cell)), "")
    what = f"{like!r} is not among the photos" if like else f"its first line is {';'.join(rows.cells[0])[:80]!r}"
    return UserError(path, f"no column names any of the photos; {what}", "write the names of the files into one column")
