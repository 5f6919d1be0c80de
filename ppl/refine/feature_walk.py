"""The random walk with AffinityNet's affinities."""

import torch
from torch import Tensor

from ppl.refine.affinities import pair_affinity
from ppl.refine.walk import random_walk


@torch.no_grad()
def propagate_by_features(
    scores: Tensor, features: Tensor, radius: int = 5, beta: float = 8.0, steps: int = 256
) -> Tensor:
    """Return scores after the walk with A_ij = exp(-mean of |f_i - f_j|)^beta.

    scores (C, h, w) floating point, features (F, h, w) floating point, on one device -> (C, h, w) like `scores`.
    Raises ValueError for other shapes or ranges.
    """
    if features.ndim != 3 or features.shape[1:] != scores.shape[1:]:
        raise ValueError(f"shape mismatch: features {tuple(features.shape)}, scores {tuple(scores.shape)}")
    if not features.isfinite().all():
        raise ValueError("features must be finite")
    walked = random_walk(
        scores.double(), lambda line: pair_affinity(features, line.end), radius=radius, beta=beta, steps=steps
    )
    return walked.to(scores.dtype)
