"""Pixels of mask files of many kinds: values of one channel, or colours."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ppl.data.mask_formats import SAVE_IDS
from ppl.data.photos import MAX_STORED, PHOTO_FORMATS, call_pillow, open_image
from ppl.jobs.errors import UserError, reason

FORMATS = ("PNG", "TIFF", "BMP", "GIF")
"""Formats without loss; those of JPEG blur the edges between classes."""
SUFFIXES = {suffix for name in FORMATS for suffix in PHOTO_FORMATS[name]} | {".npy"}
COLOURS = {"RGB", "RGBA", "LA", "PA"}
DEEP = {"I", "I;16", "I;16B", "I;16L"}


class Values(NamedTuple):
    """Values (h, w) of a mask, and the highest that its type holds: 1, 255 or 65,535."""

    values: np.ndarray
    highest: int


def mode_of(path: Path) -> str:
    """Return Pillow's mode of an image from its header; `L` for an array."""
    if path.suffix.lower() == ".npy":
        return "L"
    with open_image(path, "mask", FORMATS, MAX_STORED) as image:
        return image.mode


def read_values(path: Path) -> Values:
    """Return the values of a mask of one channel, or of three equal ones; UserError for colours.

    Of a palette image they are the indices, but for palettes of black and white, and of grey in a GIF, which has no
    other way to store grey: of these they are the greys.
    """
    if path.suffix.lower() == ".npy":
        return _array(path)
    with open_image(path, "mask", FORMATS, MAX_STORED) as image:
        bits = _bits(image)
        call_pillow(path, "mask", image.load)
        if image.mode in COLOURS:
            rgb = _opaque(path, image)
            if (rgb != rgb[..., :1]).any():
                raise UserError(path, "colours in place of class ids", SAVE_IDS)
            return Values(rgb[..., 0], 255)
        if image.mode == "1":
            return Values(np.array(image, dtype=np.uint8), 1)
        if image.mode in DEEP:
            return Values(np.array(image, dtype=np.int64), 65_535)
        if image.mode not in ("L", "P"):
            raise UserError(path, f"mode {image.mode}", SAVE_IDS)
        if image.mode == "P" and (grey := _greys(image)) is not None:
            return Values(grey, 255)
        values = np.array(image)
        return Values(values // (255 // (2**bits - 1)) if image.mode == "L" and bits < 8 else values, 255)


def read_colours(path: Path) -> np.ndarray:
    """Return the colours of a mask (h, w, 3) uint8, of a palette image those of its palette."""
    with open_image(path, "mask", FORMATS, MAX_STORED) as image:
        call_pillow(path, "mask", image.load)
        if image.mode in DEEP:
            raise UserError(path, "16 bits, where others are colours", "save all masks alike")
        return _opaque(path, image)


def is_coloured(path: Path) -> bool:
    """Return whether an image has three channels that differ."""
    if mode_of(path) not in COLOURS:
        return False
    colours = read_colours(path)
    return bool((colours != colours[..., :1]).any())


def is_two_valued(values: Values) -> bool:
    """Return whether a mask holds nothing but 0 and the highest value, as black and white do."""
    present = set(np.unique(values.values).tolist())
    return present <= {0, values.highest} or present <= {0, 255}


def are_black_and_white(paths: Iterable[Path]) -> bool:
    """Return whether all masks hold black and white alone, and some of them white; the first that does not ends it."""
    white = False
    for path in paths:
        if is_coloured(path):
            return False
        values = read_values(path)
        if not is_two_valued(values):
            return False
        white = white or bool(values.values.any())
    return white


def _bits(image: Image.Image) -> int:
    """Return the bits of a greyscale PNG of less than 8, whose values Pillow scales to 0..255."""
    raw = image.tile[0][3] if image.tile else ""
    return int(raw[2]) if isinstance(raw, str) and raw in ("L;2", "L;4") else 8


def _greys(image: Image.Image) -> np.ndarray | None:
    """Return the greys of a palette image if its palette is black and white, or any grey of a GIF; None for others."""
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    if (palette != palette[:, :1]).any():
        return None
    is_black_and_white = set(palette[:, 0].tolist()) <= {0, 255}
    return np.array(image.convert("L")) if is_black_and_white or image.format == "GIF" else None


def _opaque(path: Path, image: Image.Image) -> np.ndarray:
    """Return the colours of an image; UserError if some of them are transparent."""
    if image.has_transparency_data and image.mode in ("RGBA", "LA", "PA"):
        rgba = np.array(image.convert("RGBA"))
        if (rgba[..., 3] != 255).any():
            raise UserError(path, "transparent pixels, whose class is unknown", "save it without transparency")
        return rgba[..., :3]
    return np.array(image.convert("RGB"))


def _array(path: Path) -> Values:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(path, f"not a readable array ({reason(error)})", SAVE_IDS) from error
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):  # with an axis of channels
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in "buif" or (array != np.floor(array)).any() or (array < 0).any():
        raise UserError(path, f"an array of shape {array.shape} and {array.dtype}, not of class ids", SAVE_IDS)
    return Values(array.astype(np.int64), 1 if array.dtype == bool else 255 if array.dtype == np.uint8 else 65_535)
