"""Draw how a map comes about: each branch's own, the seams of its patches and their mending, fusion, and prototypes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam.heat import heat_over
from ppl.cam.maps import branch_maps, fuse, maps_of
from ppl.cam.settings import METHODS, Cam
from ppl.cam.store import Cam as StoredCam
from ppl.classify import build as checkpoint
from ppl.classify.network import PatchClassifier
from ppl.data.crops import label_vectors
from ppl.data.dataset import Dataset
from ppl.data.photos import read_photo
from ppl.jobs import slots
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.sampling import evenly
from ppl.report.sheet import draw_sheet

IMAGES = 4
RIM = 2
"""Cells that patches see of their neighbours in the mended map, if the experiment's own see none."""
ROUNDS = 2
"""Rounds of prototypes, if the experiment has none."""


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    classifier: Path
    out: Path
    cam: Cam = Cam()


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    network, _ = checkpoint.load(settings.classifier)
    labelled = [image_id for image_id in dataset.split(settings.split) if dataset.labels_of(image_id)]
    if not labelled:
        raise UserError(f"split {settings.split}", "no photo has a label", "name a split of labelled photos")
    rows = []
    for image_id in evenly(labelled, IMAGES):
        photo, class_id = read_photo(dataset.photo(image_id)), dataset.labels_of(image_id)[0]
        tiles = map_tiles(network, photo, class_id, settings.cam)
        rows.append({f"photo, {dataset.classes[class_id - 1]}": photo, **tiles})
    with atomic(settings.out) as temporary:
        draw_sheet(rows).savefig(temporary, dpi=110, metadata={"Date": None, "Software": None})


def map_tiles(network: PatchClassifier, photo: np.ndarray, class_id: int, cam: Cam) -> dict[str, np.ndarray]:
    """Return heat maps (h, w, 3) uint8 of a class (1..C) over a photo (h, w, 3) uint8, by their captions.

    Of each branch alone; of patched branches also with a rim; of all together, then refined by prototypes.
    """
    rim, rounds = cam.maps.rim or RIM, cam.prototypes.rounds or ROUNDS
    plain, mended = (_of_branches(network, photo, class_id, cam, rim=cells) for cells in (0, rim))
    tiles: dict[str, np.ndarray] = {}
    for name, alone, whole in zip(_names(network), plain, mended, strict=True):
        tiles[name] = alone
        if name != "global":
            tiles[f"{name}, rim {rim}"] = whole
    for name, refined in (("all together", 0), (f"prototypes, {rounds} rounds", rounds)):
        settings = replace(cam, prototypes=replace(cam.prototypes, rounds=refined))
        (maps,) = maps_of(network, photo[None], [[class_id]], settings)
        tiles[name] = _heat(photo, maps)
    return tiles


def _names(network: PatchClassifier) -> list[str]:
    """Return the captions of the branches."""
    patched = [f"s{grid.stage}k{grid.k}" for grid in network.grids]
    return ["global", *patched] if network.global_branch else patched


def _of_branches(
    network: PatchClassifier, photo: np.ndarray, class_id: int, cam: Cam, *, rim: int
) -> Sequence[np.ndarray]:
    """Return a heat map for each branch."""
    raw_maps = partial(slots.load(METHODS, cam.method).raw_maps, settings=slots.settings_of(cam, "method"))
    labels = label_vectors([[class_id]], network.classifier.out_channels).bool()
    (maps,) = branch_maps(network, photo[None], labels, raw_maps, replace(cam.maps, rim=rim))
    return [_heat(photo, fuse(branch[None, [class_id - 1]], "mean").cpu().numpy()) for branch in maps]


def _heat(photo: np.ndarray, maps: np.ndarray) -> np.ndarray:
    return heat_over(photo, StoredCam(maps, np.array([1]), photo.shape[:2]), 0)


if __name__ == "__main__":
    command(main, Settings)
