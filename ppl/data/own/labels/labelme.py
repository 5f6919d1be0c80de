"""labelme JSON, one file per photo: the labels of its shapes, or where it has none drawn at all, its flags."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppl.data.own.one_per_photo import read_each
from ppl.data.own.source import Source, read_json, starts_with
from ppl.data.own.table import Table
from ppl.jobs.errors import UserError

NAME = "labelme JSON"
NO_CLASS = {"_background_", "__ignore__"}
"""Labels that labelme's own converters write for no class."""


def files(source: Source) -> list[Path]:
    """Return the JSON files if those looked at are of this format; one that is not raises an error when it is read."""
    found = any(map(is_labelme, source.json_files.values()))
    return [p for p in source.with_suffix(".json") if starts_with(p, "{") or not p.stat().st_size] if found else []


def is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read(source: Source, files: Sequence[Path]) -> Table:
    if any(_content(path)[1] for path in files):
        return read_each(source, files, NAME, _content)
    return read_each(source, files, f"{NAME} without shapes, of which the flags are read", _flags)


def _content(path: Path) -> tuple[str, list[str]]:
    """Return the name of the photo in a file (empty if it has none) and the labels of its shapes."""
    content = read_json(path)
    if not is_labelme(content):
        raise UserError(path, f"not {NAME}: it has no shapes", "move it out of the folder")
    try:
        labels = [shape["label"].strip() for shape in content["shapes"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(path, "a shape without label", "add its label, or remove it") from error
    return str(content.get("imagePath") or ""), [label for label in labels if label not in NO_CLASS]


def _flags(path: Path) -> tuple[str, list[str]]:
    """Return the name of the photo and the flags that are set."""
    flags = read_json(path).get("flags")
    name, _ = _content(path)
    return name, [str(flag) for flag, is_set in flags.items() if is_set is True] if isinstance(flags, dict) else []
