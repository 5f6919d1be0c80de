"""Class ids: 0 is background, 255 ignored, 1 the first class. PNGs of 8 bits are linked, others converted to them."""

from functools import partial
from pathlib import Path

import numpy as np

from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.masks import binary, colours
from ppl.data.own.pixels import is_coloured, mode_of, read_values
from ppl.jobs.errors import UserError

NAME = "class ids"
REMEDY = "write the number of the class, 0 for background and 255 for what is ignored"


def fits(source: MaskSource) -> bool:
    """Return whether the masks have one channel, and more in it than black and white."""
    if isinstance(source.by_photo, UserError) or binary.fits(source):
        return False
    if any(map(is_coloured, source.by_photo.values())):
        return False
    if colours.fits(source):  # palettes, whose numbers may be those of colours alone
        known = [*range(len(source.classes) + 1), 255]
        return source.ordered and all(np.isin(read_values(path).values, known).all() for path in source.single.values())
    return True


def read(source: MaskSource) -> Masks:
    """Return the masks. UserError if there are several classes whose order is not known."""
    if not source.ordered and len(source.classes) > 1:
        remedy = "name a file of class names, one per line, that of number 1 first"
        raise UserError("--masks", "--classes is missing, in whose order the numbers of masks are", remedy)
    files = {photo: _plain(path) or partial(_converted, path) for photo, path in source.single.items()}
    return Masks(NAME, files, tuple(filter(None, [source.unused(source.single)])))


def _plain(path: Path) -> Path | None:
    """Return the path of a PNG that all steps read as it is; None for another kind of file."""
    return path.resolve() if path.suffix.lower() == ".png" and mode_of(path) in ("L", "P") else None


def _converted(path: Path) -> np.ndarray:
    values = read_values(path).values
    ids = np.where(values == 65_535, 255, values)
    if ids.max(initial=0) > 255:
        raise UserError(path, f"id {int(ids.max())}, more than 255", REMEDY)
    return ids.astype(np.uint8)
