"""Affinities of neighbouring pixels from their features, and AffinityNet's loss over them."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ppl.data.masks import IGNORE
from ppl.refine.lines import Offset, lines_within
from ppl.training.batch_means import mean_count

EPSILON = 1e-5


def pair_affinity(features: Tensor, offset: Offset) -> Tensor:
    """Return the affinities (..., h - dy, w - |dx|) of all pairs at an offset (dy, dx), dy >= 0.

    The affinity of two pixels is exp(-mean of |f_i - f_j|). features (..., C, h, w).
    """
    source, target = pairs_at(features, offset)
    return torch.exp(-(source - target).abs().mean(dim=-3))


def pairs_at(values: Tensor, offset: Offset) -> tuple[Tensor, Tensor]:
    """Return the values (..., h, w) at both ends of every pair at an offset (dy, dx), dy >= 0.

    The result is (..., h - dy, w - |dx|) twice.
    """
    dy, dx = offset
    h, w = values.shape[-2:]
    height, width = max(0, h - dy), max(0, w - abs(dx))
    left, right = max(0, -dx), max(0, dx)
    source = values[..., :height, left : left + width]
    return source, values[..., dy : dy + height, right : right + width]


def affinity_loss(features: Tensor, labels: Tensor, radius: int) -> Tensor:
    """Return bg / 4 + fg / 4 + neg / 2, each the mean over its pairs of pixels nearer than `radius` to each other.

    bg and fg: pairs of equal labels, 0 and above, with -log(a + 1e-5); neg: pairs of different labels, with
    -log(1 + 1e-5 - a). Pairs with a label 255 are ignored, the mean of a kind without pairs is zero.
    Offsets are processed one at a time.

    features (B, C, h, w), labels (B, h, w) integers.
    """
    sums, counts = features.new_zeros(3), features.new_zeros(3)
    for offset, _ in lines_within(radius):
        source, target = pairs_at(labels, offset)
        if not source.numel():
            continue
        valid, equal = (source != IGNORE) & (target != IGNORE), source == target
        kinds = torch.stack((valid & equal & (source == 0), valid & equal & (source > 0), valid & ~equal)).flatten(1)
        # Recomputed in the backward pass: the differences of all offsets would take 448 channels each.
        affinity = checkpoint(pair_affinity, features, offset, use_reentrant=False, preserve_rng_state=False).flatten()
        together, apart = -torch.log(affinity + EPSILON), -torch.log(1 + EPSILON - affinity)
        kinds = kinds.to(features.dtype)
        sums = sums + torch.stack((kinds[0] @ together, kinds[1] @ together, kinds[2] @ apart))
        counts = counts + kinds.sum(1)
    counts = mean_count(counts)
    bg, fg, neg = sums / torch.where(counts > 0, counts, 1)
    return bg / 4 + fg / 4 + neg / 2
