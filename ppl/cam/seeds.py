"""Seeds: thresholded class activation maps, the strongest class where it exceeds the background threshold."""

from collections.abc import Sequence

import numpy as np

from ppl.cam.store import Cam
from ppl.data.resize import upsample


def seed(cam: Cam, threshold: float) -> np.ndarray:
    """Return the seed (h, w) uint8 of a CAM: its strongest class where that exceeds `threshold`, else background."""
    return hard_labels(upsample(cam.maps, cam.size), cam.classes, threshold)


def strongest_class(cam: Cam) -> tuple[np.ndarray, np.ndarray]:
    """Return per pixel of the photo the id of the class with the highest score, (h, w) uint8, and that score."""
    return _strongest(upsample(cam.maps, cam.size), cam.classes)


def hard_labels(maps: np.ndarray, classes: Sequence[int] | np.ndarray, threshold: float) -> np.ndarray:
    """Return the class of the highest score where that exceeds `threshold`, else background.

    maps (K, h, w) floating point, classes (K,) ids in 1..254 -> (h, w) uint8. Of equal scores the first wins.
    Raises ValueError if the number of classes differs or an id is out of range.
    """
    strongest, score = _strongest(maps, classes)
    return np.where(score > maps.dtype.type(threshold), strongest, 0).astype(np.uint8)


def _strongest(maps: np.ndarray, classes: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per pixel the class id with the highest score, (h, w) uint8, and that score, of maps (K, h, w)."""
    ids = np.asarray(classes, dtype=np.int64)
    if maps.ndim != 3 or ids.shape != maps.shape[:1] or ((ids < 1) | (ids > 254)).any():
        raise ValueError(f"classes {ids.tolist()} do not fit maps of shape {maps.shape}")
    if not len(maps):
        return np.zeros(maps.shape[1:], np.uint8), np.zeros(maps.shape[1:], np.float32)
    best = maps.argmax(axis=0)
    return ids.astype(np.uint8)[best], np.take_along_axis(maps, best[None], axis=0)[0]
