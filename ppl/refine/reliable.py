"""Write reliable labels, the training targets of the refinement network: foreground and background of certain CAMs.

Worker processes run this on one image each, so the module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.cam.seeds import hard_labels
from ppl.cam.store import Cam
from ppl.cam.threshold import read_threshold
from ppl.crf.dense import on_cpu, problem_of_probabilities, solve
from ppl.crf.interface import Problem, Solver
from ppl.crf.settings import IRNET, Pairwise
from ppl.crf.solvers import choose
from ppl.data.dataset import Dataset
from ppl.data.resize import upsample
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.background import with_background
from ppl.refine.labelling import label_all
from ppl.refine.passes import Crf, Passes, band, combine, label_maps
from ppl.refine.settings import Refine, Reliable


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    refine: Refine
    hardware: Hardware
    threshold: Path | None = None
    """JSON of `ppl.cam.choose_threshold`, which `margins` need."""
    shard: str = "1/1"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    execution = choose(settings.hardware)
    threshold = read_threshold(settings.threshold) if settings.threshold else None
    label = partial(_label, settings.refine, execution.solver, threshold)
    name = f"reliable labels, {part_of(settings.split, settings.shard)}"
    label_all(dataset, image_ids, settings.cams, settings.out, label, execution=execution, name=name)


def _label(
    refine: Refine, solver: Solver, threshold: float | None, photos: Sequence[np.ndarray], cams: Sequence[Cam]
) -> list[np.ndarray]:
    images = [Scores(photo, upsample(cam.maps, cam.size), cam.classes) for photo, cam in zip(photos, cams, strict=True)]
    return reliable_labels(
        images,
        refine.reliable,
        threshold=threshold,
        pairwise=refine.pairwise,
        solver=solver,
        keep=refine.keep_classes,
    )


class Scores(NamedTuple):
    """An image and its scores at the photo's size.

    photo (h, w, 3) uint8, cam (C, h, w) of the image's classes in 0..1, relative to their maximum, classes (C,) ids.
    """

    photo: np.ndarray
    cam: np.ndarray
    classes: Sequence[int] | np.ndarray


def reliable_labels(
    images: Sequence[Scores],
    reliable: Reliable,
    *,
    threshold: float | None = None,
    pairwise: Pairwise = IRNET,
    solver: Solver = on_cpu,
    keep: bool = False,
) -> list[np.ndarray]:
    """Return the classes of a strict pass, the background of a lenient one, both after a dense CRF, and 255 elsewhere.

    Thresholds: a pass is the strongest class above a threshold, `foreground` (strict) or `background`. Margins: the
    same, their thresholds relative to the `threshold` of the seeds. Alphas: the CRF takes, as probabilities, the
    classes and a background score (1 - max)^alpha, `low` (strict) or `high`. `keep`, unless by alphas: no class loses
    its seed to the CRF.

    Returns (h, w) uint8 of each image. Raises ValueError for inconsistent shapes, UserError for margins without a
    threshold.
    """
    if reliable.scores == "alphas":
        problems = [_by_alphas(image, reliable) for image in images]
        refined = solve(problems, iterations=reliable.iterations, pairwise=pairwise, solver=solver)
        return [combine(*passes) for passes in refined]
    limits = thresholds_of(reliable, threshold)
    passes = [
        Passes(photo, [hard_labels(cam, classes, limit) for limit in limits], cam, [int(c) for c in classes])
        for photo, cam, classes in images
    ]
    return label_maps(passes, crf=Crf(reliable.confidence, reliable.iterations, pairwise, solver), keep=keep)


def thresholds_of(reliable: Reliable, threshold: float | None) -> tuple[float, float]:
    """Return the thresholds of the strict and the lenient pass; UserError for margins without a threshold."""
    if reliable.scores == "thresholds":
        return reliable.thresholds.foreground, reliable.thresholds.background
    if threshold is None:
        raise UserError("refine.reliable.scores margins", "--threshold is missing", "name the variant's threshold.json")
    strict, *lenient = band(threshold, reliable.margins)
    return strict, *(lenient or [strict])


def _by_alphas(image: Scores, reliable: Reliable) -> Problem:
    """Return the CRFs of AffinityNet's strict and lenient label maps."""
    scores = [with_background(image.cam, alpha) for alpha in (reliable.alphas.low, reliable.alphas.high)]
    problem = problem_of_probabilities(image.photo, [s / s.sum(0) for s in scores])
    return problem._replace(ids=np.array([0, *image.classes], np.uint8))


if __name__ == "__main__":
    command(main, Settings)
