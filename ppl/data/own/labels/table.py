"""Tables: CSV and other text with columns, of which a folder may have one for each split (`ppl.data.own.table`)."""

import re
from collections.abc import Sequence
from pathlib import Path

from ppl.data.own.rows import read_rows
from ppl.data.own.source import Source, is_array, is_json_lines, starts_with
from ppl.data.own.table import Table, joined, read_table
from ppl.jobs.errors import UserError

NAME = "a table of labels"
SUFFIXES = (".csv", ".tsv")
OTHER_SUFFIXES = (".json", ".jsonl", ".ndjson", ".npy", ".pkl", ".pickle", ".xml")
LABEL_FILES = re.compile(r".*(label|class|annot|metadata|tag)", re.IGNORECASE)
"""Names of the tables in a folder that may hold labels."""


def files(source: Source) -> list[Path]:
    """Return a file that is none of the other formats, or the tables of a folder that name photos."""
    if source.path.is_file():
        is_other = source.path.suffix.lower() in OTHER_SUFFIXES or is_array(source.path)
        is_other = is_other or starts_with(source.path, "<")
        is_json = starts_with(source.path, "{", "[") and (is_json_lines(source.path) or bool(source.json_files))
        return [] if is_other or is_json else [source.path]
    tables = [path for path in source.with_suffix(*SUFFIXES) if LABEL_FILES.match(path.stem)]
    return [path for path in tables if _names_photos(source, path)]


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the labels of all tables together."""
    find = source.names.finder(files)
    tables = [read_table(path, lambda cell, path=path: bool(find(path, cell)), source.choices) for path in files]
    return joined(source, files, tables)


def _names_photos(source: Source, path: Path) -> bool:
    try:
        rows = read_rows(path)
    except UserError:
        return False
    return any(source.names.find(cell) for reading in rows for row in reading.cells for cell in row if cell.strip())
