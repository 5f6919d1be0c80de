"""Heat of class activation maps over photos."""

import matplotlib
import numpy as np

from ppl.cam.store import Cam
from ppl.data.resize import upsample

HEAT = matplotlib.colormaps["inferno"]


def heat_over(photo: np.ndarray, cam: Cam, plane: int) -> np.ndarray:
    """Heat of one plane of a CAM over the photo (h, w, 3) uint8 in grey, (h, w, 3) uint8."""
    heat = 255 * HEAT(upsample(cam.maps[plane : plane + 1], cam.size)[0])[..., :3]  # (h, w, 3)
    grey = photo.mean(axis=2, keepdims=True)  # (h, w, 1)
    return (0.4 * grey + 0.6 * heat).round().astype(np.uint8)


def heat_table() -> str:
    """The colours of 256 levels of heat, hexadecimal: six digits a level."""
    return HEAT(range(256), bytes=True)[:, :3].tobytes().hex()
