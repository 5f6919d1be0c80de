"""Reading photos: the one place that decodes them. Worker processes use it, so that the module does without torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ppl.jobs.errors import UserError, reason

MAX_PIXELS = 2048 * 2048
"""Of a photo or mask. Networks and CRFs see whole photos, at 2 GB for each million pixels with the paper's settings."""
MAX_STORED = Image.MAX_IMAGE_PIXELS
"""Of a photo that is shrunk while it is read: 89 million pixels, above which Pillow suspects an attack."""
PHOTO_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""What is opened as a photo, and its suffixes: none that hands a file to another program, as EPS to Ghostscript."""
PHOTO_SUFFIXES = {suffix for suffixes in PHOTO_FORMATS.values() for suffix in suffixes}
ORIENTATION = 0x0112  # in EXIF
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a photo upright, by its EXIF orientation; any other number leaves it as it is."""


def read_photo(path: Path | str, *, max_side: int | None = None) -> np.ndarray:
    """A photo as (h, w, 3) uint8 RGB, upright by its EXIF orientation.

    Of 16 bits the upper 8 count, transparent parts are white, grey and CMYK become RGB, of several frames it is the
    first. UserError for what is no photo or has more than MAX_PIXELS.

    With `max_side` it is shrunk so that neither side is longer, and may be stored with up to MAX_STORED pixels.
    """
    most = MAX_PIXELS if max_side is None else MAX_STORED
    with opened(path, "photo", tuple(PHOTO_FORMATS), most) as image, decoding(path, "photo"):
        return np.array(upright_rgb(image, max_side))


def upright_rgb(image: Image.Image, max_side: int | None = None) -> Image.Image:
    """An opened image as `read_photo` shows it; ValueError where its numbers have no known range."""
    if max_side is not None:
        image.draft(None, shrunk_size(image.size, max_side))  # a JPEG is decoded at a half to an eighth of its sides
    image.load()  # first: Pillow turns a TIFF itself while loading it
    turn = UPRIGHT.get(image.getexif().get(ORIENTATION))
    rgb = _to_rgb(image)
    if max_side is not None:
        rgb = rgb.resize(shrunk_size(rgb.size, max_side), Image.Resampling.BICUBIC)
    return rgb if turn is None else rgb.transpose(turn)


def shrunk_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Sides of a photo in proportion, neither above `max_side` nor below 1; as they are where they fit."""
    factor = min(1.0, max_side / max(size))
    return tuple(max(1, round(side * factor)) for side in size)


def photo_size(path: Path | str, *, most: int = MAX_PIXELS) -> tuple[int, int]:
    """(h, w) of a photo as it is stored, but upright, from its header alone; UserError where it has more pixels."""
    with opened(path, "photo", tuple(PHOTO_FORMATS), most) as image, decoding(path, "photo"):
        width, height = _stored_size(image)
        turned = image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
        return (width, height) if turned else (height, width)


@contextmanager
def opened(path: Path | str, kind: str, formats: tuple[str, ...], most: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image file of one of `formats` with at most `most` pixels; `kind` names it in messages.

    UserError when the file cannot be opened. What the caller does with the image is not caught here: `decoding` does.
    """
    with decoding(path, kind):
        image = Image.open(path, formats=formats)
    with image:
        width, height = image.size
        if width * height > most:
            raise _too_large(path, kind, f"{width}x{height} has", most)
        yield image


@contextmanager
def decoding(path: Path | str, kind: str) -> Iterator[None]:
    """Around calls of Pillow alone: whatever its decoders raise for a damaged file becomes a UserError."""
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, kind, "has", MAX_STORED) from error
    except Exception as error:  # Pillow raises whatever its decoders meet
        raise UserError(path, f"not a readable {kind} ({reason(error)})", "replace it or leave it out") from error


def _too_large(path: Path | str, kind: str, size: str, most: int) -> UserError:
    limit = "which the networks see as a whole" if most == MAX_PIXELS else "the most that is opened"
    remedy = f"make the {kind} smaller" + (", or set data.max_side" if most == MAX_PIXELS else "")
    return UserError(path, f"{size} more than {most:,} pixels, {limit}", remedy)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(w, h) before any turning by EXIF, which Pillow has taken into account for TIFF alone."""
    return (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size


def _to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image as RGB of 8 bits."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow would clip; it takes the upper byte itself where a photo has 16 bits in colour.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its numbers of 32 bits have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
