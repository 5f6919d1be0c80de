"""Pseudo labels from scores after the walk. Worker processes import this module, so it does not import torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.cam.seeds import hard_labels
from ppl.crf.dense import Solver, from_labels, on_cpu
from ppl.crf.settings import Pairwise
from ppl.data.masks import write_mask
from ppl.data.resize import upsample
from ppl.refine.settings import Walk


class WalkedScores(NamedTuple):
    """Image id, photo (h, w, 3) uint8, scores after the walk of any size (h', w'), class ids (K,), 1-based.

    With a `threshold` the scores are (K, h', w') float32, and pixels are background where none exceeds it; without,
    they are (K + 1, h', w') float32, the first plane that of background, which competes with the classes.
    """

    image_id: str
    photo: np.ndarray
    scores: np.ndarray
    classes: Sequence[int]
    threshold: float | None = None


def pseudo_label(walked: WalkedScores, walk: Walk, pairwise: Pairwise, solver: Solver = on_cpu) -> np.ndarray:
    """Return the label map (h, w) uint8 of an image: its strongest class above background, after a CRF if enabled."""
    scores = upsample(walked.scores, walked.photo.shape[:2])
    if walked.threshold is None:
        labels = np.array([0, *walked.classes], np.uint8)[scores.argmax(0)]
    else:
        labels = hard_labels(scores, walked.classes, walked.threshold)
    if not walk.crf:
        return labels
    return from_labels(
        walked.photo,
        [labels],
        walked.classes,
        confidence=walk.confidence,
        iterations=walk.iterations,
        pairwise=pairwise,
        solver=solver,
    )[0]


def write_label(folder: Path, walk: Walk, pairwise: Pairwise, solver: Solver, walked: WalkedScores) -> None:
    """Write the pseudo label of one image as FOLDER/ID.png."""
    write_mask(folder / f"{walked.image_id}.png", pseudo_label(walked, walk, pairwise, solver))
