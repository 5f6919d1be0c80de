"""Measure label maps of a split against its masks: IoU per class and mIoU from one confusion matrix."""

import csv
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import read_mask, read_truth
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.measure.metrics import confusion, iou, mean_iou


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    predictions: tuple[Path, ...]
    """Folders of label maps ID.png with ids 0..C, one per shard; together they hold the whole split."""
    name: str
    """Name of the label maps, for messages."""
    out: Path
    """CSV: class, iou (percent), pixels (of the truth); the last row is the mean."""
    workers: int = 0
    """Processes that read the maps; 0: this one."""


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = dataset.split(settings.split)
    pairs = zip(map(dataset.mask, image_ids), find_maps(settings.predictions, image_ids), strict=True)
    count = partial(_count, len(dataset.classes))
    if settings.workers:
        counts = run_all(count, pairs, workers=settings.workers, total=len(image_ids), name=f"{settings.name} measured")
    else:
        counts = map(count, pairs)
    matrix = sum(counts, np.zeros((len(dataset.classes) + 1,) * 2, dtype=np.int64))
    if not matrix.any():
        raise UserError(
            f"split {settings.split} of {settings.data}", "its masks have no labelled pixel", "choose another split"
        )
    names = ("background", *dataset.classes)
    absent = [name for name, pixels in zip(names, matrix.sum(axis=1), strict=True) if not pixels]
    if absent:
        print(f"{settings.name}: no ground truth for {', '.join(absent)}; excluded from the mean", file=sys.stderr)
    with atomic(settings.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table(matrix, names))
    present = len(names) - len(absent)
    print(f"{settings.name}: mIoU {100 * mean_iou(matrix):.2f} over {present} classes", file=sys.stderr)


def table(matrix: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, str, int | str]]:
    """Return rows class, iou in percent, pixels of a confusion matrix (C+1, C+1), below a header, the mean last.

    The IoU of a class without ground truth is empty.
    """
    pixels, values = matrix.sum(axis=1), iou(matrix)
    rows = [
        (name, "" if np.isnan(value) else f"{100 * value:.2f}", int(count))
        for name, value, count in zip(names, values, pixels, strict=True)
    ]
    return [("class", "iou", "pixels"), *rows, ("mean", f"{100 * mean_iou(matrix):.2f}", int(pixels.sum()))]


def _count(classes: int, pair: tuple[Path, Path]) -> np.ndarray:
    truth, prediction = read_truth(pair[0], classes), read_mask(pair[1])
    if truth.shape != prediction.shape:
        what = f"size mismatch: the mask has {truth.shape}, got {prediction.shape}"
        raise UserError(pair[1], what, "predict at the photo's size")
    if (highest := prediction.max(initial=0)) > classes:
        what = f"class id {highest}, but the highest of classes.txt is {classes}"
        raise UserError(pair[1], what, "make it for this dataset")
    return confusion(truth, prediction, classes)


if __name__ == "__main__":
    command(main, Settings)
