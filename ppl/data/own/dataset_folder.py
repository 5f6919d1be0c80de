"""The dataset folder of `ppl.data.new`: links to photos, masks, lists and labels, in place of nothing but its like."""

import os.path
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ppl.data.links import link_to
from ppl.data.lists import write_lists
from ppl.data.own.mask_source import Draw
from ppl.data.own.written_masks import RECORD, are_written, write_masks
from ppl.jobs.errors import UserError

KNOWN = {"JPEGImages", "SegmentationClass", "ImageSets", "classes.txt", "labels.csv", RECORD}
"""What such a folder holds."""


def refuse_to_harm(out: Path, photos: Path, masks: Path | None) -> None:
    """Raise UserError if the dataset folder would replace files that this command did not write."""
    if masks and masks.resolve().is_relative_to(out.resolve()):
        raise UserError(masks, f"lies in {out}, which is written anew", "name your own masks, or another --name")
    if photos.resolve().is_relative_to(out.resolve()):
        raise UserError(out, "contains your photos", "choose another --name")
    if out.resolve().is_relative_to(photos.resolve()):
        raise UserError(
            photos, f"{out} would be written into this folder of photos", "run the command in another folder"
        )
    if os.path.lexists(out):
        known_files = out.is_dir() and {path.name for path in out.iterdir()} <= KNOWN
        links = all(path.is_symlink() for path in (out / "JPEGImages").glob("*"))
        if not known_files or not links or not are_written(out, out / "SegmentationClass"):
            raise UserError(out, "exists and was not written by this command", "choose another --name")


def write_dataset(
    folder: Path,
    photos: Path,
    ids: Mapping[PurePosixPath, str],
    masks: Mapping[str, Path | Draw],
    classes: Sequence[str],
    labels: Mapping[str, frozenset[str]],
    splits: Mapping[str, Sequence[str]],
    *,
    workers: int,
) -> None:
    """Write a dataset folder with links to photos and masks; masks that are no PNGs of class ids are drawn."""
    for name in ("JPEGImages", *(["SegmentationClass"] if masks else [])):
        (folder / name).mkdir(parents=True)
    for photo, image_id in ids.items():
        link_to(folder / "JPEGImages" / f"{image_id}{photo.suffix.lower()}", photos / photo)
    write_masks(folder, folder / "SegmentationClass", masks, workers=workers)
    in_order = {image_id: [name for name in classes if name in names] for image_id, names in labels.items()}
    write_lists(folder, classes, in_order, splits)
