"""Folders of label maps that a step wrote, one folder a shard: confident labels, pseudo labels, predictions."""

from collections.abc import Sequence
from pathlib import Path

from ppl.files import UserError


def find_labels(folders: Sequence[Path], images: Sequence[str]) -> list[Path]:
    """Path of the label map `ID.png` of each image; one UserError for all that are missing."""
    found = {path.stem: path for folder in folders for path in folder.glob("*.png")}
    missing = [image for image in images if image not in found]
    if missing:
        places = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"{places}: {len(missing)} of {len(images)} label maps are missing, the first is {missing[0]}.png; "
            "delete the folder and run the step that writes it again"
        )
    return [found[image] for image in images]
