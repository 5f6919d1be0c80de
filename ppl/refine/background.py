"""Background scores of a CAM, from its classes."""

import numpy as np


def with_background(cam: np.ndarray, alpha: float) -> np.ndarray:
    """Prepend background scores (1 - max)^alpha to a CAM (C, h, w) in 0..1: (C + 1, h, w), never all zero."""
    strongest = cam.max(0, initial=0)
    return np.concatenate([np.maximum((1 - np.clip(strongest, 0, 1)) ** alpha, 1e-5)[None], cam]).astype(np.float32)
