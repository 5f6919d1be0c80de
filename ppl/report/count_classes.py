"""Count the pixels of every class in seeds, pseudo labels and predictions, on the photos labelled with it; no masks."""

import csv
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ppl.cam.seeds import seed
from ppl.cam.store import open_store
from ppl.cam.threshold import read_threshold
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import read_mask
from ppl.jobs.command import command
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks
from ppl.report.classes import STAGES, ClassCounts, Count, table

IMAGES_PER_TASK = 16
UNIT = 10**9
"""Shares are summed in integers: images arrive in any order, on which a sum of floats depends."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Settings:
    data: Path
    train_split: str
    val_split: str
    """Its photos without labels are left out."""
    cams: tuple[Path, ...]
    """CAM files that hold the training split."""
    threshold: Path
    """JSON of `ppl.cam.choose_threshold`."""
    labels: tuple[Path, ...]
    """Folders of the pseudo labels of the training split."""
    predictions: tuple[Path, ...]
    """Folders of the predictions of the validation split, of one kind."""
    out: Path
    """CSV: class, alone, and for each stage photos, gone and share (ppl/report/classes.py)."""
    workers: int


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    train = [image_id for image_id in dataset.split(settings.train_split) if dataset.labels_of(image_id)]
    val = [image_id for image_id in dataset.split(settings.val_split) if dataset.labels.get(image_id)]
    in_seeds = partial(_in_seeds, dataset, settings.cams, read_threshold(settings.threshold))
    in_maps = partial(_in_maps, dataset)
    tasks = {
        "seeds": (in_seeds, train),
        "labels": (in_maps, [*zip(train, find_maps(settings.labels, train), strict=True)]),
        "predictions": (in_maps, [*zip(val, find_maps(settings.predictions, val), strict=True)]),
    }
    counts = {
        stage: _total(function, items, len(dataset.classes), settings.workers, f"classes of {STAGES[stage].caption}")
        for stage, (function, items) in tasks.items()
    }
    rows = class_counts(dataset.classes, [dataset.labels_of(image_id) for image_id in train], counts)
    with atomic(settings.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table(rows))


def count(labels: np.ndarray, classes: Sequence[int], total: int) -> np.ndarray:
    """Count the classes of an image's labels in a label map.

    labels (h, w) uint8, 255 where undecided; classes: ids in 1..`total` -> (total, 3) int64, per class 1..total whether
    the image is labelled with it (0 or 1), whether it then has no pixel, and its share of all pixels in UNITs.
    """
    pixels = np.bincount(labels.ravel(), minlength=total + 1)
    counts = np.zeros((total, 3), np.int64)
    for c in classes:
        counts[c - 1] = 1, pixels[c] == 0, round(UNIT * int(pixels[c]) / labels.size)
    return counts


def class_counts(
    names: Sequence[str], labels: Sequence[Sequence[int]], counts: Mapping[str, np.ndarray]
) -> list[ClassCounts]:
    """Return the rows of the table, one per class of `names`.

    labels: class ids of each training image, sorted; counts: by stage the sum of `count` over its images, (C, 3).
    """
    alone = Counter(of_image[0] for of_image in labels if len(of_image) == 1)
    return [
        ClassCounts(name, alone[c], {stage: _mean(*map(int, total[c - 1])) for stage, total in counts.items()})
        for c, name in enumerate(names, start=1)
    ]


def _mean(photos: int, gone: int, share: int) -> Count:
    return Count(photos, gone, 100 * share / (UNIT * photos) if photos else math.nan)


def _total(
    function: Callable[[Sequence[Item]], np.ndarray], items: Sequence[Item], classes: int, workers: int, name: str
) -> np.ndarray:
    """Return the sum (C, 3) of the counts of chunks of items, computed by worker processes."""
    chunks = in_chunks(items, IMAGES_PER_TASK)
    counts = run_all(function, chunks, workers=workers, total=len(items), size=len, name=name)
    return sum(counts, np.zeros((classes, 3), np.int64))


def _in_seeds(dataset: Dataset, cams: Sequence[Path], threshold: float, image_ids: Sequence[str]) -> np.ndarray:
    with open_store(cams, dataset.classes) as store:
        return sum(
            count(seed(store.read(image_id), threshold), dataset.labels_of(image_id), len(dataset.classes))
            for image_id in image_ids
        )


def _in_maps(dataset: Dataset, maps: Sequence[tuple[str, Path]]) -> np.ndarray:
    return sum(count(read_mask(path), dataset.labels_of(image_id), len(dataset.classes)) for image_id, path in maps)


if __name__ == "__main__":
    command(main, Settings)
