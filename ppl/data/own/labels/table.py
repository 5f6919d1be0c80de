"""Tables: CSV and other text with columns, of which a folder may have one for each split (`ppl.data.own.table`)."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppl.data.own.rows import read_rows
from ppl.data.own.source import Source, is_array, is_json_lines, starts_with
from ppl.data.own.table import Table, joined, read_table
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
    tables = [read_table(path, lambda cell, path=path: bool(find(path, cell)), source.choices) for path in files]
    return with_open_images_names(joined(source, files, tables), files[0].parent)


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
