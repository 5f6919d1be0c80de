"""Black and white: 0 and 255, 0 and 65,535, or 1 bit; white is the only class."""

from functools import partial
from pathlib import Path

import numpy as np

from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.masks import class_folders
from ppl.data.own.pixels import are_black_and_white, is_two_valued, read_values
from ppl.jobs.errors import UserError

NAME = "black and white"


def fits(source: MaskSource) -> bool:
    """Return whether all masks are black and white, and no folder or name tells their class."""
    if isinstance(source.by_photo, UserError) or class_folders.fits(source):
        return False
    return are_black_and_white(source.by_photo.values())


def read(source: MaskSource) -> Masks:
    """Return the masks of the only class. UserError if there are several, any of which may be white."""
    if len(source.classes) > 1:
        what = f"black and white alone: white may be any of {len(source.classes)} classes, or ignored"
        remedy = "put the masks of each class into a folder of its name, or write class ids"
        raise UserError(source.path, what, remedy)
    files = {photo: partial(white, path, 1) for photo, path in source.single.items()}
    return Masks(f"{NAME}, white is {source.classes[0]}", files, tuple(filter(None, [source.unused(source.single)])))


def white(path: Path, number: int) -> np.ndarray:
    """Return a mask (h, w) uint8 with `number` where a file is white; UserError for other values."""
    values = read_values(path)
    if not is_two_valued(values):
        raise UserError(path, "values between black and white", "save it without smoothing, as 0 and 255")
    return np.where(values.values > 0, number, 0).astype(np.uint8)
