"""Seeds: thresholded class activation maps, the strongest class where it exceeds the background threshold."""

import numpy as np

from ppl.cam.store import Cam
from ppl.data.resize import upsample


def seed(cam: Cam, threshold: float) -> np.ndarray:
    """The seed (h, w) uint8 of a CAM: the strongest class where it exceeds `threshold`, else background."""
    strongest, score = strongest_class(cam)
    return np.where(score > np.float32(threshold), strongest, 0).astype(np.uint8)


def strongest_class(cam: Cam) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel of the photo the id of the class with the highest score, (h, w) uint8, and that score, float32."""
    maps = upsample(cam.maps, cam.size)  # (K, h, w)
    if not len(maps):
        return np.zeros(cam.size, np.uint8), np.zeros(cam.size, np.float32)
    best = maps.argmax(axis=0)
    return cam.classes[best].astype(np.uint8), np.take_along_axis(maps, best[None], axis=0)[0]
