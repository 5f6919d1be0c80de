"""Which classes vanish on the way from image-level labels to predictions: a table per variant, without any mask.

The table is read with the standard library: the overview at the end of a run reads it in Snakemake's own process.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ppl.jobs.errors import UserError

FILE = "classes.csv"
SHRUNK = 0.2
"""A class vanishes where its mean share of pixels falls below this share of that at an earlier stage: seeds are rarely
more than twice as large as their objects, or half as large, so tighter labels explain a factor of two or three."""


class Stage(NamedTuple):
    """Label maps in which classes are counted."""

    caption: str
    split: str
    """Key below `data:` of the split that is counted."""
    gone: float
    """A class vanishes here if it has no pixel on more than this share of the photos that are labelled with it. Seeds
    and pseudo labels know the labels of their photos, so a class should be on all of them: half is the limit.
    Predictions do not: a network that confuses classes misses half of the photos of some, so three quarters is."""
    remedy: str
    """For classes that vanish at this stage; {alone} and {photos} are numbers of training photos."""


ALONE = "add photos that show it without other classes ({alone} of {photos} do)"
KEEP = "lower refine.labels.margins or shorten refine.labels.agree, with refine.keep_classes: true"
STAGES = {
    "seeds": Stage("seeds", "train_split", 0.5, f"{ALONE}, or set a lower cam.threshold"),
    "labels": Stage("pseudo labels", "train_split", 0.5, f"{KEEP}, or {ALONE}"),
    "predictions": Stage("predictions", "val_split", 0.75, "add photos that show it, or raise segment.training.steps"),
}
"""The stages by the name of their columns, from first to last."""
LABELLED = "image-level labels"


class Count(NamedTuple):
    """A class at a stage."""

    photos: int
    """Labelled with the class."""
    gone: int
    """Of those, the photos where no pixel has the class."""
    share: float
    """Mean share of the class in the pixels of its labelled photos, in percent, undecided pixels (255) counted as
    another class; NaN if there are no such photos."""


class ClassCounts(NamedTuple):
    """A row of the table: a class at all stages."""

    name: str
    alone: int
    """Photos of the training split that are labelled with this class only."""
    stages: Mapping[str, Count]
    """By name of the stage, in the order of STAGES."""


class Vanishing(NamedTuple):
    """Where a class vanishes, and the evidence as text."""

    stage: str
    evidence: str


def vanishing(row: ClassCounts) -> Vanishing | None:
    """Return the first stage at which a class vanishes (`Stage.gone`, SHRUNK); None if there is none.

    A stage without a photo that is labelled with the class is left out.
    """
    photos = next(iter(row.stages.values())).photos
    before, largest = (LABELLED, Count(photos, 0, math.nan)), None
    for name, count in row.stages.items():
        if not count.photos:
            continue
        caption = STAGES[name].caption
        if count.gone > STAGES[name].gone * count.photos:
            return Vanishing(name, f"in the {before[0]} of {_found(before[1])}, in the {caption} of {_found(count)}")
        if largest and count.share < SHRUNK * largest[1].share:
            shares = f"{_percent(largest[1].share)} in the {largest[0]}, {_percent(count.share)} in the {caption}"
            return Vanishing(name, f"share of the pixels of its photos {shares}")
        before = (caption, count)
        if largest is None or count.share > largest[1].share:
            largest = before
    return None


def warnings(rows: Sequence[ClassCounts]) -> list[str]:
    """Return one line for each class that vanishes: where, by what evidence, and a remedy."""
    return [
        f"class {row.name!r} vanishes: {lost.evidence}; {_remedy(row, lost.stage)}" for row, lost in _vanished(rows)
    ]


def table(rows: Sequence[ClassCounts]) -> list[list[str | int]]:
    """Return the rows of the CSV below a header; a share is empty where no photo is labelled with the class."""
    header = ["class", "alone", *(f"{stage}_{field}" for stage in STAGES for field in Count._fields)]
    return [header, *([row.name, row.alone, *_cells(row)] for row in rows)]


def read_counts(path: Path) -> list[ClassCounts]:
    """Read a table of class counts; empty if there is no such file. UserError if it is damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_parsed(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(path, f"not a table of class counts ({error})", "delete it and run again") from error


def _parsed(row: Mapping[str, str]) -> ClassCounts:
    stages = {
        stage: Count(int(row[f"{stage}_photos"]), int(row[f"{stage}_gone"]), float(row[f"{stage}_share"] or math.nan))
        for stage in STAGES
    }
    return ClassCounts(row["class"], int(row["alone"]), stages)


def _cells(row: ClassCounts) -> Iterator[str | int]:
    for count in row.stages.values():
        yield from (count.photos, count.gone, "" if math.isnan(count.share) else f"{count.share:.3f}")


def _vanished(rows: Sequence[ClassCounts]) -> Iterator[tuple[ClassCounts, Vanishing]]:
    for row in rows:
        if lost := vanishing(row):
            yield row, lost


def _remedy(row: ClassCounts, stage: str) -> str:
    return STAGES[stage].remedy.format(alone=row.alone, photos=row.stages["seeds"].photos)


def _found(count: Count) -> str:
    return f"{count.photos - count.gone} of {count.photos} photos"


def _percent(share: float) -> str:
    return f"{share:.1f} %" if share >= 1 else f"{share:.2f} %"
