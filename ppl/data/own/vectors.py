"""Labels as vectors, a number per class, without the names of the classes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl.data.own.names import Photos
from ppl.data.own.source import Source
from ppl.data.own.table import Table, annotated
from ppl.jobs.errors import UserError

Vectors = Mapping[str, Sequence[float]]


def are_vectors(values: Iterable[Any]) -> bool:
    """Return whether all values are lists of 0 and 1 of one length, and not the numbers of a single class."""
    values = list(values)
    if not values or not all(isinstance(value, list) and len(value) == len(values[0]) > 0 for value in values):
        return False
    numbers = {number for value in values for number in value if isinstance(number, int | float)}
    only_numbers = all(isinstance(number, int | float) for value in values for number in value)
    return only_numbers and numbers <= {0, 1} and (len(values[0]) > 1 or 0 in numbers)


def refuse_scores(path: Path, values: Iterable[Any]) -> None:
    """Raise UserError for lists with decimal numbers: vectors that are not of 0 and 1 of one length, such as scores."""
    for value in values:
        if isinstance(value, list) and any(isinstance(number, float) for number in value):
            what = f"a vector that is not of 0 and 1, or shorter than others: {str(value)[:80]}"
            raise UserError(path, what, "write a vector of 0 and 1 for each photo, a number for each class")


def read_vectors(source: Source, path: Path, vectors: Vectors, photos: Mapping[str, Photos], form: str) -> Table:
    """Return the labels of vectors by the name of their photo. UserError if --classes names another number of them."""
    length = len(next(iter(vectors.values())))
    names = list(source.class_names) or [f"class {number}" for number in range(1, length + 1)]
    if len(names) != length:
        what = f"{len(names)} classes, where the vectors of {path} have {length} numbers"
        raise UserError("--classes", what, "name the classes of all numbers, in their order")
    note = "named by --classes" if source.class_names else "without names, class 1 first (--classes FILE names them)"
    found = [
        (name, photos[name], [each for each, number in zip(names, vector, strict=True) if number])
        for name, vector in vectors.items()
    ]
    return annotated(source, found, f"{form}, vectors of {length} classes, {note}", names)
