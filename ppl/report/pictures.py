"""Photos, CAMs and label maps as small pictures inside a page: WebP in data URIs, and their colours."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from ppl.data.masks import IGNORE, VOC_COLOURS
from ppl.data.photos import shrunk_size

MAX_SIDE = 224


class Swatch(NamedTuple):
    """An entry of the legend of classes."""

    name: str
    id: int
    colour: str
    """In CSS, #rrggbb."""


class Outcome(NamedTuple):
    """The result of comparing a pixel of a label map with the truth, and its colour on the page."""

    name: str
    caption: str
    """In the legend; empty if the pixel stays grey."""
    colour: str
    """In CSS, #rrggbb."""
    photo_share: float
    """Share of the grey photo; the rest is the colour."""


OUTCOMES = (  # colours of Okabe and Ito, which colour-blind readers can distinguish
    Outcome("right", "right", "#009e73", 0.35),
    Outcome("missed", "missed", "#0072b2", 0.35),
    Outcome("false", "false", "#d55e00", 0.35),
    Outcome("other", "another class", "#cc79a7", 0.35),
    Outcome("undecided", "", "#000000", 0.5),
    Outcome("none", "", "#000000", 1),
)


def legend(classes: Sequence[str]) -> list[Swatch]:
    """Return the colours of background, the classes and ignored pixels."""
    names = [*enumerate(["background", *classes]), (IGNORE, "ignored")]
    return [Swatch(name, i, "#" + bytes(VOC_COLOURS[i]).hex()) for i, name in names]


def picture_size(height: int, width: int) -> tuple[int, int]:
    """Return (w, h) of the picture of a photo: shrunk if a side is longer than MAX_SIDE, never enlarged."""
    return shrunk_size((width, height), MAX_SIDE)


def photo_uri(photo: np.ndarray) -> str:
    """Encode a photo (h, w, 3) uint8."""
    picture = Image.fromarray(photo).resize(picture_size(*photo.shape[:2]), Image.Resampling.LANCZOS)
    return _uri(picture, quality=80, method=2)


def labels_uri(labels: np.ndarray) -> str:
    """Encode a label map (h, w) uint8 in VOC's colours, without mixed pixels: the page's script reads the ids back."""
    size = picture_size(*labels.shape)
    picture = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
    return _uri(Image.fromarray(VOC_COLOURS[np.asarray(picture)]), lossless=True, quality=0, method=1)


def planes_uri(maps: np.ndarray) -> str:
    """Encode maps (K, h, w) in 0..1, K > 0, as one grey picture (K * h, w) of 256 levels, one below the other."""
    levels = (255 * maps).round().astype(np.uint8)
    return _uri(Image.fromarray(levels.reshape(-1, maps.shape[2])).convert("RGB"), lossless=True, quality=0, method=1)


def _uri(image: Image.Image, **options: bool | int) -> str:
    encoded = BytesIO()
    image.save(encoded, format="WEBP", **options)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"
