"""Say what an image file is that cannot be read as a mask, for the messages of the check."""

from pathlib import Path

from ppl.data.photos import MAX_STORED, PHOTO_FORMATS, open_image
from ppl.jobs.errors import UserError

SAVE_IDS = "save it as an 8-bit palette or greyscale PNG of class ids"
MODES = {
    "1": "1-bit black and white",
    "L": "greyscale of less than 8 bits",
    "LA": "greyscale with transparency",
    "RGB": "colours in place of class ids (RGB)",
    "RGBA": "colours in place of class ids (RGBA)",
    "I": "greyscale of more than 8 bits",
    "I;16": "greyscale of 16 bits",
}
"""Descriptions of the PNGs that `read_mask` refuses, by Pillow's modes."""


def mask_error(path: Path, error: UserError) -> UserError:
    """Return the error of `read_mask` for a file, with what the file is if it is an image of another kind."""
    try:
        with open_image(path, "mask", tuple(PHOTO_FORMATS), MAX_STORED) as image:
            form, mode = image.format, image.mode
    except UserError:
        return error
    if form != "PNG":
        return UserError(path, f"a {form} file, not a PNG", SAVE_IDS)
    return UserError(path, MODES.get(mode, f"mode {mode}"), SAVE_IDS) if error.what.startswith("mode ") else error
