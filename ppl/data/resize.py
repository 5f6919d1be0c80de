"""Resizing of maps in plain Pillow: worker processes do without torch."""

import numpy as np
from PIL import Image


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing of (K, h', w') to (K, h, w) float32, in plain Pillow: worker processes do without torch."""
    height, width = size
    planes = [Image.fromarray(m.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR) for m in maps]
    return np.stack([np.asarray(p) for p in planes]) if planes else np.zeros((0, height, width), np.float32)


def enlarge(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label map (h, w) uint8 at another size: each pixel's strongest label, with each label's area interpolated.

    Nearest neighbours would draw stairs. Itself where it has that size.
    """
    if labels.shape == size:
        return labels
    first, *others = np.unique(labels)
    best, strongest = np.full(size, first, np.uint8), None
    for label in (first, *others) if others else ():
        area = Image.fromarray((labels == label).astype(np.uint8) * 255)
        area = np.asarray(area.resize(size[::-1], Image.Resampling.BICUBIC))
        if strongest is None:
            strongest = area.copy()
        else:
            best[area > strongest] = label
            np.maximum(strongest, area, out=strongest)
    return best
