"""From propagated scores to pseudo labels; worker processes run this, so that the module does without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.cam.store import upsample
from ppl.crf import Pairwise, from_labels
from ppl.data.dataset import write_mask
from ppl.refine.confident import hard_labels


@dataclass(frozen=True)
class Walk:
    """The random walk and what is made of it."""

    radius: int
    beta: float
    steps: int
    """Steps of the walk; 256 is the paper's 8 doublings."""
    background: float
    """Background score, relative to the image's strongest class."""
    batch_size: int
    crf: bool
    """A dense CRF on the pseudo labels."""


class Spread(NamedTuple):
    """Image id, photo (h, w, 3) uint8, propagated scores (K, h4, w4) float32 in 0..1, class ids (K,)."""

    image: str
    photo: np.ndarray
    scores: np.ndarray
    classes: Sequence[int]


def pseudo_label(spread: Spread, walk: Walk, pairwise: Pairwise) -> np.ndarray:
    """Label map (h, w) uint8: scores upsampled, the strongest class above the background score, a CRF where asked."""
    labels = hard_labels(upsample(spread.scores, spread.photo.shape[:2]), spread.classes, walk.background)
    return from_labels(spread.photo, [labels], spread.classes, pairwise=pairwise)[0] if walk.crf else labels


def write_label(folder: Path, walk: Walk, pairwise: Pairwise, spread: Spread) -> None:
    """Writes the pseudo label of one image as FOLDER/ID.png."""
    write_mask(folder / f"{spread.image}.png", pseudo_label(spread, walk, pairwise))
