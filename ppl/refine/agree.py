"""Write the pseudo labels on which several variants agree: elsewhere pixels stay unlabelled (255)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import IGNORE, read_mask, write_mask
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import part_of, shard_of


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    labels: tuple[Path, ...]
    """A folder of label maps ID.png for each variant, all of the same images."""
    out: Path
    workers: int = 0
    """Processes that read the maps; 0: this one."""
    shard: str = "1/1"


def main(settings: Settings) -> None:
    """Write OUT/ID.png for the images of a shard; the folder appears when it is complete."""
    image_ids = shard_of(Dataset.open(settings.data).split(settings.split), settings.shard)
    of_variants = [find_maps([folder], image_ids) for folder in settings.labels]
    name = f"agreement, {part_of(settings.split, settings.shard)}"
    with atomic(settings.out) as folder:
        folder.mkdir()
        images = zip(*of_variants, strict=True)
        for _ in run_all(partial(_write, folder), images, workers=settings.workers, total=len(image_ids), name=name):
            pass


def agreement(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return the label of each pixel to which all label maps (h, w) uint8 give it, else 255: (h, w) uint8.

    A pixel that one of them leaves unlabelled is unlabelled. ValueError for unequal shapes.
    """
    first, *others = labels
    equal = np.ones(first.shape, bool)
    for other in others:
        if other.shape != first.shape:
            raise ValueError(f"shape mismatch: {first.shape}, {other.shape}")
        equal &= other == first
    return np.where(equal, first, IGNORE).astype(np.uint8)


def _write(folder: Path, paths: Sequence[Path]) -> None:
    try:
        labels = agreement([read_mask(path) for path in paths])
    except ValueError as error:
        what = f"the label maps of the variants differ in size ({error})"
        raise UserError(paths[-1], what, "list variants on the same photos in refine.labels.agree") from error
    write_mask(folder / paths[0].name, labels)


if __name__ == "__main__":
    command(main, Settings)
