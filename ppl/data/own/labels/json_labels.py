"""JSON of photos and their classes: a dictionary from one to the other, or records of any keys."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ppl.data.own.cells import labels_in
from ppl.data.own.labels.coco import is_coco
from ppl.data.own.labels.datumaro import is_datumaro
from ppl.data.own.labels.labelme import is_labelme
from ppl.data.own.labels.labelstudio import is_tasks
from ppl.data.own.labels.table import LABEL_FILES
from ppl.data.own.source import Source, read_json
from ppl.data.own.table import Table, annotated, joined, read_records
from ppl.data.own.vectors import are_vectors, read_vectors, refuse_scores
from ppl.jobs.errors import UserError

NAME = "JSON of photos and classes"
Record = dict[str, str]
IsPhoto = Callable[[str], bool]


def files(source: Source) -> list[Path]:
    """Return a JSON file of no other format, or those of a folder that are named as labels and name photos."""
    others = (is_coco, is_labelme, is_tasks, is_datumaro)
    plain = {p: content for p, content in source.json_files.items() if not any(other(content) for other in others)}
    if source.path.is_file():
        return list(plain)
    return [p for p, content in plain.items() if LABEL_FILES.match(p.stem) and _names_photos(source, content)]


def read(source: Source, files: Sequence[Path]) -> Table:
    return joined(source, files, [read_content(source, files, path, read_json(path), "JSON") for path in files])


def read_content(source: Source, files: Sequence[Path], path: Path, content: Any, form: str) -> Table:
    """Return the labels in the content of one of `files`: a dictionary by photo or by class, or records."""
    find = partial(source.names.finder(files), path)
    is_photo = partial(_finds, find)
    if isinstance(content, dict):
        numbers = all(isinstance(key, int) for key in content)
        by_photo = {str(key): source.names.of_number(key) if numbers else find(str(key)) for key in content}
        if any(by_photo.values()):
            return _by_photo(source, path, {str(key): value for key, value in content.items()}, by_photo, form)
        if by_class := _by_class(content, is_photo):
            found = [(name, find(name), [each]) for each, photos in by_class.items() for name in photos]
            return annotated(source, found, f"{form} from classes to photos", list(by_class))
        for value in content.values():  # the dictionary may be one of several things in a file
            if isinstance(value, dict) and any(map(is_photo, value)):
                return read_content(source, files, path, value, form)
    records = _records(path, content, is_photo)
    return read_records(path, records, f"{form}, {len(records):,} records", is_photo, source.choices)


def _by_photo(
    source: Source, path: Path, content: Mapping[str, Any], photos: Mapping[str, Sequence], form: str
) -> Table:
    """Return the labels of a dictionary from photos to vectors, lists of names, names or records."""
    if are_vectors(content.values()):
        return read_vectors(source, path, content, photos, form)
    refuse_scores(path, content.values())
    records = []
    for name, value in content.items():
        value = _set_flags(value)
        values = _flat(value) if isinstance(value, dict) else {"classes": _cell(value)}
        records.append({"image": name, **{key: cell for key, cell in values.items() if key != "image"}})
    is_photo = partial(_finds, photos.get)
    table = read_records(path, records, f"{form} from photos to classes", is_photo, source.choices)
    found = [(name, photos[name], classes) for name, classes in table.labels.items()]
    together = annotated(source, found, table.form, table.classes)
    return replace(together, ignored=table.ignored, absent=table.absent)


def _by_class(content: Mapping[str, Any], is_photo: IsPhoto) -> dict[str, list[str]]:
    """Return the photos of each class, if that is what a dictionary holds."""
    lists = {key: value for key, value in content.items() if isinstance(value, list) and value}
    if len(lists) < len(content) or not all(isinstance(name, str) for value in lists.values() for name in value):
        return {}
    with_photos = [key for key, value in lists.items() if any(map(is_photo, value))]
    return lists if len(with_photos) == len(lists) else {}


def _records(path: Path, content: Any, is_photo: IsPhoto) -> list[Record]:
    """Return the records in JSON: a list, the only list in a dictionary, or columns as pandas writes them."""
    for candidate in _candidates(content):
        records = _as_records(candidate)
        if records and any(is_photo(cell) for record in records for cell in record.values()):
            return records
    text = json.dumps(content, ensure_ascii=False)[:80]
    raise UserError(path, f"JSON that names none of the photos: {text}", "write an object from photos to classes")


def _candidates(content: Any) -> list[Any]:
    """Return what may hold the records: the content itself, or the values in it."""
    return [content, *(content.values() if isinstance(content, dict) else [])]


def _as_records(content: Any) -> list[Record]:
    if isinstance(content, list):
        if all(isinstance(each, dict) for each in content):
            return [_flat(each) for each in content]
        if all(isinstance(each, list) and len(each) > 1 for each in content):  # pairs of photo and class
            return [{"image": _cell(first), "classes": _cell(rest[0] if len(rest) == 1 else rest)}
                    for first, *rest in content]  # fmt: skip
        return []
    if not isinstance(content, dict) or not content:
        return []
    values = list(content.values())
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):  # pandas, orient="split"
        return [_flat(dict(zip(map(str, content["columns"]), row, strict=False))) for row in content["data"]]
    if all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):  # pandas' columns
        columns = [_flat({str(key): value[row] for key, value in content.items()}) for row in values[0]]
        rows = [_flat({"key": str(key), **value}) for key, value in content.items()]
        return columns if len(columns) > len(rows) else rows
    if all(isinstance(value, dict) for value in values):
        return [_flat({"key": str(key), **value}) for key, value in content.items()]
    if all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        return [_flat(dict(zip(content, row, strict=True))) for row in zip(*values, strict=True)]
    return []


def _flat(record: Mapping[str, Any]) -> Record:
    """Return the cells of a record: those of records in it by key.key, of a list of records as lists."""
    cells: Record = {}
    for key, value in record.items():
        value = _set_flags(value)
        if isinstance(value, dict) and (labels := list(labels_in(value))):
            cells[str(key)] = _cell(labels)
        elif isinstance(value, dict):
            cells |= {f"{key}.{inner}": cell for inner, cell in _flat(value).items()}
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            if any(list(labels_in(each)) for each in value):
                cells[str(key)] = _cell([label for each in value for label in labels_in(each)])
                continue
            parts: dict[str, list[str]] = {}
            for each in value:
                for inner, cell in _flat(each).items():
                    parts.setdefault(f"{key}.{inner}", []).append(cell)
            cells |= {inner: _cell(values) for inner, values in parts.items()}
        else:
            cells[str(key)] = _cell(value)
    return cells


def _set_flags(value: Any) -> Any:
    """Return the keys that are set where a value is a dictionary of classes with yes and no; any other as it is."""
    if isinstance(value, dict) and value and all(each in (0, 1) for each in value.values()):
        return [key for key, is_set in value.items() if is_set]
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return value if isinstance(value, str) else json.dumps(value)


def _finds(find: Callable[[str], Sequence | None], name: Any) -> bool:
    """Return whether a look-up of photos has any for a name, which JSON may write as a number."""
    return bool(find(str(name)))


def _names_photos(source: Source, content: Any) -> bool:
    is_photo = partial(_finds, source.names.find)
    if isinstance(content, dict):
        dictionaries = [content, *(value for value in content.values() if isinstance(value, dict))]
        if _by_class(content, is_photo) or any(is_photo(key) for each in dictionaries for key in each):
            return True
    records = (record for candidate in _candidates(content) for record in _as_records(candidate))
    return any(is_photo(cell) for record in records for cell in record.values())
