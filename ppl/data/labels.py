"""Label maps of a split (confident, pseudo, predicted), gathered from the folders of the shards that wrote them."""

from collections.abc import Sequence
from pathlib import Path

from ppl.files import UserError


def find_maps(folders: Sequence[Path], images: Sequence[str]) -> list[Path]:
    """Path of `ID.png` for each image, from any of the folders; one UserError that counts those that lack it."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; it is written by an earlier step")
        found |= {path.name.removesuffix(".png"): path for path in folder.iterdir() if path.name.endswith(".png")}
    missing = [image for image in images if image not in found]
    if missing:
        where = ", ".join(map(str, folders)) or "no folder"
        raise UserError(
            f"{len(missing)} of {len(images)} label maps are missing in {where}, for example {missing[0]}.png; "
            "run the step that writes them on this split"
        )
    return [found[image] for image in images]
