"""Write seeds after a dense CRF: Table I's middle column, and the pseudo labels of `refine.network: none`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam.seeds import seed
from ppl.cam.store import Cam
from ppl.crf.dense import Pairwise, Solver, Where, from_labels, on_cpu
from ppl.crf.solvers import choose
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.labelling import label_all


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    threshold: float
    """Background threshold of the seeds."""
    confidence: float
    """Probability that the CRF assigns to an input label."""
    iterations: int
    """Iterations of the CRF."""
    pairwise: Pairwise
    workers: int
    shard: str = "1/1"
    crf_on: Where = "cpu"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    solver, workers = choose(settings.crf_on, settings.workers)
    label = partial(
        crf_seed,
        threshold=settings.threshold,
        confidence=settings.confidence,
        iterations=settings.iterations,
        pairwise=settings.pairwise,
        solver=solver,
    )
    name = f"CRF of seeds, {part_of(settings.split, settings.shard)}"
    label_all(dataset, image_ids, settings.cams, settings.out, label, workers=workers, name=name)


def crf_seed(
    photo: np.ndarray,
    cam: Cam,
    *,
    threshold: float,
    confidence: float,
    iterations: int,
    pairwise: Pairwise,
    solver: Solver = on_cpu,
) -> np.ndarray:
    """Return the seed (h, w) uint8 of a CAM at a background threshold, after a dense CRF over the image's classes."""
    labels, classes = seed(cam, threshold), [int(c) for c in cam.classes]
    return from_labels(
        photo, [labels], classes, confidence=confidence, iterations=iterations, pairwise=pairwise, solver=solver
    )[0]


if __name__ == "__main__":
    command(main, Settings)
