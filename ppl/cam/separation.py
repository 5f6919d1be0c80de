"""The background threshold that separates objects from the rest without masks.

The contrast splits the features of a photo into those of the seed and those of the rest: where the seed is the object,
more of their variance lies between the two than for a smaller or larger seed. So each photo has a threshold of the
highest contrast, in shallow and in deep features; those of a stage are averaged over the photos, and the higher mean is
used: features that tell little of the objects differ most between large seeds and small rests, at low thresholds. The
maximum of the mean contrast would not do, as photos with large objects have more of it.
"""

from collections.abc import Sequence

import numpy as np

THRESHOLDS = np.arange(5, 71) / 100
"""Thresholds for which the contrast is computed: 0.05, 0.06, ... 0.70."""
COMPONENTS = 8
"""Principal components of a photo's features that are compared."""
MIN_CELLS = 4
"""A seed, or a rest, of fewer cells has no contrast."""
ROUNDING = 1e-9  # relative: smaller differences of variances are rounding errors


def whiten(features: np.ndarray) -> np.ndarray:
    """Return the strongest principal components (P, D) of features (P, C), of mean 0 and variance 1; D <= COMPONENTS.

    They are the left singular vectors of the centred features times the root of P, from the smaller Gram matrix, and
    do not depend on a rotation, shift or common scale of the features. D is 0 for features without variance.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    is_tall = centred.shape[0] >= centred.shape[1]
    variances, vectors = np.linalg.eigh(centred.T @ centred if is_tall else centred @ centred.T)  # ascending
    variances, vectors = variances[: -COMPONENTS - 1 : -1], vectors[:, : -COMPONENTS - 1 : -1]
    is_real = variances > max(ROUNDING * variances[0], np.finfo(float).tiny)
    variances, vectors = variances[is_real], vectors[:, is_real]
    components = centred @ vectors / np.sqrt(variances) if is_tall else vectors
    return components * np.sqrt(len(features))


def contrast(features: np.ndarray, score: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Return the share of the variance of a photo's whitened features that lies between seed and rest, (T,) in 0..1.

    features (P, C) and score (P,) of P cells; the seed at a threshold are the cells above it. With a share k of the
    cells in the seed and means m of each side, it is k (1 - k) |m_seed - m_rest|^2 / D.
    """
    components, order = whiten(features), np.argsort(-score, kind="stable")
    cells, dimensions = components.shape
    seeds = cells - np.searchsorted(score[order[::-1]], thresholds.astype(score.dtype), side="right")  # (T,) cells
    compared = (seeds >= MIN_CELLS) & (cells - seeds >= MIN_CELLS)
    if not dimensions or not compared.any():
        return np.zeros(len(thresholds))
    sums = components[order].cumsum(axis=0)[seeds[compared] - 1]  # (T', D)
    shares = np.zeros(len(thresholds))
    # As the mean of all cells is 0, the sum of the seed decides both means: m_seed - m_rest = sum * P / (n (P - n)).
    shares[compared] = (sums**2).sum(axis=1) / (seeds * (cells - seeds))[compared] / dimensions
    return shares


def choose(shallow: Sequence[float], deep: Sequence[float]) -> float:
    """Return the higher of the means of the photos' thresholds by shallow and by deep features, to two decimals.

    Either may be empty; ValueError if both are.
    """
    return round(max(float(np.mean(stage)) for stage in (shallow, deep) if len(stage)), 2)


def highest(shares: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> float | None:
    """Return the threshold of the highest contrast of a photo's `shares` (T,); None if it has no contrast at any."""
    return float(thresholds[shares.argmax()]) if shares.any() else None
