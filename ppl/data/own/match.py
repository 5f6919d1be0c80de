"""The labels of photos: those that a table names, and the classes in the order of their ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ppl.data.findings import MAX_EXAMPLES, listed
from ppl.data.own.cells import BACKGROUND, IGNORED, class_key, clean_name
from ppl.data.own.names import Names
from ppl.data.own.rows import decoded_text
from ppl.data.own.table import Table
from ppl.jobs.errors import UserError

Labels = dict[PurePosixPath, frozenset[str]]


@dataclass(frozen=True)
class Matched:
    """Labels by photo, and the names in the labels that match no photo (`absent`) or several (`ambiguous`)."""

    labels: Labels
    absent: tuple[str, ...]
    ambiguous: tuple[str, ...]


def match(table: Table, names: Names) -> Matched:
    """Return the labels of the photos that a table names."""
    labels: Labels = {}
    absent, ambiguous = [], []
    for name, classes in table.labels.items():
        photos = table.photos[name] if name in table.photos else names.find(name)
        if len(photos) == 1:
            labels[photos[0]] = labels.get(photos[0], frozenset()) | classes
        else:
            (ambiguous if photos else absent).append(name)
    return Matched(labels, tuple(absent), tuple(ambiguous))


def classes_of(matched: Matched, table: Table) -> tuple[str, ...]:
    """Return the classes of the photos, in the order of the table, which may be that of a larger collection."""
    present = frozenset().union(*matched.labels.values())
    return tuple(name for name in table.classes if name in present)


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of classes in a file, one per line."""
    lines = decoded_text(path)[0].splitlines()
    if classes := tuple(name for line in lines if (name := clean_name(line))):
        return classes
    raise UserError(path, "names no class", "write one class name per line")


def without_background(path: Path | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes without background, number 0, which lists of other tools name first.

    UserError for background in another line, as the number of the classes below it is then in doubt.
    """
    first = next((place for place, name in enumerate(classes) if class_key(name) not in BACKGROUND | IGNORED), 0)
    if names := [name for name in classes[first:] if class_key(name) in BACKGROUND]:
        raise UserError(path, f"names {names[0]!r} among the classes", "remove the line: the number of background is 0")
    return classes[first:]


def refuse_unlisted(path: Path, classes: Sequence[str], table: Table) -> None:
    """Raise UserError if the labels name classes that the file of --classes lacks."""
    unknown = sorted(set(table.classes) - set(classes))
    by_key = {class_key(name): name for name in classes}
    for name in unknown:
        if other := by_key.get(class_key(name)):
            raise UserError(path, f"names {other!r}, the labels {name!r}", "spell the class in one way")
    if unknown:
        raise UserError(path, f"lacks {listed(map(repr, unknown[:MAX_EXAMPLES]))} of the labels", "add a line for each")
