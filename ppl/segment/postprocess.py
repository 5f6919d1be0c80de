"""Label maps from predicted scores. Worker processes import this module, so it does not import torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.crf.dense import from_probabilities, on_cpu
from ppl.crf.interface import Solver
from ppl.crf.settings import Pairwise
from ppl.data.masks import write_mask
from ppl.data.resize import upsample


@dataclass(frozen=True)
class Crf:
    """The dense CRF on predicted probabilities."""

    iterations: int
    pairwise: Pairwise
    solver: Solver = on_cpu


class Prediction(NamedTuple):
    """Image id, photo (h, w, 3) uint8, log-probabilities (C+1, h', w') at the network's stride, labels (h, w) uint8."""

    image_id: str
    photo: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def probabilities(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return probabilities (C+1, h, w) float32 at `size` of log-probabilities (C+1, h', w'), upsampled bilinearly."""
    unary = upsample(scores, size)  # (C+1, h, w)
    unary = np.exp(unary - unary.max(axis=0))
    return unary / unary.sum(axis=0)


def refined(photo: np.ndarray, scores: np.ndarray, crf: Crf) -> np.ndarray:
    """Return the label map (h, w) uint8 of scores (C+1, h', w') after a CRF on the photo (h, w, 3) uint8."""
    likely = probabilities(scores, photo.shape[:2])
    return from_probabilities(photo, likely, iterations=crf.iterations, pairwise=crf.pairwise, solver=crf.solver)


def write_prediction(folder: Path, crf: Crf | None, prediction: Prediction) -> None:
    """Write FOLDER/raw/ID.png, and with a CRF also FOLDER/crf/ID.png."""
    write_mask(folder / "raw" / f"{prediction.image_id}.png", prediction.labels)
    if crf is not None:
        write_mask(folder / "crf" / f"{prediction.image_id}.png", refined(prediction.photo, prediction.scores, crf))
