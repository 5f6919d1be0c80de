"""Datumaro JSON, which CVAT exports too: the labels of all annotations of an item."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl.data.own.source import Source, read_json
from ppl.data.own.table import Table, annotated
from ppl.jobs.errors import UserError

NAME = "Datumaro JSON"


def files(source: Source) -> list[Path]:
    if not any(map(is_datumaro, source.json_files.values())):
        return []
    return [path for path in source.with_suffix(".json") if is_datumaro(read_json(path))]


def is_datumaro(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("items"), list) and "categories" in content


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the labels of each item. UserError for a label that the file does not list."""
    find = source.names.finder(files)
    found, order = [], []
    for path in files:
        content = read_json(path)
        try:
            names = [str(label["name"]) for label in content["categories"]["label"]["labels"]]
            items = [(_photo(item), _numbers(item)) for item in content["items"]]
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(path, f"not an export of Datumaro ({error!r})", "export it again") from error
        order += names
        numbers = [number for _, each in items for number in each]
        if unknown := [number for number in numbers if type(number) is not int or not 0 <= number < len(names)]:
            raise UserError(path, f"label_id {unknown[0]!r}, where {len(names)} labels are listed", "export it again")
        found += [
            (source.title(path, name), find(path, name), [names[number] for number in each]) for name, each in items
        ]
    return annotated(source, found, f"{NAME}, {len(found):,} items", order)


def _photo(item: Mapping[str, Any]) -> str:
    """Return the path of an item's photo; its id, which is that without suffix, where there is none."""
    image = item.get("image") or item.get("media") or {}
    return str(image.get("path") or item["id"])


def _numbers(item: Mapping[str, Any]) -> list[Any]:
    return [each["label_id"] for each in item["annotations"] if each.get("label_id") is not None]
