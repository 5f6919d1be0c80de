"""Label Studio's JSON export: choices, and the labels of regions of any kind. Its CSV is a table, JSON-MIN records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppl.data.own.cells import labels_in
from ppl.data.own.source import Source, read_json
from ppl.data.own.table import Table, annotated
from ppl.jobs.errors import UserError

NAME = "Label Studio JSON"


def files(source: Source) -> list[Path]:
    return [path for path, content in source.json_files.items() if is_tasks(content)]


def is_tasks(content: Any) -> bool:
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and isinstance(first.get("data"), dict)


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the labels of each task whose annotation was submitted; others are left out."""
    find = source.names.finder(files)
    found, skipped = [], 0
    for path in files:
        for task in read_json(path):
            try:
                name, labels = _photo(source, task["data"]), _labels(task)
            except (AttributeError, KeyError, TypeError) as error:
                raise UserError(path, f"not a task of {NAME} ({error!r})", "export it again") from error
            if labels is None:
                skipped += 1
            else:
                found.append((source.title(path, name), find(path, name), labels))
    left_out = f"{skipped:,} tasks without a submitted annotation" if skipped else None
    return annotated(source, found, f"{NAME}, {len(found):,} tasks", (), [left_out])


def _photo(source: Source, data: dict[str, Any]) -> str:
    """Return the value of a task's data that names a photo, else the first text."""
    texts = [value for value in data.values() if isinstance(value, str)]
    return next((text for text in texts if source.names.find(text)), texts[0] if texts else "")


def _labels(task: dict[str, Any]) -> list[str] | None:
    """Return the labels of all annotators; None if nobody has submitted an annotation."""
    submitted = [each for each in task.get("annotations", []) if not each.get("was_cancelled")]
    if not submitted:
        return None
    return [label for each in submitted for part in each["result"] for label in labels_in(part["value"])]
