"""Cells of label tables: what kinds there are, the class names in one, and the words of titles."""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ppl.data.findings import listed
from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError

WITHIN = (";", "|", "\n", ",")  # between class names in one cell; the first of them that occurs is used
CLASS_WORDS = {"class", "category", "categorie", "label", "tag", "choice", "species", "object"} | {
    "klasse", "klassen", "kategorie", "kategorien", "etikett", "classe", "catégorie", "étiquette", "clase", "categoría",
    "categoria", "etiqueta", "etichetta",
}  # fmt: skip
"""Words in the title of a column of class names, without the s of plurals."""
PHOTO_WORDS = {"image", "photo", "picture", "file", "filename", "name", "path", "id"}
BACKGROUND = {"background", "bg", "_background_"}
"""Names of class number 0, as `class_key` writes them."""
IGNORED = {"ignore", "ignored", "void", "unlabeled", "unlabelled", "__ignore__", "don't care"}
"""The same of what is not measured: 255."""
FEW = 10  # names in a column that may all differ though they are those of classes
SPLITS = {"train", "training", "val", "valid", "validation", "test", "unassigned"}
SIGNS = {"-1", "-1.0", "0", "0.0", "1", "1.0"}
YES = {"1", "1.0", "true", "yes", "x", "y", "wahr", "ja", "vrai", "oui", "vero", "verdadero", "waar", "✓", "✔"}
NO = {"0", "0.0", "false", "no", "n", "", "falsch", "nein", "faux", "non", "falso", "onwaar", "nee", "✗", "✘", "-"}
"""Cells of columns of classes: what Excel writes in other languages, and signs of people."""
ABSENT = {
    "",
    "none",
    "nan",
    "n/a",
    "na",
    "null",
    "nil",
    "-",
    "background",
    "no finding",
    "no class",
    "no label",
    "nothing",
}
"""Cells that say that a photo shows no class."""


def kind_of(cells: Iterable[str]) -> str:
    """Return what the cells of a column are: empty, splits, flags, signs (-1 among them), counts, numbers or names."""
    values = lowered(cells)
    if values <= {""}:
        return "empty"
    if values <= SPLITS | {""}:
        return "splits"
    if values <= YES | NO:
        return "flags"
    numbers = [number_of(value) for value in values if value]
    if None in numbers:
        return "names"
    if values <= SIGNS | {""}:
        return "signs"
    whole = all(number is not None and number >= 0 and number == int(number) for number in numbers)
    return "counts" if whole and (0 in numbers or "" in values) else "numbers"


def number_of(value: str) -> float | None:
    """Return the number that a cell holds; None for words, infinity among them."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def recurs(cells: Sequence[str]) -> bool:
    """Return whether names recur, as those of classes do, rather than being notes or times, if that can be said."""
    named = [cell for cell in cells if cell]
    return len(named) < FEW or len(set(named)) < len(named)


def separator_of(path: Path, cells: Sequence[str]) -> str:
    """Return the sign between class names in a cell; UserError if a comma may be part of a name."""
    plain = [cell for cell in cells if not cell.startswith(("[", "{"))]
    sign = next((sign for sign in WITHIN if any(sign in cell for cell in plain)), ";")
    if sign == ",":
        lists = {cell for cell in plain if "," in cell}
        parts = Counter(part for cell in lists for part in set(split_names(cell, ",")))
        alone = {cell for cell in plain if cell and "," not in cell}
        if not alone & parts.keys() and max(parts.values()) == 1:
            cell = min(lists)
            what = f"{cell!r} may be one class, or the classes {listed(repr(part) for part in split_names(cell, ','))}"
            raise UserError(path, what, "choose by --separator: ';' for one class, ',' for several")
    return sign


def split_names(cell: str, separator: str) -> list[str]:
    """Return the class names in one cell, which may also be a list, ['cat', 'dog'], or choices of Label Studio."""
    if cell.startswith(("{", "[")):
        try:
            content = json.loads(cell)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and isinstance(content.get("choices"), list):
            return [str(name).strip() for name in content["choices"]]
        if isinstance(content, list) and not any(isinstance(each, list) for each in content):
            parts = [list(labels_in(each)) if isinstance(each, dict) else [each] for each in content]
            return [str(name).strip() for part in parts for name in part]
    if cell.startswith("[") and cell.endswith("]"):
        return [name.strip().strip("'\"") for name in cell[1:-1].split(",")]
    return [name.strip() for name in cell.split(separator)]


def labels_in(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield the choices, or labels such as `rectanglelabels`, of one region of Label Studio."""
    for key, names in value.items():
        if key == "choices" or key.endswith("labels"):
            yield from map(str, names if isinstance(names, list) else [names])
        elif key == "taxonomy":
            yield from (str(path[-1]) for path in names)


def words_of(title: str) -> set[str]:
    """Return the words of a title in lower case, without the s of plurals: `LabelName` are label and name."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title)
    words = re.findall(r"[^\W\d_]+", apart.casefold())
    return {word if word in CLASS_WORDS or word in PHOTO_WORDS else _singular(word) for word in words}


def _singular(word: str) -> str:
    return word.removesuffix("es") if word.endswith("sses") else word.removesuffix("s") if len(word) > 2 else word


def stem(title: str) -> str:
    """Return a title without numbers: class1 and class2 are columns of one kind."""
    return re.sub(r"[\W\d_]+", "", title.casefold())


def clean_name(name: str) -> str:
    """Return the name of a class with one spelling of accents and single blanks, none of them at its ends.

    Files of macOS write an accent as a character of its own, and tables hold two blanks and breaks of lines by mistake.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def class_key(name: str) -> str:
    """Return what the spellings of a class in masks and labels have in common."""
    return clean_name(name).casefold()


def looks_like_photo(cell: str) -> bool:
    return PurePosixPath(cell.strip().casefold().replace("\\", "/").partition("?")[0]).suffix in PHOTO_SUFFIXES


def lowered(cells: Iterable[str]) -> set[str]:
    return {cell.strip().casefold() for cell in cells}


def cell_of(row: Sequence[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""
