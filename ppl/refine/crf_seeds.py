"""Write seeds after a dense CRF: Table I's middle column, and the pseudo labels of `refine.network: none`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam import store
from ppl.cam.seeds import seed
from ppl.cam.threshold import read_threshold
from ppl.crf.dense import Solver, from_labels, on_cpu
from ppl.crf.settings import Pairwise
from ppl.crf.solvers import choose
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.labelling import label_all
from ppl.refine.settings import Refine


@dataclass(frozen=True, kw_only=True)
class Inputs:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    refine: Refine
    hardware: Hardware
    shard: str = "1/1"


@dataclass(frozen=True, kw_only=True)
class Settings(Inputs):
    threshold: Path
    """JSON of `ppl.cam.choose_threshold`."""


def main(settings: Settings) -> None:
    label_split(settings, read_threshold(settings.threshold))


def label_split(settings: Inputs, threshold: float) -> None:
    """Write the seeds of a split, or of a shard of it, at a background threshold after the CRF."""
    dataset, refine = Dataset.open(settings.data), settings.refine
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    solver, workers = choose(settings.hardware)
    label = partial(
        crf_seed,
        threshold=threshold,
        confidence=refine.reliable.confidence,
        iterations=refine.reliable.iterations,
        pairwise=refine.pairwise,
        solver=solver,
    )
    name = f"CRF of seeds, {part_of(settings.split, settings.shard)}"
    label_all(dataset, image_ids, settings.cams, settings.out, label, workers=workers, name=name)


def crf_seed(
    photo: np.ndarray,
    cam: store.Cam,
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
