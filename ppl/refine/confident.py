"""Confident labels, which IRNet learns from: foreground and background where a CAM leaves little doubt (Sec. III-F).

Worker processes run this on one image each, so that the functions need numpy only.
"""

from collections.abc import Sequence

import numpy as np

from ppl.crf import IRNET, Pairwise, from_labels

IGNORED = 255


def hard_labels(cam: np.ndarray, classes: Sequence[int] | np.ndarray, threshold: float) -> np.ndarray:
    """The class of the strongest activation where that exceeds `threshold`, else background.

    cam (C, h, w) floating point, classes (C,) ids in 1..254 -> (h, w) uint8. Of equal activations the first wins.
    Raises ValueError where the number of classes differs or an id is out of range.
    """
    ids = np.asarray(classes, dtype=np.int64)
    if cam.ndim != 3 or ids.shape != cam.shape[:1] or ((ids < 1) | (ids > 254)).any():
        raise ValueError(f"classes {ids.tolist()} do not fit a CAM of shape {cam.shape}")
    if not len(ids):
        return np.zeros(cam.shape[1:], np.uint8)
    labels = ids.astype(np.uint8)[cam.argmax(0)]  # (h, w)
    labels[cam.max(0) <= threshold] = 0
    return labels


def combine(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The label of a strict foreground pass where it has one, 0 where a lenient pass agrees on none, elsewhere 255.

    Both (h, w) label maps -> (h, w) uint8.
    """
    return np.where(foreground > 0, foreground, np.where(background > 0, IGNORED, 0)).astype(np.uint8)


def confident_labels(
    photo: np.ndarray,
    cam: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    *,
    fg_threshold: float = 0.30,
    bg_threshold: float = 0.05,
    confidence: float = 0.7,
    iterations: int = 10,
    pairwise: Pairwise = IRNET,
) -> np.ndarray:
    """Foreground above the strict threshold and background below the lenient one, both after a dense CRF; else 255.

    photo (h, w, 3) uint8, cam (C, h, w) of the image's classes, relative to their maximum, classes (C,) ids
    -> (h, w) uint8. Raises ValueError for shapes that do not fit or thresholds in the wrong order.
    """
    if bg_threshold > fg_threshold:
        raise ValueError(f"the background threshold {bg_threshold} is above the foreground threshold {fg_threshold}")
    passes = [hard_labels(cam, classes, threshold) for threshold in (fg_threshold, bg_threshold)]
    ids = [int(c) for c in classes]
    foreground, background = from_labels(
        photo, passes, ids, confidence=confidence, iterations=iterations, pairwise=pairwise
    )
    return combine(foreground, background)
