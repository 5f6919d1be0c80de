"""Label maps from predicted scores. Worker processes import this module, so it does not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.crf.dense import KEEP, on_cpu, problem_of_probabilities, solve
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
    unary = upsample(scores, size)  # (C+1, h, w), in place from here: large new arrays cost more than the arithmetic
    unary -= unary.max(axis=0)
    np.exp(unary, out=unary)
    unary /= unary.sum(axis=0)
    return unary


def refined(photo: np.ndarray, scores: np.ndarray, crf: Crf) -> np.ndarray:
    """Return the label map (h, w) uint8 of scores (C+1, h', w') after a CRF on the photo (h, w, 3) uint8."""
    return all_refined([(photo, scores)], crf)[0]


def all_refined(images: Sequence[tuple[np.ndarray, np.ndarray]], crf: Crf) -> list[np.ndarray]:
    """Return the label maps of `refined` for several photos and their scores, whose CRFs are solved at once."""
    problems = [
        problem_of_probabilities(photo, [probabilities(scores, photo.shape[:2])], keep=KEEP) for photo, scores in images
    ]
    solved = solve(problems, iterations=crf.iterations, pairwise=crf.pairwise, solver=crf.solver)
    return [labels for (labels,) in solved]


def write_predictions(folder: Path, crf: Crf | None, predictions: Sequence[Prediction]) -> None:
    """Write FOLDER/raw/ID.png of each prediction, and with a CRF also FOLDER/crf/ID.png."""
    for prediction in predictions:
        write_mask(folder / "raw" / f"{prediction.image_id}.png", prediction.labels)
    if crf is not None:
        labels = all_refined([(prediction.photo, prediction.scores) for prediction in predictions], crf)
        for prediction, of_photo in zip(predictions, labels, strict=True):
            write_mask(folder / "crf" / f"{prediction.image_id}.png", of_photo)
