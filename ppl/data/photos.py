"""Read photos: the only module that decodes them. Worker processes use it, so it does not import torch."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile

from ppl.data.deep import STARTS, Samples, is_deep, least_bits, refuse_planes, samples, to_8_bits
from ppl.data.png import metadata_alone
from ppl.jobs.errors import UserError, reason

MAX_PIXELS = 2048 * 2048
"""Limit for photos and masks: networks and CRFs need about 2 GB per million pixels with the paper's settings."""
MAX_STORED = Image.MAX_IMAGE_PIXELS
"""Limit for a photo that is shrunk while it is read: 89 million pixels, above which Pillow suspects an attack."""
PHOTO_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Formats of photos and their suffixes; all are decoded by Pillow itself, unlike EPS, which needs Ghostscript."""
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
"""Transposition that turns a photo upright, by its EXIF orientation; other orientations need none."""
STORED = UPRIGHT | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""The inverse transpositions: from an upright photo to its pixels as stored."""
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

EXCHANGING = tuple(UPRIGHT[orientation] for orientation in SIDEWAYS)
"""The transpositions of these."""

Result = TypeVar("Result")


def read_photo(
    path: Path | str, *, max_side: int | None = None, upright: bool = True, bits: int | None = None
) -> np.ndarray:
    """Return a photo as (h, w, 3) uint8 RGB, upright by its EXIF orientation, or else its pixels as stored.

    16-bit images are reduced to 8 bits: the upper 8 of `bits`, or of the fewest of `deep.BIT_DEPTHS` that hold their
    largest value, unless the file states its depth. Transparency is composited on white, greyscale and CMYK are
    converted to RGB, and only the first frame is read. With `max_side` the photo is shrunk so that neither side is
    longer, and may be stored with up to MAX_STORED pixels instead of MAX_PIXELS.

    UserError for a file that is not a readable photo, has too many pixels or values of more than `bits` bits.
    """
    most = MAX_PIXELS if max_side is None else MAX_STORED
    with open_image(path, "photo", tuple(PHOTO_FORMATS), most) as image:
        size = None if max_side is None else shrunk_size(image.size, max_side)  # decoded at 1/2, sides are rounded up
        load = partial(_samples, path, image) if is_deep(image) else image.load
        turn, loaded = call_pillow(path, "photo", lambda: _decode(image, size, upright, load))
        try:
            rgb = _deep_to_rgb(loaded, bits) if isinstance(loaded, Samples) else _to_rgb(image)
            return np.array(_turned(rgb, turn, size))
        except ValueError as error:  # of the mode or the palette
            raise _unreadable(path, "photo", error) from error


def highest_value(path: Path | str) -> int | None:
    """Return the largest value of a photo with more than 8 bits per channel, alpha aside.

    None for photos of 8 bits, those that state their depth, and files that cannot be read.
    """
    try:
        with open_image(path, "photo", tuple(PHOTO_FORMATS), MAX_STORED) as image:
            if not is_deep(image):
                return None
            photo = call_pillow(path, "photo", lambda: _samples(path, image))
            return photo.highest if photo.stated_bits is None else None
    except UserError:
        return None


def may_be_deep(path: Path | str) -> bool:
    """Return whether a file starts like one of a format with more than 8 bits per channel; a PNG states its bits."""
    try:
        with open(path, "rb") as file:
            start = file.read(25)
    except OSError:
        return False
    return start[:2] in STARTS and (not start.startswith(b"\x89PNG") or start[24:] == b"\x10")


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an open image as `read_photo` would read it; ValueError for pixel values of unknown range.

    Of colours with 16 bits the upper 8 count: Pillow does not decode the others.
    """
    turn, _ = _decode(image, None, True, image.load)
    return _turned(_to_rgb(image), turn, None)


def shrunk_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return the sides of a photo scaled down so that neither exceeds `max_side`; each is at least 1."""
    factor = min(1.0, max_side / max(size))
    return tuple(max(1, round(side * factor)) for side in size)


def photo_size(path: Path | str, *, most: int = MAX_PIXELS, upright: bool = True) -> tuple[int, int]:
    """Return (h, w) of a photo, upright or as stored, from its header; UserError if it has more than `most` pixels."""
    with open_image(path, "photo", tuple(PHOTO_FORMATS), most) as image:
        (width, height), orientation = call_pillow(
            path, "photo", lambda: (_stored_size(image), _orientation_in_header(image))
        )
    return (width, height) if upright and orientation in SIDEWAYS else (height, width)


def exif_orientation(path: Path | str) -> int:
    """Return the EXIF orientation of a photo from its header, 1 to 8; 1 (upright as stored) if there is no valid one.

    UserError for a file that is not a photo or has more than MAX_STORED pixels.
    """
    with open_image(path, "photo", tuple(PHOTO_FORMATS), MAX_STORED) as image:
        orientation = call_pillow(path, "photo", lambda: _orientation_in_header(image))
    return orientation if orientation in UPRIGHT else 1


def open_image(path: Path | str, kind: str, formats: tuple[str, ...], most: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Open an image file of one of `formats` with at most `most` pixels; `kind` names it in messages.

    Only the header is read: decode with `call_pillow`. UserError for a file that cannot be opened or is too large.
    """
    image = call_pillow(path, kind, lambda: Image.open(path, formats=formats))
    width, height = image.size
    if width * height > most:
        image.close()
        raise _too_large(path, kind, f"{width}x{height} has", most)
    image.filename = ""  # as of a file object: of a path Pillow maps uncompressed pixels, sideways TIFFs scrambled
    return image


def call_pillow(path: Path | str, kind: str, call: Callable[[], Result]) -> Result:
    """Return the result of `call`, which only calls Pillow; any exception for a damaged file becomes a UserError."""
    try:
        return call()
    except Image.DecompressionBombError as error:
        raise _too_large(path, kind, "has", MAX_STORED) from error
    except Exception as error:  # Pillow's decoders raise exceptions of many types
        raise _unreadable(path, kind, error) from error


def _unreadable(path: Path | str, kind: str, error: Exception) -> UserError:
    from ppl.data.kinds import kind_of  # here: what composes a message is no part of the digest of the code
    from ppl.data.links import missing_target

    if target := missing_target(path):
        what = f"the {kind} it links to ({target}) is not there"
        return UserError(path, what, "moved or renamed? run ppl.data.new again, or put it back")
    if what := kind_of(path):
        return UserError(path, f"not a readable {kind}: it is {what}", "replace it or leave it out")
    return UserError(path, f"not a readable {kind} ({reason(error)})", "replace it or leave it out")


def _too_large(path: Path | str, kind: str, size: str, most: int) -> UserError:
    limit = "the limit of the networks" if most == MAX_PIXELS else "the limit for reading"
    remedy = f"make the {kind} smaller" + (", or set data.folder.max_side" if most == MAX_PIXELS else "")
    return UserError(path, f"{size} more than {most:,} pixels, {limit}", remedy)


def _decode(
    image: Image.Image, draft_size: tuple[int, int] | None, upright: bool, load: Callable[[], Result]
) -> tuple[Image.Transpose | None, Result]:
    """Decode an open image by `load`; return the transposition that makes it upright or as stored, None if it is.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its sides, as long as neither is below `draft_size`. The second value
    is that of `load`.
    """
    refuse_planes(image)
    if draft_size is not None:
        image.draft(None, draft_size)
    if image.format == "TIFF":  # Pillow turns it upright itself while loading it, and forgets the orientation
        turn = None if upright else STORED.get(_orientation(image))
        return turn, load()
    loaded = load()  # before reading the orientation, which a PNG may have after its pixels
    return UPRIGHT.get(_orientation(image)) if upright else None, loaded


def _orientation(image: Image.Image) -> int | None:
    return image.getexif().get(ORIENTATION)


def _orientation_in_header(image: ImageFile.ImageFile) -> int | None:
    """Return the orientation of an image that is not decoded, and of which only the size may be read afterwards."""
    if image.format != "PNG":
        return _orientation(image)
    content = metadata_alone(image.fp)
    if content is None:
        return None
    with Image.open(BytesIO(content), formats=["PNG"]) as metadata:
        return _orientation(metadata)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Return (w, h) before any turning by EXIF; only for TIFF has Pillow taken the orientation into account."""
    return (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size


def _turned(rgb: Image.Image, turn: Image.Transpose | None, size: tuple[int, int] | None) -> Image.Image:
    """Return an 8-bit RGB image transposed and then shrunk to a size, which is that before it is transposed."""
    if turn is not None:
        rgb = rgb.transpose(turn)  # first: Pillow's resizing is not symmetric, so the order matters
    if size is None:
        return rgb
    return rgb.resize(size[::-1] if turn in EXCHANGING else size, Image.Resampling.BICUBIC)


def _samples(path: Path | str, image: ImageFile.ImageFile) -> Samples:
    """Decode an open image of more than 8 bits, whose file is opened again for the lower bytes of colours."""
    with open_image(path, "photo", tuple(PHOTO_FORMATS), MAX_STORED) as second:
        return samples(image, second)


def _deep_to_rgb(photo: Samples, bits: int | None) -> Image.Image:
    return to_8_bits(photo, photo.stated_bits or bits or least_bits(photo.highest))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image as 8-bit RGB; ValueError for modes whose pixel values have no known range."""
    if is_deep(image):  # of an image that the caller has decoded: greyscale alone
        return _deep_to_rgb(samples(image), None)
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixel values have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
