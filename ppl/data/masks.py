"""Label maps as palette PNGs: reading and writing them, and VOC's colours. `read_truth` serves measuring only."""

from pathlib import Path

import numpy as np
from PIL import Image

from ppl.data.photos import MAX_PIXELS, decoding, opened
from ppl.jobs.errors import UserError

IGNORE = 255


def read_mask(path: Path | str, *, most: int = MAX_PIXELS) -> np.ndarray:
    """A label map as (h, w) uint8 class ids, of at most `most` pixels, from a palette or greyscale PNG."""
    with opened(path, "mask", ("PNG",), most) as image, decoding(path, "mask"):
        # Pillow spreads the values of a grey PNG of 2 or 4 bits over 0..255: they are no ids any more.
        spread = image.mode == "L" and image.tile[0][3] != "L"
        if image.mode not in ("P", "L") or spread:
            mode = "grey of less than 8 bits" if spread else image.mode
            raise UserError(path, f"mode {mode}", "a mask is an 8-bit palette or greyscale PNG of class ids")
        return np.array(image)


def read_truth(path: Path | str, classes: int) -> np.ndarray:
    """A mask to measure with, (h, w) uint8; UserError when an id is neither one of 0..`classes` nor 255."""
    mask = read_mask(path)
    highest = mask[mask != IGNORE].max(initial=0)
    if highest > classes:
        raise UserError(path, f"id {highest} where classes.txt ends with {classes}", "correct one of the two")
    return mask


def write_mask(path: Path | str, mask: np.ndarray) -> None:
    """Writes (h, w) uint8 class ids as a palette PNG in VOC's colours."""
    image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8), mode=None)
    image.putpalette(VOC_COLOURS.tobytes())
    image.save(path, format="PNG")


def voc_colours() -> np.ndarray:
    """VOC's colour map (256, 3) uint8: the bits of an id dealt out to the channels, highest bits first."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


VOC_COLOURS = voc_colours()
