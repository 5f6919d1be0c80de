"""Write reliable labels, the training targets of the refinement network: foreground and background of certain CAMs.

Worker processes run this on one image each, so the module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam.seeds import hard_labels
from ppl.cam.store import Cam
from ppl.crf.dense import Solver, from_labels, from_several_probabilities, on_cpu
from ppl.crf.settings import IRNET, Pairwise
from ppl.crf.solvers import choose
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE
from ppl.data.resize import upsample
from ppl.jobs.command import command
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.background import with_background
from ppl.refine.labelling import label_all
from ppl.refine.settings import Refine, Reliable


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    refine: Refine
    hardware: Hardware
    shard: str = "1/1"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    solver, workers = choose(settings.hardware)
    label = partial(_label, settings.refine.reliable, settings.refine.pairwise, solver)
    name = f"reliable labels, {part_of(settings.split, settings.shard)}"
    label_all(dataset, image_ids, settings.cams, settings.out, label, workers=workers, name=name)


def _label(reliable: Reliable, pairwise: Pairwise, solver: Solver, photo: np.ndarray, cam: Cam) -> np.ndarray:
    maps = upsample(cam.maps, cam.size)
    return reliable_labels(photo, maps, cam.classes, reliable, pairwise=pairwise, solver=solver)


def reliable_labels(
    photo: np.ndarray,
    cam: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    reliable: Reliable,
    *,
    pairwise: Pairwise = IRNET,
    solver: Solver = on_cpu,
) -> np.ndarray:
    """Return the classes of a strict pass, the background of a lenient one, both after a dense CRF, and 255 elsewhere.

    Thresholds: a pass is the strongest class above a threshold, `foreground` (strict) or `background`. Alphas: the CRF
    takes, as probabilities, the classes and a background score (1 - max)^alpha, `low` (strict) or `high`.

    photo (h, w, 3) uint8, cam (C, h, w) of the image's classes in 0..1, relative to their maximum, classes (C,) ids
    -> (h, w) uint8. Raises ValueError for inconsistent shapes.
    """
    label = _by_alphas if reliable.scores == "alphas" else _by_thresholds
    return combine(*label(photo, cam, classes, reliable, pairwise, solver))


def combine(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the class of a strict foreground pass, 0 where a lenient pass has no class either, elsewhere 255.

    Both (h, w) label maps -> (h, w) uint8.
    """
    return np.where(foreground > 0, foreground, np.where(background > 0, IGNORE, 0)).astype(np.uint8)


def _by_thresholds(
    photo: np.ndarray,
    cam: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    reliable: Reliable,
    pairwise: Pairwise,
    solver: Solver,
) -> list[np.ndarray]:
    """Return IRNet's strict and lenient label maps (h, w) uint8."""
    thresholds = reliable.thresholds.foreground, reliable.thresholds.background
    return from_labels(
        photo,
        [hard_labels(cam, classes, threshold) for threshold in thresholds],
        [int(c) for c in classes],
        confidence=reliable.confidence,
        iterations=reliable.iterations,
        pairwise=pairwise,
        solver=solver,
    )


def _by_alphas(
    photo: np.ndarray,
    cam: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    reliable: Reliable,
    pairwise: Pairwise,
    solver: Solver,
) -> list[np.ndarray]:
    """Return AffinityNet's strict and lenient label maps (h, w) uint8."""
    ids = np.concatenate([[0], np.asarray(classes, np.int64)]).astype(np.uint8)
    scores = [with_background(cam, alpha) for alpha in (reliable.alphas.low, reliable.alphas.high)]
    probabilities = [s / s.sum(0) for s in scores]
    passes = from_several_probabilities(
        photo, probabilities, iterations=reliable.iterations, pairwise=pairwise, solver=solver
    )
    return [ids[labels] for labels in passes]


if __name__ == "__main__":
    command(main, Settings)
