"""Read windows of a photo that may be too large to be held as a whole."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import ppl.data.heif  # noqa: F401 - HEIC is a format of photos
from ppl.data.deep import is_deep, least_bits, refuse_planes, samples, to_8_bits
from ppl.data.photos import (
    MAX_STORED,
    ORIENTATION,
    PHOTO_FORMATS,
    SIDEWAYS,
    UPRIGHT,
    call_pillow,
    open_image,
    photo_size,
    read_photo,
    upright_rgb,
)
from ppl.data.tiff import Parts, open_parts
from ppl.jobs.errors import UserError

MAX_WHOLE = 500_000_000
"""Limit for a photo that is decoded as a whole, in pixels: Pillow needs 4 bytes for each."""
MAX_IN_PARTS = 50_000_000_000
"""Limit for a photo that is decoded in parts."""
DECODED = 16_000_000  # pixels decoded at a time, if the parts are no larger
LIMIT = threading.Lock()
"""Held while Pillow's own limit is raised."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@contextmanager
def pixel_limit(most: int) -> Iterator[None]:
    """Let Pillow open images of up to `most` pixels, above which it suspects an attack; for all threads."""
    with LIMIT:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = most
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def size_of(path: Path) -> tuple[int, int]:
    """Return (h, w) of an upright photo of any size from its header."""
    with pixel_limit(MAX_IN_PARTS):
        return photo_size(path, most=MAX_IN_PARTS)


class Windows:
    """A photo of which windows are read, as `ppl.data.photos.read_photo` reads the whole: upright, 8-bit RGB.

    A TIFF is decoded in parts, its strips or tiles, and so is not held in memory; other formats are decoded as a whole
    when they are opened. `bits` is how many bits of 16 count. UserError for a file that is not a readable photo, or
    that is too large to be decoded as a whole.
    """

    def __init__(self, path: Path, bits: int | None = None) -> None:
        self.path, self.size = path, size_of(path)
        self._bits = bits
        parts = call_pillow(path, "photo", partial(open_parts, path))
        if parts is not None and parts.part[0] * parts.part[1] <= DECODED:
            self._orientation, self._stored_size = parts.orientation, parts.size
            self._read = partial(self._read_parts, parts)
            if bits is None:
                self._bits = self._bits_of(parts)
        else:
            self._read = self._open_whole()

    def read(self, top: int, bottom: int) -> np.ndarray:
        """Return the rows `top` to `bottom`, the latter excluded, (bottom - top, w, 3) uint8 RGB."""
        upright = (0, top, self.size[1], bottom)
        stored = self._read(stored_box(upright, self._stored_size, self._orientation))
        turn = UPRIGHT.get(self._orientation)
        return stored if turn is None else np.array(Image.fromarray(stored).transpose(turn))

    def close(self) -> None:
        """Free the memory of a photo that was decoded as a whole; nothing is read afterwards."""
        del self._read

    def _read_parts(self, parts: Parts, box: Box) -> np.ndarray:
        """Return a window of a photo as stored, decoding some rows of parts at a time."""
        left, top, right, bottom = box
        height, width = parts.part
        columns = left // width, -(-right // width)
        at_once = max(1, DECODED // (height * width * (columns[1] - columns[0])))
        window = np.empty((bottom - top, right - left, 3), np.uint8)
        for first in range(top // height, -(-bottom // height), at_once):
            last = min(first + at_once, -(-bottom // height))
            decoded = self._decode(partial(parts.cut, first, last, *columns))
            start, end = max(top, first * height), min(bottom, last * height)
            rows = slice(start - first * height, end - first * height)
            window[start - top : end - top] = decoded[rows, left - columns[0] * width : right - columns[0] * width]
        return window

    def _decode(self, cut: Callable) -> np.ndarray:
        """Return the pixels (h, w, 3) uint8 of a TIFF that `cut` returns."""

        def decode() -> np.ndarray:
            image = Image.open(cut(), formats=["TIFF"])
            refuse_planes(image)
            if is_deep(image):
                photo = samples(image, Image.open(cut(), formats=["TIFF"]))
                return np.asarray(to_8_bits(photo, photo.stated_bits or self._bits))
            return np.asarray(upright_rgb(image))

        with pixel_limit(MAX_IN_PARTS):
            return call_pillow(self.path, "photo", decode)

    def _bits_of(self, parts: Parts) -> int | None:
        """Return how many bits count in a photo of 16, by its largest value; None for one of 8 bits."""

        def highest() -> int | None:
            if not is_deep(Image.open(parts.cut(0, 1, 0, 1), formats=["TIFF"])):
                return None
            cuts = [partial(parts.cut, y, y + 1, x, x + 1) for y in range(parts.grid[0]) for x in range(parts.grid[1])]
            return max(samples(*(Image.open(cut(), formats=["TIFF"]) for _ in range(2))).highest for cut in cuts)

        value = call_pillow(self.path, "photo", highest)
        return None if value is None else least_bits(value)

    def _open_whole(self) -> Callable[[Box], np.ndarray]:
        """Decode the whole photo; return a function that returns a window of it as stored."""
        height, width = self.size
        if height * width > MAX_WHOLE:
            what = (
                f"{width}x{height} has more than {MAX_WHOLE:,} pixels, the limit for files that are decoded as a whole"
            )
            raise UserError(self.path, what, "save it as a TIFF in tiles, which is read in parts")
        with pixel_limit(MAX_WHOLE), open_image(self.path, "photo", tuple(PHOTO_FORMATS), MAX_WHOLE) as image:
            if is_deep(image):
                return self._open_deep()
            call_pillow(self.path, "photo", image.load)
            # Pillow has turned a TIFF upright itself.
            orientation = call_pillow(self.path, "photo", lambda: image.getexif().get(ORIENTATION))
            self._orientation = 1 if image.format == "TIFF" else orientation
            whole = image.copy() if getattr(image, "is_animated", False) else image
        self._stored_size = (whole.height, whole.width)
        for metadata in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
            whole.info.pop(metadata, None)  # a window is not to be turned by itself
        return lambda box: np.asarray(call_pillow(self.path, "photo", lambda: upright_rgb(whole.crop(box))))

    def _open_deep(self) -> Callable[[Box], np.ndarray]:
        if self.size[0] * self.size[1] > MAX_STORED:
            what = f"more than {MAX_STORED:,} pixels of 16 bits"
            raise UserError(self.path, what, "save it as a TIFF in tiles, or with 8 bits")
        upright = read_photo(self.path, max_side=max(self.size), bits=self._bits)
        self._orientation, self._stored_size = 1, self.size
        return lambda box: upright[box[1] : box[3], box[0] : box[2]]


def stored_box(box: Box, size: tuple[int, int], orientation: int | None) -> Box:
    """Return where a box of an upright photo lies in the photo of `size` (h, w) as stored with an EXIF orientation."""
    left, top, right, bottom = box
    if orientation in SIDEWAYS:  # transposed, then mirrored as 1 to 4
        left, top, right, bottom = top, left, bottom, right
    height, width = size
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom
