"""Resize maps with Pillow: worker processes use it, so it does not import torch."""

import numpy as np
from PIL import Image


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return maps (K, h', w') resized bilinearly to (K, h, w) float32."""
    height, width = size
    resized = np.empty((len(maps), height, width), np.float32)
    for plane, m in zip(resized, maps, strict=True):
        plane[:] = Image.fromarray(m.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return resized


def enlarge(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a label map (h, w) uint8 at another `size`, with smooth borders instead of stairs.

    The area of each label is interpolated (bicubic), and each pixel gets the label with the largest value there.
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
