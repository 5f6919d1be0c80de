"""What becomes of one's own photo: how the network sees it, and its label map at full size with a picture of it.

Worker processes run this, so that the module does without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ppl.data.masks import write_mask
from ppl.data.photos import MAX_PIXELS, MAX_STORED, photo_size, read_photo, shrunk_size, upright_rgb
from ppl.data.resize import enlarge
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.predict.overlay import SHOWN, draw_overlay
from ppl.segment.postprocess import Crf, Prediction, probabilities, refined

Photo = Path | str | Image.Image | np.ndarray
"""A file, an image of Pillow, or an array (h, w, 3) uint8 RGB."""


class View(NamedTuple):
    """A photo as the network sees it (h, w, 3) and as pictures show it (h', w', 3), uint8 RGB, and its size (H, W)."""

    seen: np.ndarray
    shown: np.ndarray
    size: tuple[int, int]


def view(photo: Photo, max_side: int) -> View:
    """A photo, shrunk for the network where a side is longer than `max_side`.

    UserError for a file that is no photo or too large, ValueError for an image or array that cannot be read as one.
    """
    longest = max(max_side, SHOWN[1])
    if isinstance(photo, Path | str):
        size, shown = photo_size(photo, most=MAX_STORED), read_photo(photo, max_side=longest)
    else:
        whole = _array(photo)
        size, shown = whole.shape[:2], _shrunk(whole, longest)
    seen = _shrunk(shown, max_side)
    if seen.shape[0] * seen.shape[1] > MAX_PIXELS:
        name = photo if isinstance(photo, Path | str) else "the photo"
        raise UserError(name, f"has more than {MAX_PIXELS:,} pixels with sides up to {max_side}", "lower max_side")
    return View(seen, shown, size)


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The label map of a photo; a notebook shows it as a picture."""

    labels: np.ndarray
    """(h, w) uint8 at the photo's full size: 0 background, 1..C the classes."""
    classes: tuple[str, ...]
    """Names of 1..C."""
    photo: np.ndarray
    """(h', w', 3) uint8 RGB, shrunk where the photo is larger than a picture on a screen."""
    scores: np.ndarray
    """Log-probabilities (C+1, h'', w'') float32 at the network's stride, before any CRF."""

    @property
    def probabilities(self) -> np.ndarray:
        """What the network says before any CRF, (C+1, h, w) float32 at full size, computed when asked for.

        Takes 4 bytes for each class and pixel, several times over while it is made.
        """
        return probabilities(self.scores, self.labels.shape)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the photo's pixels of each class found, the largest first; what is left is background."""
        counts = Image.fromarray(self.labels).histogram()  # of 256 values; numpy would make 8 bytes of each pixel
        found = [(name, count) for name, count in zip(self.classes, counts[1:], strict=False) if count]
        return {name: count / self.labels.size for name, count in sorted(found, key=lambda item: -item[1])}

    def overlay(self) -> Image.Image:
        """The photo with translucent classes, their outlines, and a legend of those found with their shares."""
        ids = {name: i for i, name in enumerate(self.classes, start=1)}
        found = {ids[name]: f"{name} {percent(share)}" for name, share in self.shares.items()}
        return draw_overlay(self.photo, self.labels, found or {0: "background"})

    def save(self, mask: Path | str) -> None:
        """Writes `mask`, NAME.png, a palette PNG of ids in VOC's colours, and NAME-overlay.jpg beside it."""
        mask = Path(mask)
        if mask.suffix.lower() != ".png":
            raise UserError(mask, "a mask is a PNG", "name it so")
        with atomic(overlay_of(mask)) as temporary:
            self.overlay().save(temporary, quality=90)
        with atomic(mask) as temporary:
            write_mask(temporary, self.labels)

    def _repr_png_(self) -> bytes:
        return png(self.overlay())

    def __repr__(self) -> str:
        h, w = self.labels.shape
        return f"mask of {w}x{h}: {in_words(self.shares)}"


def overlay_of(mask: Path) -> Path:
    """Where the picture of a mask is."""
    return mask.with_name(f"{mask.stem}-overlay.jpg")


def segmentation(view: View, prediction: Prediction, crf: Crf | None, classes: tuple[str, ...]) -> Segmentation:
    """From what the network says about a view of a photo to the photo's label map."""
    labels = prediction.labels if crf is None else refined(view.seen, prediction.scores, crf)
    return Segmentation(enlarge(labels, view.size), classes, view.shown, prediction.scores)


class Task(NamedTuple):
    """A view of a photo, what the network says about it, and the mask to write."""

    view: View
    prediction: Prediction
    mask: Path


def write(crf: Crf | None, classes: tuple[str, ...], task: Task) -> tuple[str, dict[str, float]]:
    """Writes the mask of a task and its overlay; the photo's name in the prediction, and its classes' shares."""
    found = segmentation(task.view, task.prediction, crf, classes)
    found.save(task.mask)
    return task.prediction.image_id, found.shares


def in_words(shares: Mapping[str, float]) -> str:
    """Classes with their shares in a line."""
    return ", ".join(f"{name} {percent(share)}" for name, share in shares.items()) or "background alone"


def percent(share: float) -> str:
    """A share of 0..1 in words."""
    return f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %"


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    encoded = BytesIO()
    picture.save(encoded, format="PNG")
    return encoded.getvalue()


def _array(photo: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(photo, Image.Image):
        return np.array(upright_rgb(photo.copy()))  # of a copy: the caller's stays as it was opened
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
