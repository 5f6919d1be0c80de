"""Decode photos of more than 8 bits per channel, of which Pillow alone clips or drops the lower bits.

The format says that a channel is stored in 16 bits, but seldom how many of them the camera uses. TIFF with 12 bits per
sample and PGM with another maxval than 65535 state it, so these are read by what they state. PNG's sBIT and TIFF's
MaxSampleValue do not: by their specifications neither changes the scale of the samples. All else is scaled by
`bits`: by default the fewest of BIT_DEPTHS that hold the photo's largest value.
"""

import re
import sys
from dataclasses import dataclass

import numpy as np
from PIL import Image

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Bits of cameras and scanners; 8 for values of 8 bits that a program has saved with 16."""
COLOUR16 = re.compile(r"(RGB|RGBX|RGBA|LA);16[BLN]")
"""Raw modes of Pillow for colours of 16 bits, of which it decodes one byte: the upper one."""
STARTS = (b"\x89P", b"II", b"MM", b"P2", b"P3", b"P5", b"P6")
"""First two bytes of formats with more than 8 bits per channel."""
MIN_IS_WHITE = 0  # TIFF's PhotometricInterpretation, tag 262
PHOTOMETRIC = 262
BITS_PER_SAMPLE, PLANAR_CONFIGURATION = 258, 284
SEPARATE = 2


@dataclass(frozen=True)
class Samples:
    """Samples of a photo (h, w, c) uint16: grey or RGB, with alpha if c is 2 or 4; bits that the file states."""

    values: np.ndarray
    stated_bits: int | None = None
    inverted: bool = False
    """Whether 0 is white."""
    transparent: int | tuple[int, ...] | None = None
    """The colour that stands for transparency."""

    @property
    def highest(self) -> int:
        """The largest value of all colours, alpha aside."""
        return int(self.values[..., : self.colours].max())

    @property
    def colours(self) -> int:
        """Number of channels without alpha."""
        return self.values.shape[2] - (self.values.shape[2] in (2, 4))


def least_bits(highest: int) -> int:
    """Return the fewest of BIT_DEPTHS that hold a value of up to 65,535."""
    return next(bits for bits in BIT_DEPTHS if highest < 2**bits)


def is_deep(image: Image.Image) -> bool:
    """Return whether an open image, decoded or not, has more than 8 bits per channel that `samples` can decode."""
    return _is_grey(image) or _is_wide_ppm(image) or _colour_raw_mode(image) is not None


def refuse_planes(image: Image.Image) -> None:
    """Raise ValueError for a TIFF that stores 16-bit channels one after the other, which Pillow decodes as noise."""
    if image.format == "TIFF" and image.tag_v2.get(PLANAR_CONFIGURATION) == SEPARATE:
        depths = image.tag_v2.get(BITS_PER_SAMPLE, ())
        if len(depths) > 1 and max(depths) > 8:
            raise ValueError("16-bit channels in separate planes; save it with interleaved channels")


def samples(image: Image.Image, second: Image.Image | None = None) -> Samples:
    """Decode an image for which `is_deep` holds.

    `second` is the same image opened again, not decoded: needed for colours, which are decoded once for each byte.
    ValueError for negative values.
    """
    if _is_wide_ppm(image):
        return Samples(_ppm_samples(image))
    raw_mode = _colour_raw_mode(image)
    if raw_mode is not None and second is not None:
        return Samples(_both_bytes(image, second, raw_mode), transparent=image.info.get("transparency"))
    return _grey_samples(image)


def to_8_bits(photo: Samples, bits: int) -> Image.Image:
    """Return a photo whose values use `bits` bits as 8-bit RGB, without the lower bits, on white if transparent.

    ValueError if a value needs more bits.
    """
    if photo.highest >= 2**bits:
        raise ValueError(f"values up to {photo.highest:,} need more than the {bits} bits of data.folder.bits")
    values = photo.values[..., : photo.colours]
    if photo.inverted:
        values = (2**bits - 1) - values
    colours = np.broadcast_to(_upper_8(values, bits), (*values.shape[:2], 3))
    if photo.colours < photo.values.shape[2]:
        alpha = photo.values[..., -1]
        alpha = _upper_8(alpha, bits if alpha.max() < 2**bits else 16)
    elif photo.transparent is not None:
        alpha = np.where((photo.values == photo.transparent).all(axis=2), 0, 255).astype(np.uint8)
    else:
        return Image.fromarray(np.ascontiguousarray(colours))
    rgba = Image.fromarray(np.dstack([colours, alpha]))
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _upper_8(values: np.ndarray, bits: int) -> np.ndarray:
    return (values >> (bits - 8)).astype(np.uint8)


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "I":
        return image.format in ("PNG", "PPM") or _raw_mode(image) in ("I;16S", "I;16BS")
    return image.mode.startswith("I;16")


def _grey_samples(image: Image.Image) -> Samples:
    stated = _stated_bits(image)
    inverted = image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == MIN_IS_WHITE
    image.load()
    values = np.asarray(image)
    if values.min() < 0:
        raise ValueError("negative pixel values have no known range; save it with 8 or 16 bits")
    transparent = image.info.get("transparency")
    return Samples(values.astype(np.uint16)[..., None], stated, inverted, transparent)


def _stated_bits(image: Image.Image) -> int | None:
    """Return the bits that the header of an undecoded greyscale image states beyond doubt."""
    if image.format == "PPM":  # Pillow has scaled the values to 16 bits, unless maxval is 65535
        return None if _raw_mode(image) == "I;16B" or 65535 in _arguments(image) else 16
    return 12 if _raw_mode(image) == "I;12" else None


def _is_wide_ppm(image: Image.Image) -> bool:
    """Return whether an undecoded PPM holds colours with maxval 65535; Pillow scales those of others correctly."""
    return (
        image.format == "PPM" and image.mode == "RGB" and _arguments(image)[1:] == (65535,) and _codec(image) == "ppm"
    )


def _ppm_samples(image: Image.Image) -> np.ndarray:
    width, height = image.size
    image.fp.seek(image.tile[0].offset)
    content = image.fp.read(width * height * 6)
    if len(content) < width * height * 6:
        raise ValueError("image file is truncated")
    return np.frombuffer(content, ">u2").astype(np.uint16).reshape(height, width, 3)


def _colour_raw_mode(image: Image.Image) -> str | None:
    raw_mode = _raw_mode(image)
    return raw_mode if raw_mode is not None and COLOUR16.fullmatch(raw_mode) else None


def _both_bytes(image: Image.Image, second: Image.Image, raw_mode: str) -> np.ndarray:
    """Return (h, w, c) uint16 of the upper bytes, as Pillow decodes them, and the lower ones, as of the other order."""
    if raw_mode == "LA;16B":  # Pillow can decode its four bytes as they are
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        image.load()
        pairs = np.asarray(image)
        return np.ascontiguousarray(pairs).view(">u2").astype(np.uint16)
    name, _, order = raw_mode.partition(";16")
    native = "L" if sys.byteorder == "little" else "B"
    other = f"{name};16{'B' if order.replace('N', native) == 'L' else 'L'}"
    second.tile = [tile._replace(args=_with_raw_mode(tile.args, other)) for tile in second.tile]
    for each in (image, second):
        each.load()
    return (np.asarray(image).astype(np.uint16) << 8) | np.asarray(second)


def _with_raw_mode(arguments: str | tuple, raw_mode: str) -> str | tuple:
    return raw_mode if isinstance(arguments, str) else (raw_mode, *arguments[1:])


def _codec(image: Image.Image) -> str | None:
    tiles = getattr(image, "tile", None)
    return tiles[0].codec_name if tiles else None


def _arguments(image: Image.Image) -> tuple:
    """Return the arguments of the decoder of an undecoded image, empty for others; the first is the raw mode."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ()
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _raw_mode(image: Image.Image) -> str | None:
    first = _arguments(image)[:1]
    return first[0] if first and isinstance(first[0], str) else None
