"""Write reliable labels, the training targets of the refinement network: foreground and background of certain CAMs.

Worker processes run this on one image each, so the module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ppl.cam.seeds import hard_labels
from ppl.cam.store import Cam
from ppl.crf.dense import IRNET, Pairwise, Solver, Where, from_labels, from_several_probabilities, on_cpu
from ppl.crf.solvers import choose
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE
from ppl.data.resize import upsample
from ppl.jobs.command import command
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.background import with_background
from ppl.refine.labelling import label_all


@dataclass(frozen=True)
class Reliable:
    """Settings of the reliable labels."""

    scores: Literal["constant", "power"]
    """Score of background: a threshold (IRNet), or (1 - strongest class)^power (AffinityNet)."""
    foreground: float
    """Threshold above which a class is reliable; or the exponent, a low one, of a strong background."""
    background: float
    """Threshold below which background is reliable; or the exponent, a high one, of a weak background."""
    confidence: float
    """Probability that the CRF assigns to an input label."""
    iterations: int
    """Iterations of the CRF."""


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    confident: Reliable
    pairwise: Pairwise
    workers: int
    shard: str = "1/1"
    crf_on: Where = "cpu"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    solver, workers = choose(settings.crf_on, settings.workers)
    label = partial(_label, settings.confident, settings.pairwise, solver)
    name = f"reliable labels, {part_of(settings.split, settings.shard)}"
    label_all(dataset, image_ids, settings.cams, settings.out, label, workers=workers, name=name)


def _label(reliable: Reliable, pairwise: Pairwise, solver: Solver, photo: np.ndarray, cam: Cam) -> np.ndarray:
    maps = upsample(cam.maps, cam.size)
    if reliable.scores == "power":
        powers = reliable.foreground, reliable.background
        return power_labels(
            photo, maps, cam.classes, powers, iterations=reliable.iterations, pairwise=pairwise, solver=solver
        )
    return reliable_labels(
        photo,
        maps,
        cam.classes,
        fg_threshold=reliable.foreground,
        bg_threshold=reliable.background,
        confidence=reliable.confidence,
        iterations=reliable.iterations,
        pairwise=pairwise,
        solver=solver,
    )


def combine(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the class of a strict foreground pass, 0 where a lenient pass has no class either, elsewhere 255.

    Both (h, w) label maps -> (h, w) uint8.
    """
    return np.where(foreground > 0, foreground, np.where(background > 0, IGNORE, 0)).astype(np.uint8)


def reliable_labels(
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
    """Return foreground above the strict threshold, background below the lenient one, both after a dense CRF; else 255.

    photo (h, w, 3) uint8, cam (C, h, w) of the image's classes, relative to their maximum, classes (C,) ids
    -> (h, w) uint8. Raises ValueError for inconsistent shapes or thresholds in the wrong order.
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
    """Return AffinityNet's reliable labels: foreground above a strong background, background above a weak one.

    Background scores (1 - max of the CAM)^power, for the two powers; with the classes, as probabilities, a dense CRF
    follows. photo (h, w, 3) uint8, cam (C, h, w) in 0..1, classes (C,) ids -> (h, w) uint8, else 255.
    """
    ids = np.concatenate([[0], np.asarray(classes, np.int64)]).astype(np.uint8)
    scores = [with_background(cam, power) for power in powers]
    probabilities = [s / s.sum(0) for s in scores]
    passes = from_several_probabilities(photo, probabilities, iterations=iterations, pairwise=pairwise, solver=solver)
    return combine(*(ids[labels] for labels in passes))


if __name__ == "__main__":
    command(main, Settings)
