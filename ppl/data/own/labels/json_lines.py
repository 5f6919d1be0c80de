"""JSON lines, an object per photo or per object in it, as `metadata.jsonl` of Hugging Face's image folders."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppl.data.own.labels.json_labels import read_content
from ppl.data.own.rows import decoded_text
from ppl.data.own.source import Source, is_json_lines
from ppl.data.own.table import Table, joined
from ppl.jobs.errors import UserError, reason

NAME = "JSON lines"
SUFFIXES = (".jsonl", ".ndjson")


def files(source: Source) -> list[Path]:
    if source.path.is_file():
        return [source.path] if source.path.suffix.lower() in SUFFIXES or is_json_lines(source.path) else []
    return source.with_suffix(*SUFFIXES)


def read(source: Source, files: Sequence[Path]) -> Table:
    return joined(source, files, [read_content(source, files, path, _lines(path), NAME) for path in files])


def _lines(path: Path) -> list[Any]:
    """Return the object of each line that is not empty."""
    text, _ = decoded_text(path)
    objects = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                objects.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                what = f"not valid JSON ({reason(error)})"
                raise UserError(f"{path}, line {number}", what, "correct the line") from error
    if not objects:
        raise UserError(path, "empty", "write an object with a photo and its classes in each line")
    return objects
