"""Smaller copies of large photos for the networks, and label maps brought back to the size that the photos had.

SIZES of a dataset folder names the photos that were shrunk, with the size (h, w) that they had.
"""

import os.path
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ppl.data.masks import read_mask, write_mask
from ppl.data.photos import MAX_STORED, photo_size, read_photo, shrunk_size
from ppl.jobs.errors import UserError
from ppl.jobs.files import write_text

SIZES = "sizes.csv"
SHORTEST = 32  # pixels that the shorter side keeps, for networks of that stride
QUALITY = 95  # of JPEG
Size = tuple[int, int]


def smaller(size: Size, max_side: int) -> Size:
    """Size (h, w) at which the longer side is `max_side`, or the shorter one SHORTEST if that is more; never larger."""
    return shrunk_size(size, longest(size, max_side))


def longest(size: Size, max_side: int) -> int:
    """The longer side at that size."""
    return max(max_side, round(SHORTEST * max(size) / min(size)))


def bring_photo(photos: Sequence[Path], mask: Path, out: Path, max_side: int) -> Size | None:
    """Brings a photo and its mask, if there is one, into the dataset folder `out`; its size (h, w) where it is shrunk.

    Links to all else, also to what cannot be read and to several photos of one id: the check lists such faults.
    """
    full = _shrunk_photo(photos[0], out, max_side) if len(photos) == 1 else None
    if full is None:
        for photo in photos:
            (out / "JPEGImages" / photo.name).symlink_to(photo)
    if os.path.lexists(mask):
        target = out / "SegmentationClass" / mask.name
        if full is None or not _shrunk_mask(mask, full, smaller(full, max_side), target):
            target.symlink_to(mask)
    return full


def _shrunk_photo(photo: Path, out: Path, max_side: int) -> Size | None:
    """Writes a photo at its reduced size, and returns the one that it has; None where it is small or unreadable."""
    try:
        size = photo_size(photo, most=MAX_STORED)
        if smaller(size, max_side) == size:
            return None
        pixels = Image.fromarray(read_photo(photo, max_side=longest(size, max_side)))
    except UserError:
        return None
    pixels.save(out / "JPEGImages" / f"{photo.stem}.jpg", quality=QUALITY)
    return size


def _shrunk_mask(mask: Path, size: Size, reduced: Size, target: Path) -> bool:
    """Writes a mask of that size at the reduced one, by nearest neighbours; False where it is none of that size."""
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
    """Notes the size that each shrunk photo had."""
    rows = "".join(f"{h},{w},{image}\n" for image, (h, w) in sorted(sizes.items()))
    write_text(root / SIZES, f"height,width,image\n{rows}")


def full_sizes(root: Path) -> dict[str, Size]:
    """Size (h, w) that each shrunk photo of a dataset folder had; empty where none was shrunk."""
    path = root / SIZES
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = (line.rstrip("\n").split(",", 2) for line in file)
    return {image: (int(h), int(w)) for h, w, image in rows}
