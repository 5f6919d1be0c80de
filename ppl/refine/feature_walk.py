"""The random walk with AffinityNet's affinities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ppl.refine.affinities import pair_affinities
from ppl.refine.walk import walk_batch


@torch.no_grad()
def propagate_by_features(
    scores: Sequence[Tensor],
    features: Tensor,
    radius: int = 5,
    beta: float = 8.0,
    steps: int = 256,
    *,
    images_at_once: int | None = None,
) -> list[Tensor]:
    """Return the scores of images of one size after the walk with A_ij = exp(-mean of |f_i - f_j|)^beta.

    scores: of each image (C, h, w) floating point, features (B, F, h, w) floating point, on one device -> (C, h, w)
    like `scores`. `images_at_once`: as in `ppl.refine.walk.propagate_batch`. Raises ValueError for other shapes or
    ranges.
    """
    for of_image, feature in zip(scores, features, strict=True):
        if feature.ndim != 3 or feature.shape[1:] != of_image.shape[1:]:
            raise ValueError(f"shape mismatch: features {tuple(feature.shape)}, scores {tuple(of_image.shape)}")
    if not features.isfinite().all():
        raise ValueError("features must be finite")
    return walk_batch(
        scores,
        lambda some: pair_affinities(features[some], radius),
        radius=radius,
        beta=beta,
        steps=steps,
        images_at_once=images_at_once,
    )
