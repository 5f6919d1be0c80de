"""Shrink large photos and their masks, and record their original sizes.

The file SIZES of a dataset folder lists the photos that were shrunk with their original size (h, w).
"""

import os.path
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ppl.data.links import link_to
from ppl.data.masks import read_mask, write_mask
from ppl.data.orientation import copy_photo, link
from ppl.data.photos import MAX_STORED, photo_size, read_photo, shrunk_size
from ppl.jobs.errors import UserError
from ppl.jobs.files import write_text

SIZES = "sizes.csv"
SHORTEST = 32  # pixels, least length of the shorter side, for networks of that stride
QUALITY = 95  # of JPEG
Size = tuple[int, int]


def smaller(size: Size, max_side: int) -> Size:
    """Return the size (h, w) whose longer side is `max_side`, or whose shorter side is SHORTEST if that is larger.

    A size is never increased.
    """
    return shrunk_size(size, longest(size, max_side))


def longest(size: Size, max_side: int) -> int:
    """Return the longer side of that size."""
    return max(max_side, round(SHORTEST * max(size) / min(size)))


def link_or_shrink_photo(
    photos: Sequence[Path], mask: Path, out: Path, max_side: int, *, as_stored: bool, bits: int | None = None
) -> Size | None:
    """Write a shrunk copy of a large photo and of its mask, if any, into the dataset folder `out`; link small ones.

    `photos` are the files of one id. Several files and unreadable ones are linked, too: `ppl.data.check` reports them.
    With `as_stored` the photo is read without its EXIF orientation, and a small one is copied without loss; so is one
    of 16 bits, of which `bits` count.
    Returns the original size (h, w) of a photo that was shrunk, as it is read; None for other photos.
    """
    full = _shrunk_photo(photos[0], out, max_side, as_stored, bits) if len(photos) == 1 else None
    if full is None and (as_stored or bits is not None):
        copy_photo(photos[0], out / "JPEGImages", upright=not as_stored, bits=bits)
    elif full is None:
        for photo in photos:
            link(photo, out / "JPEGImages")
    if os.path.exists(mask):
        target = out / "SegmentationClass" / mask.name
        if full is None or not _shrunk_mask(mask, full, smaller(full, max_side), target):
            link_to(target, mask)
    return full


def _shrunk_photo(photo: Path, out: Path, max_side: int, as_stored: bool, bits: int | None) -> Size | None:
    """Write a photo at its reduced size and return its original size; None for a small or unreadable photo."""
    try:
        size = photo_size(photo, most=MAX_STORED, upright=not as_stored)
        if smaller(size, max_side) == size:
            return None
        side = longest(size, max_side)
        pixels = Image.fromarray(read_photo(photo, max_side=side, upright=not as_stored, bits=bits))
    except UserError:
        return None
    pixels.save(out / "JPEGImages" / f"{photo.stem}.jpg", quality=QUALITY)
    return size


def _shrunk_mask(mask: Path, size: Size, reduced: Size, target: Path) -> bool:
    """Write a mask of `size` at the reduced size by nearest neighbours; False if it is unreadable or not of `size`."""
    try:
        labels = read_mask(mask, most=MAX_STORED)
    except UserError:
        return False
    if labels.shape != size:
        return False
    small = Image.fromarray(labels).resize(reduced[::-1], Image.Resampling.NEAREST)
    write_mask(target, np.asarray(small))
    return True


def write_sizes(root: Path, sizes: Mapping[str, Size]) -> None:
    """Write the original size of each shrunk photo."""
    rows = "".join(f"{h},{w},{image_id}\n" for image_id, (h, w) in sorted(sizes.items()))
    write_text(root / SIZES, f"height,width,image\n{rows}")


def full_sizes(root: Path) -> dict[str, Size]:
    """Return the original size (h, w) of each shrunk photo of a dataset folder; empty if none was shrunk."""
    path = root / SIZES
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = (line.rstrip("\n").split(",", 2) for line in file)
    return {image_id: (int(h), int(w)) for h, w, image_id in rows}
