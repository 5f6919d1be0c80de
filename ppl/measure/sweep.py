"""Measure seeds at every background threshold 0.00 to 1.00 in one pass over the CAMs (Figures 7 and 9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ppl.cam.seeds import strongest_class
from ppl.cam.store import Cam, open_store
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE, read_truth
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks
from ppl.measure.metrics import iou, mean_iou, precision_recall

THRESHOLDS = (np.arange(101) / 100).astype(np.float32)
IMAGES_PER_TASK = 16


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    workers: int


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = dataset.split(settings.split)
    chunks = in_chunks(image_ids, IMAGES_PER_TASK)
    tasks = ((dataset, settings.cams, chunk) for chunk in chunks)
    histograms = run_all(
        _count,
        tasks,
        workers=settings.workers,
        total=len(image_ids),
        size=lambda task: len(task[2]),
        name=f"seeds measured, {settings.split}",
    )
    with atomic(settings.out) as temporary:
        table(sum(histograms), dataset.classes).to_csv(temporary, index=False, float_format="%.4f")


def histogram(truth: np.ndarray, cam: Cam, classes: int) -> np.ndarray:
    """Count pixels by (truth, strongest class, number of thresholds below its score): (C+1, C+1, 102) int64.

    `truth` is (h, w) uint8; 255 is ignored. At threshold j a pixel belongs to its strongest class if more than j
    thresholds lie below its score, and to background otherwise: every threshold follows from the one histogram.
    """
    strongest, score = strongest_class(cam)
    valid = truth != IGNORE
    level = np.searchsorted(THRESHOLDS, score[valid], side="left")
    bins = len(THRESHOLDS) + 1
    index = (truth[valid].astype(np.int64) * (classes + 1) + strongest[valid]) * bins + level
    return np.bincount(index, minlength=(classes + 1) ** 2 * bins).reshape(classes + 1, classes + 1, bins)


def confusions(counts: np.ndarray) -> np.ndarray:
    """Compute confusion matrices (101, C+1, C+1) of the seeds at every threshold from a histogram (C+1, C+1, 102)."""
    above = counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]  # pixels with at least that many thresholds below
    matrices = np.moveaxis(above[:, :, 1:], 2, 0).copy()
    matrices[:, :, 0] = counts.sum(axis=(1, 2)) - matrices[:, :, 1:].sum(axis=2)  # the rest is background
    return matrices


def table(counts: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return threshold, mIoU, precision, recall and IoU per class in percent, a row per threshold.

    NaN for classes without ground truth, and for the means if no class but background has any.
    """
    matrices = confusions(counts)
    precision, recall = precision_recall(matrices)
    columns = {"miou": mean_iou(matrices), "precision": precision, "recall": recall}
    columns |= {f"iou_{name}": values for name, values in zip(["background", *classes], iou(matrices).T, strict=True)}
    return pd.DataFrame({"threshold": THRESHOLDS, **{name: 100 * values for name, values in columns.items()}})


def _count(task: tuple[Dataset, Sequence[Path], Sequence[str]]) -> np.ndarray:
    dataset, paths, image_ids = task
    total = 0
    with open_store(paths, dataset.classes) as cams:
        for image_id in image_ids:
            mask = dataset.mask(image_id)
            truth, cam = read_truth(mask, len(dataset.classes)), cams.read(image_id)
            if truth.shape != cam.size:
                what = f"size mismatch: the photo has {cam.size}, got {truth.shape}"
                raise UserError(mask, what, "draw it at the photo's size")
            total = total + histogram(truth, cam, len(dataset.classes))
    return total


if __name__ == "__main__":
    command(main, Settings)
