"""From propagated scores to pseudo labels; worker processes run this, so that the module does without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.crf.dense import Pairwise, Solver, from_labels, on_cpu
from ppl.data.masks import write_mask
from ppl.data.resize import upsample
from ppl.refine.reliable import hard_labels


@dataclass(frozen=True)
class Walk:
    """The random walk and what is made of it."""

    radius: int
    beta: float
    steps: int
    """Steps of the walk; 256 is the paper's 8 doublings."""
    background: float
    """Background score relative to the image's strongest class (IRNet); the power of (1 - strongest class), a score
    that walks with the others (AffinityNet)."""
    batch_size: int
    crf: bool
    """A dense CRF on the pseudo labels."""


class Spread(NamedTuple):
    """Image id, photo (h, w, 3) uint8, propagated scores (K, h', w') float32, class ids (K,).

    With `background` the first plane is that of background, (K + 1, h', w'); else the scores are in 0..1.
    """

    image: str
    photo: np.ndarray
    scores: np.ndarray
    classes: Sequence[int]
    background: bool = False


def pseudo_label(spread: Spread, walk: Walk, pairwise: Pairwise, solver: Solver = on_cpu) -> np.ndarray:
    """Label map (h, w) uint8: scores upsampled, the strongest class above the background score, a CRF where asked."""
    scores = upsample(spread.scores, spread.photo.shape[:2])
    if spread.background:
        labels = np.array([0, *spread.classes], np.uint8)[scores.argmax(0)]
    else:
        labels = hard_labels(scores, spread.classes, walk.background)
    if not walk.crf:
        return labels
    return from_labels(spread.photo, [labels], spread.classes, pairwise=pairwise, solver=solver)[0]


def write_label(folder: Path, walk: Walk, pairwise: Pairwise, solver: Solver, spread: Spread) -> None:
    """Writes the pseudo label of one image as FOLDER/ID.png."""
    write_mask(folder / f"{spread.image}.png", pseudo_label(spread, walk, pairwise, solver))
