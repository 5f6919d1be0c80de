"""Writes confident labels, which IRNet learns from: foreground and background where a CAM leaves little doubt.

Worker processes run this on one image each, so that the module does without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam.store import open_store, upsample
from ppl.crf import IRNET, Pairwise, from_labels
from ppl.data.dataset import IGNORE, Dataset, read_photo, write_mask
from ppl.files import UserError, atomic, command
from ppl.parallel import in_chunks, run_all, shard_of

IMAGES_PER_TASK = 4


@dataclass(frozen=True)
class Confident:
    """What counts as confident."""

    foreground: float
    """Threshold above which a class is taken for certain."""
    background: float
    """Threshold below which background is."""
    confidence: float
    """Probability that the CRF gives to a label it is handed."""
    iterations: int
    """Of the CRF."""


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    confident: Confident
    pairwise: Pairwise
    workers: int
    shard: str = "1/1"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    images = shard_of(dataset.split(settings.split), settings.shard)
    chunks = in_chunks(images, IMAGES_PER_TASK)
    with atomic(settings.out) as folder:
        folder.mkdir()
        write = partial(_write, dataset, settings, folder)
        for _ in run_all(write, chunks, workers=settings.workers, total=len(chunks), unit="chunk", name="confident"):
            pass
        if sum(1 for _ in folder.iterdir()) != len(images):
            raise UserError(f"{settings.out}: fewer labels than the {len(images)} images; the split names one twice")


def _write(dataset: Dataset, settings: Settings, folder: Path, images: Sequence[str]) -> None:
    with open_store(settings.cams) as cams:
        for image in images:
            photo, cam = read_photo(dataset.photo(image)), cams.read(image)
            if photo.shape[:2] != cam.size:
                raise UserError(
                    f"{dataset.photo(image)}: is {photo.shape[:2]}, its CAM {cam.size}; export the CAMs again"
                )
            labels = confident_labels(
                photo,
                upsample(cam.maps, cam.size),
                cam.classes,
                fg_threshold=settings.confident.foreground,
                bg_threshold=settings.confident.background,
                confidence=settings.confident.confidence,
                iterations=settings.confident.iterations,
                pairwise=settings.pairwise,
            )
            write_mask(folder / f"{image}.png", labels)


def hard_labels(cam: np.ndarray, classes: Sequence[int] | np.ndarray, threshold: float) -> np.ndarray:
    """The class of the strongest activation where that exceeds `threshold`, else background.

    cam (C, h, w) floating point, classes (C,) ids in 1..254 -> (h, w) uint8. Of equal activations the first wins.
    Raises ValueError where the number of classes differs or an id is out of range.
    """
    ids = np.asarray(classes, dtype=np.int64)
    if cam.ndim != 3 or ids.shape != cam.shape[:1] or ((ids < 1) | (ids > 254)).any():
        raise ValueError(f"classes {ids.tolist()} do not fit a CAM of shape {cam.shape}")
    if not len(ids):
        return np.zeros(cam.shape[1:], np.uint8)
    labels = ids.astype(np.uint8)[cam.argmax(0)]  # (h, w)
    labels[cam.max(0) <= threshold] = 0
    return labels


def combine(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The label of a strict foreground pass where it has one, 0 where a lenient pass agrees on none, elsewhere 255.

    Both (h, w) label maps -> (h, w) uint8.
    """
    return np.where(foreground > 0, foreground, np.where(background > 0, IGNORE, 0)).astype(np.uint8)


def confident_labels(
    photo: np.ndarray,
    cam: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    *,
    fg_threshold: float = 0.30,
    bg_threshold: float = 0.05,
    confidence: float = 0.7,
    iterations: int = 10,
    pairwise: Pairwise = IRNET,
) -> np.ndarray:
    """Foreground above the strict threshold and background below the lenient one, both after a dense CRF; else 255.

    photo (h, w, 3) uint8, cam (C, h, w) of the image's classes, relative to their maximum, classes (C,) ids
    -> (h, w) uint8. Raises ValueError for shapes that do not fit or thresholds in the wrong order.
    """
    if bg_threshold > fg_threshold:
        raise ValueError(f"the background threshold {bg_threshold} is above the foreground threshold {fg_threshold}")
    passes = [hard_labels(cam, classes, threshold) for threshold in (fg_threshold, bg_threshold)]
    ids = [int(c) for c in classes]
    foreground, background = from_labels(
        photo, passes, ids, confidence=confidence, iterations=iterations, pairwise=pairwise
    )
    return combine(foreground, background)


if __name__ == "__main__":
    command(main, Settings)
