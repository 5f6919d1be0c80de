"""Tables: CSV and other text with columns, of which a folder may have one for each split (`ppl.data.own.table`)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ppl.data.own.cells import PHOTO_WORDS, looks_like_photo, words_of
from ppl.data.own.layout import Layout
from ppl.data.own.names import Photos
from ppl.data.own.rows import read_rows
from ppl.data.own.source import Source, is_array, is_json_lines, starts_with
from ppl.data.own.table import NoPhotoError, Table, joined, read_table
from ppl.jobs.errors import UserError

NAME = "a table of labels"
SUFFIXES = (".csv", ".tsv")
OTHER_SUFFIXES = (".json", ".jsonl", ".ndjson", ".npy", ".pkl", ".pickle", ".xml", ".yaml", ".yml")
LABEL_FILES = re.compile(r".*(label|class|annot|metadata|tag)", re.IGNORECASE)
"""Names of the tables in a folder that hold labels; another one is read only if it is the only one of photos."""

OPEN_IMAGES_CODE = re.compile(r"/[mg]/\w+")
DESCRIPTIONS = "*class-descriptions*.csv"


def files(source: Source) -> list[Path]:
    """Return a file that is none of the other formats, or the tables of a folder that name photos."""
    if source.path.is_file():
        is_other = source.path.suffix.lower() in OTHER_SUFFIXES or is_array(source.path)
        is_other = is_other or starts_with(source.path, "<")
        is_json = starts_with(source.path, "{", "[") and (is_json_lines(source.path) or bool(source.json_files))
        return [] if is_other or is_json else [source.path]
    tables = source.with_suffix(*SUFFIXES)
    of_labels = [path for path in tables if LABEL_FILES.match(path.stem) and _names_photos(source, path)]
    others = [] if of_labels else [path for path in tables if _names_photos(source, path)]
    return of_labels or (others if len(others) == 1 else [])


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the labels of all tables together."""
    find = source.names.finder(files)
    tables = [_read(source, path, partial(find, path)) for path in files]
    return with_open_images_names(joined(source, files, tables), files[0].parent)


def _read(source: Source, path: Path, find: Callable[[str], Photos]) -> Table:
    """Return the labels of one table.

    Where no name fits in a file that `--labels` names, numbers are those of photos with zeros in front: Excel writes
    007, read as a number, as 7. Files in a folder may be lists of other things, such as of classes by number.
    """
    like = f"called as {source.names.index.photos[0]}"
    try:
        return read_table(path, lambda cell: bool(find(cell)), source.choices, like)
    except NoPhotoError:
        if source.path != path:
            raise
    by_number = source.names.of_plain_number

    def is_photo(cell: str) -> bool:
        return bool(by_number(cell))

    def fits(layout: Layout) -> bool:
        return bool(source.choices.image_column) or _numbers_are_photos(layout, is_photo)

    table = read_table(path, is_photo, source.choices, like, fits)
    photos = {name: by_number(name) for name in table.labels}
    number, photo = next((name, each[0]) for name, each in photos.items() if each)
    return replace(table, photos=photos, form=f"{table.form}, photos by their numbers ({number} is {photo})")


def _numbers_are_photos(layout: Layout, is_photo: Callable[[str], bool]) -> bool:
    """Return whether the column of numbers is that of photos rather than of something else, such as rows or widths.

    It is not if another column names photos, which are not here. Else its title decides; without such a title, half of
    the rows must name a photo here, or half of the numbers where the only other column is that of classes.
    """
    for column in layout.others:
        if _is_photo_title(layout, column) or any(map(looks_like_photo, layout.cells(column))):
            return False
    if _is_photo_title(layout, layout.photo):
        return True  # the table may be that of a larger collection
    numbers = layout.cells(layout.photo)
    distinct = set(numbers)
    found = sum(map(is_photo, distinct))
    return 2 * found >= len(distinct if len(layout.others) == 1 else numbers)


def _is_photo_title(layout: Layout, column: int) -> bool:
    """Return whether the title of a column says that it names photos: image or image_id, but not image_width or id."""
    words = words_of(layout.titles[column]) if layout.titles else set()
    return words <= PHOTO_WORDS and not words <= {"id", "name"}


def with_open_images_names(table: Table, folder: Path) -> Table:
    """Return a table with names in place of Open Images' codes, such as /m/01yrx, if a file in the folder has them."""
    codes = [name for name in table.classes if OPEN_IMAGES_CODE.fullmatch(name)]
    lists = sorted(folder.glob(DESCRIPTIONS)) if codes else []
    names = {row[0]: row[1] for path in lists for row in read_rows(path)[0].cells if len(row) > 1}
    if not names:
        return table
    labels = {photo: frozenset(names.get(name, name) for name in classes) for photo, classes in table.labels.items()}
    classes = tuple(dict.fromkeys(names.get(name, name) for name in table.classes))
    return replace(table, labels=labels, classes=classes, form=f"{table.form}, names of {lists[0].name}")


def _names_photos(source: Source, path: Path) -> bool:
    try:
        rows = read_rows(path)
    except UserError:
        return False
    return any(source.names.find(cell) for reading in rows for row in reading.cells for cell in row if cell.strip())
