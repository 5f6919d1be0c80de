"""The layout of label tables: lines of titles, and the column that names photos."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.data.own.cells import NO, PHOTO_WORDS, YES, cell_of, looks_like_photo, lowered, words_of
from ppl.data.own.rows import Rows
from ppl.jobs.errors import UserError


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
    class_folder: str = "auto"
    """Which of nested folders of photos is named as their class: `first`, `last`, or `auto`, which refuses either."""


@dataclass(frozen=True)
class Layout:
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
        return [cell_of(row, column) for row in self.rows]

    def title(self, column: int) -> str:
        """Return the title of a column, or its number from 1."""
        return (self.titles[column] if self.titles else "") or f"number {column + 1}"


def layout_of(path: Path, rows: Rows, is_photo: Callable[[str], bool], choices: Choices) -> Layout | None:
    """Return the layout of a table; None if no column names a photo."""
    cells = _without_preface(rows, is_photo)
    column = photo_column(path, cells, is_photo, choices)
    if column is None:
        return None
    titles: tuple[str, ...] = ()
    if _is_title(cells, column, is_photo):
        titles = tuple(title.strip() for title in cells[0])
        cells = [row for row in cells[1:] if row != cells[0]]  # files that were joined repeat it
    cells = [row for row in cells if cell_of(row, column)]
    return Layout(titles, cells, column, rows.evenness, rows.separator, rows.encoding)


def _without_preface(rows: Rows, is_photo: Callable[[str], bool]) -> list[list[str]]:
    """Return the rows without comments and headings above the table.

    Titles of all columns but the first, as R and CelebA write them, get an empty one in front.
    """
    cells = rows.cells
    while len(cells) > 1:
        first = [cell.strip() for cell in cells[0]]
        if any(map(looks_like_photo, first)) or any(map(is_photo, first)):
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


def photo_column(
    path: Path, rows: Sequence[Sequence[str]], is_photo: Callable[[str], bool], choices: Choices
) -> int | None:
    """Return the column that names photos; None if no column does, UserError if several may.

    Names with the suffix of a photo go before plain numbers, which may be those of rows. Repeated names count once: a
    column of 0 and 1 names at most the photos 0.jpg and 1.jpg.
    """
    width = max(map(len, rows))
    titles = [cell_of(rows[0], column) for column in range(width)]
    distinct = [{cell_of(row, column) for row in rows} for column in range(width)]
    matches = [{cell for cell in cells if cell and is_photo(cell)} for cells in distinct]
    if choices.image_column:
        column = named_column(path, titles, choices.image_column, "--image-column")
        return column if matches[column] else None
    possible = [column for column in range(width) if matches[column]]
    with_suffix = [column for column in possible if any(map(looks_like_photo, matches[column]))]
    possible = with_suffix or possible
    if not possible:
        return None
    most = max(len(matches[column]) for column in possible)
    rivals = [c for c in possible if 2 * len(matches[c]) >= most and not lowered(distinct[c] - {titles[c]}) <= YES | NO]
    by_title = [column for column in rivals if words_of(titles[column]) & PHOTO_WORDS - {"id", "name"}]
    rivals = by_title if len(by_title) == 1 else rivals
    if len(rivals) > 1:
        names = " and ".join(f"{titles[c] or f'number {c + 1}'!r} ({min(matches[c])})" for c in rivals[:2])
        raise UserError(path, f"columns {names} both name photos", "name one by --image-column, by title or number")
    return rivals[0] if rivals else max(possible, key=lambda column: len(matches[column]))


def _is_title(rows: Sequence[Sequence[str]], column: int, is_photo: Callable[[str], bool]) -> bool:
    """Return whether the first row holds titles: it names no photo, and what stands beside does not recur below."""
    first = cell_of(rows[0], column)
    if first.casefold() in PHOTO_WORDS | {"file_name", "images", "photos"}:
        return True
    if is_photo(first) or looks_like_photo(first):
        return False
    if words_of(first) & PHOTO_WORDS or not first:
        return True
    beside = {(c, cell.strip()) for c, cell in enumerate(rows[0]) if c != column and cell.strip()}
    return not any((c, cell_of(row, c)) in beside for row in rows[1:] for c, _ in beside if row != rows[0])


def named_column(path: Path, titles: Sequence[str], name: str, option: str) -> int:
    """Return the column of a title, or of a number from 1; UserError if there is none."""
    alike = [column for column, title in enumerate(titles) if title.strip().casefold() == name.strip().casefold()]
    if not alike and name.isdecimal() and 1 <= int(name) <= len(titles):
        return int(name) - 1
    if len(alike) != 1:
        what = f"no column {name!r}" if not alike else f"{len(alike)} columns {name!r}"
        choices = ", ".join(title.strip() or f"number {column + 1}" for column, title in enumerate(titles))
        raise UserError(option, f"{path} has {what}", f"choose one of {choices}")
    return alike[0]
