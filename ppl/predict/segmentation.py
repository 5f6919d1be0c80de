"""Preparing a photo for the network, and its label map at full size with an overlay.

Worker processes use this module, so it does not import torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ppl.data.masks import write_mask
from ppl.data.photos import MAX_PIXELS, MAX_STORED, read_photo, shrunk_size, upright_rgb
from ppl.data.resize import enlarge
from ppl.data.windows import size_of
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.predict.overlay import DISPLAY_SIDES, draw_overlay
from ppl.segment.postprocess import Crf, Prediction, probabilities, refined

Photo = Path | str | Image.Image | np.ndarray
"""A file, an image of Pillow, or an array (h, w, 3) uint8 RGB."""


class PreparedPhoto(NamedTuple):
    """A photo as input of the network (h, w, 3) and for pictures (h', w', 3), uint8 RGB, and its full size (H, W)."""

    image: np.ndarray
    display: np.ndarray
    size: tuple[int, int]


def prepare(photo: Photo, max_side: int, bits: int | None = None) -> PreparedPhoto:
    """Read a photo, and shrink the input of the network so that no side exceeds `max_side`.

    `bits` is how many bits of a file of 16 count (`ppl.data.photos.read_photo`).

    UserError for a file that is not a photo or too large, ValueError for an image or array that is not one.
    """
    display_side = max(max_side, DISPLAY_SIDES[1])
    if isinstance(photo, Path | str):
        size = size_of(Path(photo))
        if size[0] * size[1] > MAX_STORED:
            what = f"{size[1]}x{size[0]} has more than {MAX_STORED:,} pixels"
            raise UserError(photo, what, "segment it in tiles (python -m ppl.predict --tile), or make it smaller")
        image = read_photo(photo, max_side=max_side, bits=bits)  # shrunk in one go, as by ppl.data.shrink
        display = image if max(size) <= max_side else read_photo(photo, max_side=display_side, bits=bits)
    else:
        whole = _array(photo)
        size, image, display = whole.shape[:2], _shrunk(whole, max_side), _shrunk(whole, display_side)
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        name = photo if isinstance(photo, Path | str) else "the photo"
        raise UserError(name, f"more than {MAX_PIXELS:,} pixels with sides up to {max_side}", "lower max_side")
    return PreparedPhoto(image, display, size)


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The label map of a photo; a notebook shows it as a picture."""

    labels: np.ndarray
    """(h, w) uint8 at the photo's full size: 0 background, 1..C the classes."""
    classes: tuple[str, ...]
    """Names of 1..C."""
    photo: np.ndarray
    """(h', w', 3) uint8 RGB, shrunk if the photo is larger than a picture on a screen."""
    scores: np.ndarray
    """Log-probabilities (C+1, h'', w'') float32 at the network's stride, before any CRF."""
    input_size: tuple[int, int]
    """Size (h, w) at which the network has processed the photo."""

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities before any CRF, (C+1, h, w) float32 at full size, computed on access.

        Needs 4 bytes for each class and pixel, and several times as much during the computation.
        """
        return probabilities(self.scores, self.labels.shape)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the photo's pixels of each class that occurs, the largest first; the rest is background."""
        # Pillow counts 256 values; numpy would need 8 bytes per pixel.
        return shares_of(Image.fromarray(self.labels).histogram(), self.classes)

    def overlay(self) -> Image.Image:
        """Return the photo with translucent classes, their outlines, and a legend with their shares."""
        return draw_overlay(self.photo, self.labels, legend_of(self.shares, self.classes))

    def save(self, mask: Path | str) -> None:
        """Write `mask`, NAME.png, a palette PNG of ids in VOC's colours, and NAME-overlay.jpg beside it."""
        mask = Path(mask)
        if mask.suffix.lower() != ".png":
            raise UserError(mask, "the suffix of a mask must be .png", "rename it")
        with atomic(overlay_of(mask)) as temporary:
            self.overlay().save(temporary, quality=90)
        with atomic(mask) as temporary:
            write_mask(temporary, self.labels)

    def _repr_png_(self) -> bytes:
        return png(self.overlay())

    def __repr__(self) -> str:
        h, w = self.labels.shape
        return f"mask of {w}x{h}: {describe_shares(self.shares)}"


def shares_of(counts: Sequence[int], classes: Sequence[str]) -> dict[str, float]:
    """Return the share of each class that occurs, the largest first, from the number of pixels of each id."""
    total = sum(counts)
    present = [(name, count) for name, count in zip(classes, counts[1:], strict=False) if count]
    return {name: float(count / total) for name, count in sorted(present, key=lambda item: -item[1])}


def legend_of(shares: Mapping[str, float], classes: Sequence[str]) -> dict[int, str]:
    """Return the text for each class with a share by its id; that of background if there is none."""
    ids = {name: i for i, name in enumerate(classes, start=1)}
    return {ids[name]: f"{name} {percent(share)}" for name, share in shares.items()} or {0: "background"}


def overlay_of(mask: Path) -> Path:
    """Return the path of the overlay beside a mask."""
    return mask.with_name(f"{mask.stem}-overlay.jpg")


def segmentation(
    photo: PreparedPhoto, prediction: Prediction, crf: Crf | None, classes: tuple[str, ...]
) -> Segmentation:
    """Return the label map of a photo at full size, after the CRF if there is one."""
    labels = prediction.labels if crf is None else refined(photo.image, prediction.scores, crf)
    full = enlarge(labels, photo.size)
    return Segmentation(full, classes, photo.display, prediction.scores, photo.image.shape[:2])


def describe_shares(shares: Mapping[str, float]) -> str:
    """Return the classes with their shares as one line."""
    return ", ".join(f"{name} {percent(share)}" for name, share in shares.items()) or "background alone"


def percent(share: float) -> str:
    """Return a share of 0..1 as text."""
    return f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %"


def png(picture: Image.Image) -> bytes:
    """Return a picture as the content of a PNG file."""
    encoded = BytesIO()
    picture.save(encoded, format="PNG")
    return encoded.getvalue()


def _array(photo: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(photo, Image.Image):
        return np.array(upright_rgb(photo.copy()))  # of a copy, as decoding changes the image
    if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        what = f"{photo.shape} {photo.dtype}" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise ValueError(f"a photo is a path, an image of Pillow or an array (h, w, 3) uint8 RGB, not {what}")
    if not photo.size:
        raise ValueError(f"a photo has at least one pixel, not {photo.shape}")
    return photo


def _shrunk(photo: np.ndarray, max_side: int) -> np.ndarray:
    size = shrunk_size(photo.shape[1::-1], max_side)
    if size == photo.shape[1::-1]:
        return photo
    return np.array(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
