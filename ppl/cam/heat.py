"""Heat maps of class activation maps over photos."""

import matplotlib
import numpy as np

from ppl.cam.store import Cam
from ppl.data.resize import upsample

HEAT = matplotlib.colormaps["inferno"]
PHOTO_SHARE = 0.4
"""Share of the grey photo in a heat map; the rest is heat."""


def heat_over(photo: np.ndarray, cam: Cam, plane: int) -> np.ndarray:
    """Return the heat map (h, w, 3) uint8 of one plane of a CAM over the photo (h, w, 3) uint8, which turns grey."""
    heat = 255 * HEAT(upsample(cam.maps[plane : plane + 1], cam.size)[0])[..., :3]  # (h, w, 3)
    grey = photo.mean(axis=2, keepdims=True)  # (h, w, 1)
    return (PHOTO_SHARE * grey + (1 - PHOTO_SHARE) * heat).round().astype(np.uint8)


def heat_table() -> str:
    """Return the colours of 256 levels of heat as hexadecimal text, six digits per level."""
    return HEAT(range(256), bytes=True)[:, :3].tobytes().hex()
