"""Tables of colours: which class a colour of a mask stands for, as annotation tools write them."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppl.data.masks import VOC_COLOURS
from ppl.data.own.cells import class_key
from ppl.data.own.rows import decoded_text
from ppl.jobs.errors import UserError

Colour = tuple[int, int, int]
TABLE = re.compile(r".*(label|class|colou?r|palette|meta).*\.(txt|csv|json)", re.IGNORECASE)
"""Names of files that may be tables of colours."""
CVAT = re.compile(r"(?P<name>[^#:][^:]*):(?P<r>\d+),(?P<g>\d+),(?P<b>\d+):.*")
HEX = re.compile(r"#([0-9a-fA-F]{6})\b")
NUMBERS = re.compile(r"(?:\d+[\s,;]+){2,}\d+")
"""Three numbers or more in a row, with an id in front of or behind the name."""
VOC = "voc"


def find_table(folder: Path, chosen: str | None, classes: Sequence[str]) -> tuple[dict[Colour, str], str]:
    """Return class names by colour and where they come from; none if there is no table in the folder or above it.

    `chosen` is a file, or `voc` for VOC's colours in the order of the classes. UserError for a file without colours,
    and for two tables that differ.
    """
    if chosen == VOC:
        names = ["background", *classes]
        voc = {tuple(VOC_COLOURS[number].tolist()): name for number, name in enumerate(names)}
        return voc | {tuple(VOC_COLOURS[255].tolist()): "ignore"}, "VOC's colours, in the order of the classes"
    if chosen:
        path = Path(chosen)
        if not path.is_file():
            raise UserError(path, "no such file", "--colours: name a table of colours, or write voc")
        if colours := read_table(path):
            return colours, str(path)
        raise UserError(path, "no colours in it", "write a line name,r,g,b for each class")
    for place in (folder, folder.resolve().parent):
        tables = {path: table for path in _candidates(place) if (table := _likely_table(path, classes))}
        if len({tuple(sorted(table.items())) for table in tables.values()}) > 1:
            first, second = list(tables)[:2]
            raise UserError(
                folder, f"{first.name} and {second.name} name different colours", "choose by --colours FILE"
            )
        for path, table in tables.items():
            return table, str(path.name)
    return {}, ""


def _likely_table(path: Path, classes: Sequence[str]) -> dict[Colour, str]:
    """Return a table of colours that is called so, or that names a class; none if the file may be anything else."""
    if re.match("label_?map", path.name, re.IGNORECASE):
        return read_table(path)
    try:
        table = read_table(path)
    except UserError:
        return {}
    names = set(map(class_key, table.values()))
    return table if names & set(map(class_key, classes)) else {}


def read_table(path: Path) -> dict[Colour, str]:
    """Return class names by colour; none if the file is no table of colours. UserError if two classes share one."""
    try:
        text, _ = decoded_text(path)
        pairs = list(_of_json(json.loads(text)) if path.suffix.lower() == ".json" else _of_text(text))
    except (UserError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error):
        return {}  # another kind of file
    table: dict[Colour, str] = {}
    for name, colour in pairs:
        if max(colour) > 255:
            return {}
        if table.setdefault(colour, name) != name:
            raise UserError(path, f"{table[colour]!r} and {name!r} have the same colour {colour}", "give each its own")
    return table


def _candidates(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if TABLE.fullmatch(path.name) and path.is_file())


def _of_text(text: str) -> Iterator[tuple[str, Colour]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("# ")]
    if lines and (columns := _columns(lines[0])):
        for row in csv.reader(io.StringIO("\n".join(lines[1:])), skipinitialspace=True):
            name, *colour = (row[column] for column in columns)
            yield name.strip(), tuple(map(int, colour))
        return
    for line in lines:
        if match := CVAT.fullmatch(line):
            yield match["name"].strip(), (int(match["r"]), int(match["g"]), int(match["b"]))
        elif match := HEX.search(line):
            yield _name(line.replace(match[0], " ")), _of_hex(match[1])
        elif match := NUMBERS.search(line):
            numbers = list(map(int, re.findall(r"\d+", match[0])))
            yield _name(line.replace(match[0], " ")), tuple(numbers[-3:])


def _columns(title: str) -> list[int] | None:
    """Return the columns of name, red, green and blue in a line of titles; None if it is none."""
    titles = [cell.strip().casefold() for cell in title.split(",")]
    spellings = (("name", "class", "label", "class_name"), ("r", "red"), ("g", "green"), ("b", "blue"))
    columns = [next((titles.index(each) for each in known if each in titles), None) for known in spellings]
    return None if None in columns else columns


def _name(rest: str) -> str:
    """Return the name in a line without its colour: without separators, quotation marks and an id."""
    name = rest.strip(" \t,;:=\"'")
    return re.sub(r"^\d+[\s,;:]+(?=\D)", "", name).strip(" \t,;:=\"'")


def _of_json(content: Any) -> Iterator[tuple[str, Colour]]:
    """Yield the classes of CVAT's labels, Supervisely's meta.json, or a dictionary between names and colours."""
    if isinstance(content, dict) and isinstance(content.get("classes", content.get("labels")), list):
        content = content.get("classes", content.get("labels"))
    if isinstance(content, list):
        for each in content:
            for key in ("name", "title", "label"):
                if key in each:
                    yield str(each[key]), _colour(each.get("color", each.get("colour")))
                    break
    elif isinstance(content, dict):
        for key, value in content.items():
            is_name = isinstance(value, list) or (isinstance(value, str) and value.startswith("#"))
            yield (key, _colour(value)) if is_name else (str(value), _colour(key))


def _colour(value: Any) -> Colour:
    """Return the colour in a list of numbers or a text; ValueError for any other value."""
    if isinstance(value, str) and (match := HEX.fullmatch(value)):
        return _of_hex(match[1])
    numbers = value if isinstance(value, list) else re.findall(r"\d+", str(value))
    if len(numbers) not in (3, 4):
        raise ValueError(f"{value!r} is no colour")
    return tuple(int(number) for number in numbers[:3])


def _of_hex(digits: str) -> Colour:
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
