"""YOLO: a text file per photo, a line per object that starts with the number of its class; names in data.yaml."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from ppl.data.findings import listed
from ppl.data.own.rows import decoded_text
from ppl.data.own.source import Source
from ppl.data.own.table import Table, annotated
from ppl.jobs.errors import UserError

NAME = "YOLO"
LINE = re.compile(r"\s*(\d+)(?:\.0+)?(?:\s+[-+]?[\d.]+(?:[eE][-+]?\d+)?){4,}\s*")
"""Number of the class, then a box, corners or a polygon, and perhaps a confidence."""
LISTS_OF_NAMES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
MOST = 99_999  # number of a class, above which a line is damaged
ABOVE = 2  # folders above the labels in which the names of classes are looked for


def files(source: Source) -> list[Path]:
    """Return the text files of a folder whose lines are objects, and empty ones; none without an object."""
    if source.path.is_file():
        return []
    texts = [path for path in source.with_suffix(".txt") if path.name not in LISTS_OF_NAMES]
    kinds = {path: _kind(path) for path in texts}
    if "objects" not in kinds.values():
        return []
    photos = dict(zip(texts, source.names.of_files(texts), strict=True))
    return [path for path, kind in kinds.items() if kind == "objects" or photos[path]]


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the classes of the objects of each photo. UserError for numbers beyond the names of the classes."""
    numbers = {path: _numbers(path) for path in files}
    highest = max(number for each in numbers.values() for number in each)
    names, origin = _names(source, highest)
    found = [
        (str(path), photos, [names[number] for number in sorted(numbers[path])])
        for path, photos in zip(files, source.names.of_files(files), strict=True)
    ]
    return annotated(source, found, f"{NAME}, {len(files):,} files, {origin}", names)


def _kind(path: Path) -> str:
    """Return whether the first line of a file is an object; empty for an empty file."""
    with path.open("rb") as file:
        lines = file.read(4096).decode("utf-8-sig", errors="replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    return "objects" if LINE.fullmatch(first) else "other" if first else ""


def _numbers(path: Path) -> set[int]:
    text, _ = decoded_text(path)
    numbers = set()
    for count, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            match = LINE.fullmatch(line)
            if match is None:
                what = f"{line.strip()[:40]!r} is not a class number followed by numbers"
                raise UserError(f"{path}, line {count}", what, "correct the line, or move the file away")
            if int(match[1]) > MOST:
                raise UserError(f"{path}, line {count}", f"class number {match[1]}", "correct the line")
            numbers.add(int(match[1]))
    return numbers


def _names(source: Source, highest: int) -> tuple[list[str], str]:
    """Return the names of the classes by number, and where they come from; UserError if there are too few."""
    if source.class_names:
        names, origin = list(source.class_names), "--classes"
    else:
        names, origin = _listed_names(source)
    if not names:
        numbered = [f"class {number}" for number in range(highest + 1)]
        return numbered, "no names of classes, only numbers from 0 (--classes FILE names them)"
    if len(names) <= highest:
        what = f"names {len(names)} classes, where the labels of {source.path} have number {highest}, counted from 0"
        raise UserError(origin, what, "name all classes in a file, one per line, and write --classes FILE")
    return names, f"names of {origin}"


def _listed_names(source: Source) -> tuple[list[str], str]:
    """Return the names in data.yaml or a list of names in the folder of labels or above; UserError if two differ."""
    folders = [list(source.files)]
    folders += [_files_in(parent) for parent in list(source.path.resolve().parents)[:ABOVE]]
    for paths in folders:
        lists = {path: names for path in paths if (names := _names_in(path))}
        different = {tuple(names): path for path, names in lists.items()}
        if len(different) > 1:
            what = f"{listed(map(str, list(different.values())[:2]))} name different classes"
            raise UserError(source.path, what, "choose by --classes FILE, one name per line, that of number 0 first")
        for path, names in lists.items():
            return names, str(path)
    return [], ""


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # a folder above the labels that the user may not read
        return []


def _names_in(path: Path) -> list[str]:
    """Return the names of classes in a file; none if it is no file of them."""
    if path.name in LISTS_OF_NAMES and path.is_file():
        return [line.strip() for line in decoded_text(path)[0].splitlines() if line.strip()]
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return []
    try:
        content = yaml.safe_load(decoded_text(path)[0])
    except (UserError, ValueError, yaml.YAMLError):
        return []
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and names and all(isinstance(n, int) and 0 <= n <= MOST for n in names):
        return [str(names.get(number, f"class {number}")) for number in range(max(names) + 1)]
    return [str(name) for name in names] if isinstance(names, list) else []
