"""Writes confident labels, which IRNet learns from: foreground and background where a CAM leaves little doubt.

Worker processes run this on one image each, so that the module does without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ppl.cam.store import Cam
from ppl.crf.dense import IRNET, Pairwise, Solver, Where, from_labels, from_several_probabilities, on_cpu
from ppl.crf.solvers import choose
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE
from ppl.data.resize import upsample
from ppl.jobs.command import command
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.labelling import label_all


@dataclass(frozen=True)
class Confident:
    """What counts as confident."""

    scores: Literal["constant", "power"]
    """Score of background: a threshold (IRNet), or (1 - strongest class)^power (AffinityNet)."""
    foreground: float
    """Threshold above which a class is taken for certain; or the power, a low one, of a strong background."""
    background: float
    """Threshold below which background is; or the power, a high one, of a weak background."""
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
    crf_on: Where = "cpu"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    images = shard_of(dataset.split(settings.split), settings.shard)
    solver, workers = choose(settings.crf_on, settings.workers)
    label = partial(_label, settings.confident, settings.pairwise, solver)
    name = f"confident labels, {part_of(settings.split, settings.shard)}"
    label_all(dataset, images, settings.cams, settings.out, label, workers=workers, name=name)


def _label(confident: Confident, pairwise: Pairwise, solver: Solver, photo: np.ndarray, cam: Cam) -> np.ndarray:
    maps = upsample(cam.maps, cam.size)
    if confident.scores == "power":
        powers = confident.foreground, confident.background
        return power_labels(
            photo, maps, cam.classes, powers, iterations=confident.iterations, pairwise=pairwise, solver=solver
        )
    return confident_labels(
        photo,
        maps,
        cam.classes,
        fg_threshold=confident.foreground,
        bg_threshold=confident.background,
        confidence=confident.confidence,
        iterations=confident.iterations,
        pairwise=pairwise,
        solver=solver,
    )


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
    solver: Solver = on_cpu,
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
        photo, passes, ids, confidence=confidence, iterations=iterations, pairwise=pairwise, solver=solver
    )
    return combine(foreground, background)


def power_labels(
    photo: np.ndarray,
    cam: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    powers: tuple[float, float],
    *,
    iterations: int = 10,
    pairwise: Pairwise = IRNET,
    solver: Solver = on_cpu,
) -> np.ndarray:
    """AffinityNet's confident labels: foreground that prevails over a strong background, background over a weak one.

    Background scores (1 - max of the CAM)^power, for the two powers; with the classes, as probabilities, a dense CRF
    follows. photo (h, w, 3) uint8, cam (C, h, w) in 0..1, classes (C,) ids -> (h, w) uint8, 255 where neither is sure.
    """
    ids = np.concatenate([[0], np.asarray(classes, np.int64)]).astype(np.uint8)
    scores = [with_background(cam, power) for power in powers]
    probabilities = [s / s.sum(0) for s in scores]
    passes = from_several_probabilities(photo, probabilities, iterations=iterations, pairwise=pairwise, solver=solver)
    return combine(*(ids[labels] for labels in passes))


def with_background(cam: np.ndarray, power: float) -> np.ndarray:
    """A CAM (C, h, w) in 0..1 below a plane of background, (1 - max)^power: (C + 1, h, w), never all zero."""
    strongest = cam.max(0, initial=0)
    return np.concatenate([np.maximum((1 - np.clip(strongest, 0, 1)) ** power, 1e-5)[None], cam]).astype(np.float32)


if __name__ == "__main__":
    command(main, Settings)
