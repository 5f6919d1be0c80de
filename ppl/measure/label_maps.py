"""Measure label maps of a split against its masks: IoU per class and mIoU from one confusion matrix.

Label maps that leave pixels unlabelled (255) are measured where they have a label; how much of a class that is stands
beside its IoU.
"""

import csv
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import IGNORE, read_mask, read_truth
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.measure.classes_measured import NO_MEAN
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
    """CSV: class, iou (percent), pixels (of the truth); the last row is the mean, empty if
    no class but background occurs in the masks. With `partial` also `labelled`
    (percent of the pixels that have a label) and `precision` (percent of the pixels with this label that are right),
    and IoU is that of labelled pixels."""
    partial: bool = False
    """Whether the label maps may leave pixels unlabelled (255)."""
    workers: int = 0
    """Processes that read the maps; 0: this one."""


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = dataset.split(settings.split)
    pairs = zip(map(dataset.mask, image_ids), find_maps(settings.predictions, image_ids), strict=True)
    count = partial(_count, len(dataset.classes), settings.partial)
    if settings.workers:
        counts = run_all(count, pairs, workers=settings.workers, total=len(image_ids), name=f"{settings.name} measured")
    else:
        counts = map(count, pairs)
    counts = sum(counts, np.zeros((len(dataset.classes) + 1, len(dataset.classes) + 2), dtype=np.int64))
    matrix, unlabelled = counts[:, :-1], counts[:, -1]
    if not counts.any():
        raise UserError(
            f"split {settings.split} of {settings.data}", "its masks have no labelled pixel", "choose another split"
        )
    names = ("background", *dataset.classes)
    if not matrix.any():
        remedy = "lower refine.labels.margins, or name fewer variants in refine.labels.agree"
        raise UserError(f"{settings.name}, split {settings.split}", "no pixel has a label", remedy)
    absent = [name for name, pixels in zip(names, counts.sum(axis=1), strict=True) if not pixels]
    if absent:
        print(f"{settings.name}: no ground truth for {', '.join(absent)}; excluded from the mean", file=sys.stderr)
    unmeasured = [name for name, pixels in zip(names, matrix.sum(axis=1), strict=True) if not pixels]
    if hidden := [name for name in unmeasured if name not in absent]:
        print(f"{settings.name}: no labelled pixel of {', '.join(hidden)}; excluded from the mean", file=sys.stderr)
    rows = table(matrix, names)
    if settings.partial:
        rows = [row + more for row, more in zip(rows, coverage(matrix, unlabelled), strict=True)]
    with atomic(settings.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    of = f" of the {100 * matrix.sum() / counts.sum():.1f} % labelled pixels" if unlabelled.any() else ""
    print(f"{settings.name}: {mean_text(matrix, of)}", file=sys.stderr)


def mean_text(matrix: np.ndarray, of: str = "") -> str:
    """Return the mIoU and over how many classes it is, or why there is none, of a confusion matrix (C+1, C+1)."""
    mean, present = mean_iou(matrix), int((matrix.sum(axis=1) > 0).sum())
    if np.isnan(mean):
        return NO_MEAN
    count = f"{present} classes" if present == len(matrix) else f"{present} of {len(matrix)} classes"
    return f"mIoU {100 * mean:.2f}{of} over {count}"


def table(matrix: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, str, int | str]]:
    """Return rows class, iou in percent, pixels of a confusion matrix (C+1, C+1), below a header, the mean last.

    The IoU of a class without ground truth is empty, and the mean if no class but background has any.
    """
    pixels, values, mean = matrix.sum(axis=1), iou(matrix), mean_iou(matrix)
    rows = [
        (name, "" if np.isnan(value) else f"{100 * value:.2f}", int(count))
        for name, value, count in zip(names, values, pixels, strict=True)
    ]
    return [
        ("class", "iou", "pixels"),
        *rows,
        ("mean", "" if np.isnan(mean) else f"{100 * mean:.2f}", int(pixels.sum())),
    ]


def coverage(matrix: np.ndarray, unlabelled: np.ndarray) -> list[tuple[str, str]]:
    """Return columns `labelled` and `precision` in percent for the rows of `table`, the mean's those of all pixels.

    matrix (C+1, C+1) counts labelled pixels, unlabelled (C+1,) the others, by truth. Empty where there is no pixel.
    """
    hits, truth, labels = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    shares = [
        [*zip(truth, truth + unlabelled, strict=True), (truth.sum(), truth.sum() + unlabelled.sum())],
        [*zip(hits, labels, strict=True), (hits.sum(), labels.sum())],
    ]
    columns = [[f"{100 * part / whole:.2f}" if whole else "" for part, whole in column] for column in shares]
    return [("labelled", "precision"), *zip(*columns, strict=True)]


def _count(classes: int, unlabelled: bool, pair: tuple[Path, Path]) -> np.ndarray:
    """Return pixels by truth (row) and label (column), (C+1, C+2) int64, the last column those without a label."""
    truth, prediction = read_truth(pair[0], classes), read_mask(pair[1])
    if truth.shape != prediction.shape:
        what = f"size mismatch: the mask has {truth.shape}, got {prediction.shape}"
        raise UserError(pair[1], what, "predict at the photo's size")
    without = prediction == IGNORE if unlabelled else np.zeros(prediction.shape, bool)
    if (highest := prediction[~without].max(initial=0)) > classes:
        what = f"class id {highest}, but the highest of classes.txt is {classes}"
        raise UserError(pair[1], what, "make it for this dataset")
    matrix = confusion(np.where(without, IGNORE, truth), prediction, classes)
    skipped = np.bincount(truth[without & (truth != IGNORE)], minlength=classes + 1)
    return np.concatenate([matrix, skipped[:, None]], axis=1)


if __name__ == "__main__":
    command(main, Settings)
