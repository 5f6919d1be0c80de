"""Pictures of label maps: the classes over the photo, and the legend of their colours."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ppl.data.masks import VOC_COLOURS
from ppl.data.photos import shrunk_size
from ppl.data.resize import enlarge

SHOWN = (480, 1600)  # longest side of a picture, at least and at most: what fits a screen and can be made out on it
OPACITY = 0.5  # of a class over the photo
OUTLINE = 1 / 400  # width of its outline, in longest sides
TEXT = 1 / 40  # height of the legend's text, in longest sides; between 12 and 24 pixels


def draw_overlay(photo: np.ndarray, labels: np.ndarray, names: Mapping[int, str]) -> Image.Image:
    """The photo (h, w, 3) uint8 with its label map (h', w') uint8 over it, and a legend of `names` by id below.

    The picture has the photo's size within the limits of SHOWN; background stays as it is.
    """
    size = shown_size(photo.shape[1::-1])
    ground = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
    if size[0] < labels.shape[1]:
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    seen = enlarge(labels, size[::-1])  # (h'', w'')
    picture = np.where((seen > 0)[..., None], ground * (1 - OPACITY) + VOC_COLOURS[seen] * OPACITY, ground)
    picture = Image.fromarray(picture.round().astype(np.uint8))
    width = max(1, round(max(size) * OUTLINE))
    line, halo = (_widened(outline(seen), w) for w in (width, 2 * width))
    picture.paste("white", mask=halo)
    picture.paste(Image.fromarray(VOC_COLOURS[seen]), mask=line)
    return _below(picture, _legend(names, _text_height(max(size)), width=max(size[0], SHOWN[0] // 2)))


def draw_legend(names: Sequence[str]) -> Image.Image:
    """The colours of all ids from 0, one a line, with id and name."""
    return _legend({i: f"{i}  {name}" for i, name in enumerate(names)}, height=16, width=0)


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(w, h) of a picture of a photo of `size`, in proportion but never below a pixel."""
    least, most = SHOWN
    if max(size) >= least:
        return shrunk_size(size, most)
    return tuple(max(1, round(side * least / max(size))) for side in size)


def outline(labels: np.ndarray) -> np.ndarray:
    """Pixels (h, w) bool of a class, none of the background, beside a pixel of another class or of background."""
    padded = np.pad(labels, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (centre > 0) & np.any([centre != side for side in sides], axis=0)


def _widened(line: np.ndarray, width: int) -> Image.Image:
    """A line one pixel wide as a mask whose line has `width` pixels to each side of it."""
    mask = Image.fromarray(line.astype(np.uint8) * 255)
    # A filter of one pixel changes nothing, and ends the process in Pillow 12.3.
    return mask.filter(ImageFilter.MaxFilter(2 * width - 1)) if width > 1 else mask


def _text_height(side: int) -> int:
    return min(24, max(12, round(side * TEXT)))


def _legend(names: Mapping[int, str], height: int, width: int) -> Image.Image:
    """A coloured square and a name for each id, in lines of at most `width` pixels, one a line where that is 0."""
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
    """Matplotlib's font, which has more alphabets than Pillow's; found without the time that importing it takes."""
    package = Path(find_spec("matplotlib").origin).parent
    return ImageFont.truetype(package / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", height)
