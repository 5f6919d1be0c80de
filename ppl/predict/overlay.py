"""Pictures of label maps: classes over the photo, and a legend of their colours."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ppl.data.masks import VOC_COLOURS
from ppl.data.photos import shrunk_size
from ppl.data.resize import enlarge

DISPLAY_SIDES = (480, 1600)  # pixels, least and greatest longest side of a picture on a screen
OPACITY = 0.5  # of a class over the photo
OUTLINE = 1 / 400  # width of its outline, in longest sides
TEXT = 1 / 40  # height of the legend's text, in longest sides; between 12 and 24 pixels


def draw_overlay(photo: np.ndarray, labels: np.ndarray, names: Mapping[int, str]) -> Image.Image:
    """Return a photo (h, w, 3) uint8 with its label map (h', w') uint8 over it, and a legend of `names` by id below.

    The picture has the photo's size within the limits of DISPLAY_SIDES; background is not coloured.
    """
    size = display_size(photo.shape[1::-1])
    ground = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
    if size[0] < labels.shape[1]:
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    labels = enlarge(labels, size[::-1])  # (h'', w'')
    picture = np.where((labels > 0)[..., None], ground * (1 - OPACITY) + VOC_COLOURS[labels] * OPACITY, ground)
    picture = Image.fromarray(picture.round().astype(np.uint8))
    width = max(1, round(max(size) * OUTLINE))
    line, halo = (_widened(outline(labels), w) for w in (width, 2 * width))
    picture.paste("white", mask=halo)
    picture.paste(Image.fromarray(VOC_COLOURS[labels]), mask=line)
    return _below(picture, _legend(names, _text_height(max(size)), width=max(size[0], DISPLAY_SIDES[0] // 2)))


def draw_legend(names: Sequence[str]) -> Image.Image:
    """Return a legend of all ids from 0, one per line, with colour, id and name."""
    return _legend({i: f"{i}  {name}" for i, name in enumerate(names)}, height=16, width=0)


def display_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (w, h) of the picture of a photo of `size` (w, h), in proportion; each is at least 1."""
    least, most = DISPLAY_SIDES
    if max(size) >= least:
        return shrunk_size(size, most)
    return tuple(max(1, round(side * least / max(size))) for side in size)


def outline(labels: np.ndarray) -> np.ndarray:
    """Return the pixels (h, w) bool of classes that have a neighbour of another class or of background."""
    padded = np.pad(labels, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (centre > 0) & np.any([centre != side for side in sides], axis=0)


def _widened(line: np.ndarray, width: int) -> Image.Image:
    """Return a mask with a line of one pixel widened by `width` - 1 pixels to each side."""
    mask = Image.fromarray(line.astype(np.uint8) * 255)
    # A filter of one pixel would change nothing, and crashes Pillow 12.3.
    return mask.filter(ImageFilter.MaxFilter(2 * width - 1)) if width > 1 else mask


def _text_height(side: int) -> int:
    return min(24, max(12, round(side * TEXT)))


def _legend(names: Mapping[int, str], height: int, width: int) -> Image.Image:
    """Return a coloured square and a name for each id, in lines of up to `width` pixels, one per line if 0."""
    font, gap = _font(height), height // 2
    places, right, x, y = [], 0, gap, gap
    for i, name in names.items():
        length = 3 * gap + int(np.ceil(font.getlength(name)))  # square, space, name
        if places and (x + length + gap > width):
            x, y = gap, y + height + gap
        places.append((x, y, i, name))
        x += length + 2 * gap
        right = max(right, x - gap)
    legend = Image.new("RGB", (max(right, width), y + height + gap), "white")
    draw = ImageDraw.Draw(legend)
    for x, y, i, name in places:
        draw.rectangle((x, y, x + height - 1, y + height - 1), fill=tuple(VOC_COLOURS[i].tolist()), outline="black")
        draw.text((x + height + gap, y + height / 2), name, fill="black", font=font, anchor="lm")
    return legend


def _below(picture: Image.Image, legend: Image.Image) -> Image.Image:
    both = Image.new("RGB", (max(picture.width, legend.width), picture.height + legend.height), "white")
    both.paste(picture)
    both.paste(legend, (0, picture.height))
    return both


@cache
def _font(height: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's font, which covers more alphabets than Pillow's, without importing matplotlib."""
    package = Path(find_spec("matplotlib").origin).parent
    return ImageFont.truetype(package / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", height)
