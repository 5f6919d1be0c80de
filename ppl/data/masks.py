"""Read and write label maps as palette PNGs, in VOC's colour map. Only measuring steps call `read_truth`."""

from pathlib import Path

import numpy as np
from PIL import Image

from ppl.data.photos import MAX_PIXELS, call_pillow, open_image
from ppl.jobs.errors import UserError

IGNORE = 255


def read_mask(path: Path | str, *, most: int = MAX_PIXELS) -> np.ndarray:
    """Return a label map as (h, w) uint8 class ids from a palette or greyscale PNG.

    UserError for a file that is not such a PNG or has more than `most` pixels.
    """
    with open_image(path, "mask", ("PNG",), most) as image:
        # Pillow scales the values of a 2-bit or 4-bit greyscale PNG to 0..255, so they are not ids any more.
        scaled = image.mode == "L" and bool(image.tile) and image.tile[0][3] != "L"
        if image.mode not in ("P", "L") or scaled:
            mode = "greyscale of less than 8 bits" if scaled else image.mode
            raise UserError(path, f"mode {mode}", "save it as an 8-bit palette or greyscale PNG of class ids")
        call_pillow(path, "mask", image.load)
        return np.array(image)


def mask_size(path: Path | str, *, most: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (h, w) of a mask from its header, without reading pixels; UserError as `read_mask` for the file."""
    with open_image(path, "mask", ("PNG",), most) as image:
        return image.height, image.width


def read_truth(path: Path | str, classes: int) -> np.ndarray:
    """Return a mask to measure with, (h, w) uint8; UserError for an id other than 0..`classes` and 255."""
    mask = read_mask(path)
    highest = mask[mask != IGNORE].max(initial=0)
    if highest > classes:
        raise UserError(path, f"id {highest} where classes.txt ends with {classes}", "correct one of the two")
    return mask


def write_mask(path: Path | str, mask: np.ndarray) -> None:
    """Write (h, w) uint8 class ids as a palette PNG in VOC's colours."""
    image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8), mode=None)
    image.putpalette(VOC_COLOURS.tobytes())
    image.save(path, format="PNG")


def voc_colours() -> np.ndarray:
    """Return VOC's colour map (256, 3) uint8: an id's bits distributed over the channels, highest first."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


VOC_COLOURS = voc_colours()
