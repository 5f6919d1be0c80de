"""Label maps of a split (confident, pseudo, predicted), gathered from the folders of the shards that wrote them."""

import os
from array import array
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from ppl.data.dataset import Paths
from ppl.jobs.errors import UserError

SERVER_FOLDER = PurePosixPath("results/VOC2012/Segmentation/comp6_test_cls")
"""Folder of the test predictions, as the VOC evaluation server expects it in an archive."""


def find_maps(folders: Sequence[Path], images: Sequence[str]) -> Paths:
    """Path of `ID.png` for each image, from any of the folders; one UserError that counts those that lack it."""
    found: dict[str, int] = {}
    for number, folder in enumerate(folders):
        if not folder.is_dir():
            raise UserError(folder, "no such folder", "it is written by an earlier step")
        found |= {name.removesuffix(".png"): number for name in os.listdir(folder) if name.endswith(".png")}
    missing = [image for image in images if image not in found]
    if missing:
        raise UserError(
            ", ".join(map(str, folders)) or "no folder",
            f"{len(missing)} of {len(images)} label maps are missing, for example {missing[0]}.png",
            "run the step that writes them on this split",
        )
    numbers = array("L", (found[image] for image in images))
    return Paths(range(len(images)), partial(_path, folders, images, numbers))


def _path(folders: Sequence[Path], images: Sequence[str], numbers: Sequence[int], index: int) -> Path:
    return folders[numbers[index]] / f"{images[index]}.png"
