"""Pseudo labels from scores after the walk. Worker processes import this module, so it does not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.cam.seeds import hard_labels
from ppl.crf.dense import Pairwise, Solver, from_labels, on_cpu
from ppl.data.masks import write_mask
from ppl.data.resize import upsample


@dataclass(frozen=True)
class Walk:
    """Settings of the random walk and of the labels from its scores."""

    radius: int
    beta: float
    steps: int
    """Steps of the walk; 256 is the paper's 8 doublings."""
    background: float
    """Background score relative to the image's strongest class (IRNet); the exponent of (1 - strongest class), a score
    that walks with the others (AffinityNet)."""
    batch_size: int
    crf: bool
    """Apply a dense CRF to the pseudo labels."""


class WalkedScores(NamedTuple):
    """Image id, photo (h, w, 3) uint8, scores after the walk (K, h', w') float32, class ids (K,).

    With `background` the first plane is that of background, (K + 1, h', w'); else the scores are in 0..1.
    """

    image_id: str
    photo: np.ndarray
    scores: np.ndarray
    classes: Sequence[int]
    background: bool = False


def pseudo_label(walked: WalkedScores, walk: Walk, pairwise: Pairwise, solver: Solver = on_cpu) -> np.ndarray:
    """Return the label map (h, w) uint8 of an image: its strongest class above background, after a CRF if enabled."""
    scores = upsample(walked.scores, walked.photo.shape[:2])
    if walked.background:
        labels = np.array([0, *walked.classes], np.uint8)[scores.argmax(0)]
    else:
        labels = hard_labels(scores, walked.classes, walk.background)
    if not walk.crf:
        return labels
    return from_labels(walked.photo, [labels], walked.classes, pairwise=pairwise, solver=solver)[0]


def write_label(folder: Path, walk: Walk, pairwise: Pairwise, solver: Solver, walked: WalkedScores) -> None:
    """Write the pseudo label of one image as FOLDER/ID.png."""
    write_mask(folder / f"{walked.image_id}.png", pseudo_label(walked, walk, pairwise, solver))
