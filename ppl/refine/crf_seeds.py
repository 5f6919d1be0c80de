"""Write seeds after a dense CRF: Table I's middle column, and the pseudo labels of `refine.network: none`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam import store
from ppl.cam.seeds import hard_labels
from ppl.cam.threshold import read_threshold
from ppl.crf.solvers import choose
from ppl.data.dataset import Dataset
from ppl.data.resize import upsample
from ppl.jobs.command import command
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.labelling import label_all
from ppl.refine.passes import NO_MARGINS, Crf, Passes, band, label_maps
from ppl.refine.settings import Margins, Refine


@dataclass(frozen=True, kw_only=True)
class Inputs:
    data: Path
    split: str
    cams: tuple[Path, ...]
    out: Path
    refine: Refine
    """`labels.margins` and `keep_classes` are those of pseudo labels."""
    hardware: Hardware
    shard: str = "1/1"


@dataclass(frozen=True, kw_only=True)
class Settings(Inputs):
    threshold: Path
    """JSON of `ppl.cam.choose_threshold`."""


def main(settings: Settings) -> None:
    label_split(settings, read_threshold(settings.threshold))


def label_split(settings: Inputs, threshold: float) -> None:
    """Write the label maps OUT/ID.png of a shard; the folder appears when it is complete."""
    dataset, refine = Dataset.open(settings.data), settings.refine
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    execution = choose(settings.hardware)
    label = partial(
        seeds_after_crf,
        threshold=threshold,
        crf=Crf(refine.reliable.confidence, refine.reliable.iterations, refine.pairwise, execution.solver),
        margins=refine.labels.margins,
        keep=refine.keep_classes,
    )
    name = f"CRF of seeds, {part_of(settings.split, settings.shard)}"
    label_all(dataset, image_ids, settings.cams, settings.out, label, execution=execution, name=name)


def seeds_after_crf(
    photos: Sequence[np.ndarray],
    cams: Sequence[store.Cam],
    *,
    threshold: float,
    crf: Crf,
    margins: Margins = NO_MARGINS,
    keep: bool = False,
) -> list[np.ndarray]:
    """Return the seeds (h, w) uint8 of CAMs at a background threshold, after a dense CRF over each image's classes.

    With `margins`, the classes of the seed that far above the threshold, the background of the one that far below it,
    and 255 elsewhere. `keep`: no class loses its seed to the CRF.
    """
    images = []
    for photo, cam in zip(photos, cams, strict=True):
        maps = upsample(cam.maps, cam.size)
        passes = [hard_labels(maps, cam.classes, limit) for limit in band(threshold, margins)]
        images.append(Passes(photo, passes, maps, [int(c) for c in cam.classes]))
    return label_maps(images, crf=crf, keep=keep)


if __name__ == "__main__":
    command(main, Settings)
