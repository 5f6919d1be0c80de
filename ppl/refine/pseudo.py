"""Pseudo labels from scores after the walk. Worker processes import this module, so it does not import torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ppl.cam.seeds import hard_labels
from ppl.crf.dense import on_cpu
from ppl.crf.interface import Solver
from ppl.crf.settings import Pairwise
from ppl.data.masks import write_mask
from ppl.data.resize import upsample
from ppl.jobs.errors import UserError
from ppl.refine.passes import NO_MARGINS, Crf, Passes, band, label_maps
from ppl.refine.settings import Margins, Refine, Walk


class WalkedScores(NamedTuple):
    """Image id, photo (h, w, 3) uint8, scores after the walk of any size (h', w'), class ids (K,), 1-based.

    With a `threshold` the scores are (K, h', w') float32, and pixels are background where none exceeds it; `seed` is
    the threshold at which classes have as many pixels as in the seed. Without, they are (K + 1, h', w') float32, the
    first plane that of background, which competes with the classes.
    """

    image_id: str
    photo: np.ndarray
    scores: np.ndarray
    classes: Sequence[int]
    threshold: float | Literal["seed"] | None = None


def limits(walked: WalkedScores, maps: np.ndarray, threshold: float | None, margins: Margins) -> tuple[float, ...]:
    """Return the thresholds of the passes over the scores of an image, one without margins, else two.

    maps (K, h4, w4): its CAM, from which a walk with the threshold `seed` takes the size of the seed at `threshold`;
    a plane of background is what margins are relative to. UserError for `seed` without a threshold.
    """
    if walked.threshold is None:
        return (margins.foreground, -margins.background) if margins.foreground or margins.background else (0,)
    if walked.threshold != "seed":
        return band(walked.threshold, margins)
    if threshold is None:
        remedy = "set background of the network's walk to seed; the command needs --threshold"
        raise UserError("refine.network", "its walk needs the threshold of the seeds", remedy)
    return tuple(of_equal_area(walked.scores, maps, limit) for limit in band(threshold, margins))


def of_equal_area(scores: np.ndarray, maps: np.ndarray, threshold: float) -> float:
    """Return the threshold that the strongest of `scores` exceed on the same share of cells as `maps` exceed theirs.

    The walk spreads scores and flattens them, so that a threshold of CAMs means another size behind it. scores
    (K, h', w'), maps (K, h4, w4). Cells with equal scores stay together, below the threshold.
    """
    share = (maps.max(0, initial=0) > threshold).mean()
    ranked = np.sort(scores.max(0, initial=0), axis=None)[::-1]
    above = round(share * ranked.size)
    return float(ranked[above]) if above < ranked.size else -1.0


def pseudo_labels(
    images: Sequence[WalkedScores],
    walk: Walk,
    pairwise: Pairwise,
    solver: Solver = on_cpu,
    *,
    thresholds: Sequence[Sequence[float]] | None = None,
    keep: bool = False,
) -> list[np.ndarray]:
    """Return the label map (h, w) uint8 of each image: its strongest class above background, after a CRF if enabled.

    `thresholds` are those of `limits`, by default the one of the scores; with two, pixels between them are 255.
    """
    thresholds = thresholds or [limits(walked, walked.scores, None, NO_MARGINS) for walked in images]
    passes = [_passes(walked, of_image) for walked, of_image in zip(images, thresholds, strict=True)]
    crf = Crf(walk.confidence, walk.iterations, pairwise, solver) if walk.crf else None
    return label_maps(passes, crf=crf, keep=keep)


def _passes(walked: WalkedScores, thresholds: Sequence[float]) -> Passes:
    scores = upsample(walked.scores, walked.photo.shape[:2])
    passes = [_strongest(walked, scores, limit) for limit in thresholds]
    return Passes(walked.photo, passes, scores if walked.threshold is not None else scores[1:], walked.classes)


def _strongest(walked: WalkedScores, scores: np.ndarray, limit: float) -> np.ndarray:
    """Return the strongest class of scores at the photo's size above a limit, or above background plus the limit."""
    if walked.threshold is not None:
        return hard_labels(scores, walked.classes, limit)
    background = scores[:1] + np.float32(limit)
    return np.array([0, *walked.classes], np.uint8)[np.concatenate([background, scores[1:]]).argmax(0)]


class Labelling(NamedTuple):
    """What turns walked scores into a label map: settings of the step, threshold of the seeds, CRF solver."""

    refine: Refine
    walk: Walk
    threshold: float | None
    solver: Solver


def write_labels(
    folder: Path, labelling: Labelling, walked_and_maps: Sequence[tuple[WalkedScores, np.ndarray]]
) -> None:
    """Write pseudo labels as FOLDER/ID.png, from the scores of images after the walk and the maps of their CAMs."""
    refine, images = labelling.refine, [walked for walked, _ in walked_and_maps]
    thresholds = [limits(*image, labelling.threshold, refine.labels.margins) for image in walked_and_maps]
    labels = pseudo_labels(
        images, labelling.walk, refine.pairwise, labelling.solver, thresholds=thresholds, keep=refine.keep_classes
    )
    for walked, of_image in zip(images, labels, strict=True):
        write_mask(folder / f"{walked.image_id}.png", of_image)
