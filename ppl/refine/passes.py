"""Label maps from passes: hard labels of scores at one threshold, or at both ends of a band of uncertain scores.

Worker processes run this on one image each, so the module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ppl.crf.dense import on_cpu, problem_of_labels, solve
from ppl.crf.interface import Solver
from ppl.crf.settings import IRNET, Pairwise
from ppl.data.masks import IGNORE
from ppl.refine.presence import keep_classes
from ppl.refine.settings import LabelMargins, Margins

NO_MARGINS = LabelMargins()


LEAST_OF_CLASSES = 2 / 3
"""The least threshold of the strict pass, as a share of that of the seeds, if its margin is negative."""
LEAST_OF_BACKGROUND = 1 / 3
"""The least threshold of the lenient pass, as a share of the lower one of seeds and strict pass: near 0 a lenient pass
leaves no background, and the network would learn none. Thresholds of large photos are low, margins are absolute."""


@dataclass(frozen=True)
class Crf:
    """The dense CRF on hard labels, which trusts each with the probability `confidence`."""

    confidence: float = 0.7
    iterations: int = 10
    pairwise: Pairwise = IRNET
    solver: Solver = on_cpu


def band(threshold: float, margins: Margins) -> tuple[float, ...]:
    """Return the thresholds of the strict and the lenient pass, or without margins the one threshold of both.

    Margins that would bring them too near to 0 are shortened (LEAST_OF_CLASSES, LEAST_OF_BACKGROUND).
    """
    if not (margins.foreground or margins.background):
        return (threshold,)
    strict = max(LEAST_OF_CLASSES * threshold, threshold + margins.foreground)
    return strict, max(LEAST_OF_BACKGROUND * min(strict, threshold), threshold - margins.background)


class Passes(NamedTuple):
    """What the label map of an image is made of.

    photo (h, w, 3) uint8; passes (h, w) uint8 with ids of `classes` (K,), one or a strict and a lenient one; scores
    `maps` (K, h, w).
    """

    photo: np.ndarray
    passes: Sequence[np.ndarray]
    maps: np.ndarray
    classes: Sequence[int]


def label_maps(images: Sequence[Passes], *, crf: Crf | None = None, keep: bool = False) -> list[np.ndarray]:
    """Return the label map (h, w) uint8 of each image: of its one pass, or of a strict and a lenient one combined.

    With a CRF it is applied to each pass first. With `keep` a class of the image that the strict pass has lost gets
    pixels back, by its scores.
    """
    refined = [image.passes for image in images]
    if crf:
        problems = [
            problem_of_labels(image.photo, image.passes, image.classes, confidence=crf.confidence) for image in images
        ]
        refined = solve(problems, iterations=crf.iterations, pairwise=crf.pairwise, solver=crf.solver)
    return [_label_map(image, of_image, keep) for image, of_image in zip(images, refined, strict=True)]


def _label_map(image: Passes, refined: Sequence[np.ndarray], keep: bool) -> np.ndarray:
    strict = keep_classes(refined[0], image.passes[0], image.maps, image.classes) if keep else refined[0]
    return combine(strict, refined[1]) if len(refined) > 1 else strict


def combine(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the class of a strict foreground pass, 0 where a lenient pass has no class either, elsewhere 255.

    Both (h, w) label maps -> (h, w) uint8.
    """
    return np.where(foreground > 0, foreground, np.where(background > 0, IGNORE, 0)).astype(np.uint8)
