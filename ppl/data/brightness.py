"""Recognise photos that show nothing: nearly black, nearly white, or of one colour."""

import numpy as np

DARK = 16
"""Values of 0..255 below which nothing is visible: 12-bit photos read as 16-bit have no larger ones."""
SHARE = 0.001
"""Share of pixels that must lie beyond: a real photo of the night has lamps, stars or lit windows."""
SAMPLED = 100
"""Pixels per side that are looked at first: the whole photo only if they show nothing."""


def brightness_fault(photo: np.ndarray) -> str | None:
    """Return what is wrong with the brightness of a photo (h, w, 3) uint8; None for a photo that shows something."""
    steps = [max(1, side // SAMPLED) for side in photo.shape[:2]]
    return _fault(photo[:: steps[0], :: steps[1]]) and _fault(photo)


def _fault(photo: np.ndarray) -> str | None:
    if (photo == photo[0, 0]).all():
        return f"has one colour, {tuple(photo[0, 0].tolist())}"
    channels = [photo[..., channel] for channel in range(3)]  # faster than a reduction over the last axis
    if (np.maximum.reduce(channels) >= DARK).mean() < SHARE:
        return f"is nearly black: under {100 * SHARE:.1f} % of its pixels are above {DARK} of 255"
    if (np.minimum.reduce(channels) <= 255 - DARK).mean() < SHARE:
        return f"is nearly white: under {100 * SHARE:.1f} % of its pixels are below {255 - DARK} of 255"
    return None
