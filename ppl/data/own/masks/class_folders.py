"""A black and white mask per class, in folders of their names or with the class behind the photo's name."""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from ppl.data.masks import IGNORE
from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.pixels import is_coloured, read_colours, read_values
from ppl.jobs.errors import UserError

NAME = "a mask for each class"


def fits(source: MaskSource) -> bool:
    """Return whether the masks are named by classes; if they are also named as photos, only if they have two values."""
    if not source.by_class:
        return False
    if isinstance(source.by_photo, UserError):
        return True
    return all(map(_has_two_values, chain.from_iterable(files.values() for files in source.by_class.values())))


def read(source: MaskSource) -> Masks:
    """Return masks of all classes of a photo together; where they overlap, pixels are ignored."""
    if not source.by_class:
        raise UserError(source.path, "no folder or file named as a class", "name folders as the classes of the labels")
    masks = {photo: partial(_merged, files, source.id_of) for photo, files in source.by_class.items()}
    used = [*chain.from_iterable(files.values() for files in source.by_class.values())]
    form = f"{NAME}, 255 where two classes overlap"
    return Masks(form, masks, tuple(filter(None, [source.unused(used)])))


def _merged(files: Mapping[str, Path], id_of: Mapping[str, int]) -> np.ndarray:
    mask, count = np.zeros((), np.uint8), np.zeros((), np.uint8)
    size = None
    for name, path in files.items():
        inside = _inside(path)
        if size not in (None, inside.shape):
            what = f"shape mismatch: {inside.shape[1]}x{inside.shape[0]}, other classes {size[1]}x{size[0]}"
            raise UserError(path, what, "draw all classes at the size of the photo")
        size = inside.shape
        if id_of[name]:
            mask = np.where(inside, np.uint8(id_of[name]), mask)
            count = count + inside
    return np.where(count > 1, np.uint8(IGNORE), np.broadcast_to(mask, size)).astype(np.uint8)


def _inside(path: Path) -> np.ndarray:
    """Return where (h, w) a mask has another value or colour than 0; UserError for more than one other."""
    values = read_colours(path).max(axis=-1) if is_coloured(path) else read_values(path).values
    present = set(np.unique(values).tolist())
    if len(present - {0}) > 1:
        raise UserError(path, "more than two values", "write black and white, 0 and 255, for one class")
    return values > 0


def _has_two_values(path: Path) -> bool:
    try:
        _inside(path)
    except UserError:
        return False
    return True
