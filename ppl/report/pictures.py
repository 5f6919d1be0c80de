"""Photos, CAMs and label maps as pictures inside a page: small, in WebP, as data URIs."""

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
    """A name of the legend, its class id, and its colour as CSS writes it."""

    name: str
    id: int
    colour: str


def legend(classes: Sequence[str]) -> list[Swatch]:
    """Colours of background, the classes and ignored pixels."""
    names = [*enumerate(["background", *classes]), (IGNORE, "ignored")]
    return [Swatch(name, i, "#" + bytes(VOC_COLOURS[i]).hex()) for i, name in names]


def shown_size(height: int, width: int) -> tuple[int, int]:
    """(w, h) of the picture of a photo: shrunk where a side is longer than MAX_SIDE, never enlarged."""
    return shrunk_size((width, height), MAX_SIDE)


def photo_uri(photo: np.ndarray) -> str:
    """A photo (h, w, 3) uint8."""
    shown = Image.fromarray(photo).resize(shown_size(*photo.shape[:2]), Image.Resampling.LANCZOS)
    return _uri(shown, quality=80, method=2)


def labels_uri(labels: np.ndarray) -> str:
    """A label map (h, w) uint8 in VOC's colours, which tell the ids again: no pixel is a mixture."""
    height, width = labels.shape
    shown = Image.fromarray(labels).resize(shown_size(height, width), Image.Resampling.NEAREST)
    return _uri(Image.fromarray(VOC_COLOURS[np.asarray(shown)]), lossless=True, quality=0, method=1)


def planes_uri(maps: np.ndarray) -> str:
    """Maps (K, h, w) in 0..1, K > 0, as one grey picture (K * h, w) of 256 levels, one below the other."""
    levels = (255 * maps).round().astype(np.uint8)
    return _uri(Image.fromarray(levels.reshape(-1, maps.shape[2])).convert("RGB"), lossless=True, quality=0, method=1)


def _uri(image: Image.Image, **how: bool | int) -> str:
    encoded = BytesIO()
    image.save(encoded, format="WEBP", **how)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"
