"""Affinities of neighbouring pixels from their features, and AffinityNet's loss over them."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ppl.data.masks import IGNORE
from ppl.refine.lines import Offset, by_runs, neighbours
from ppl.training.batch_means import mean_count

EPSILON = 1e-5


def pair_affinities(features: Tensor, radius: int) -> Tensor:
    """Return the affinity of each pixel to its neighbours nearer than `radius`, 0 to those outside of the image.

    The affinity of two pixels is exp(-mean of |f_i - f_j|). features (B, C, h, w) -> (B, lines, h, w), one plane for
    each line `by_runs` to a neighbour.
    """
    return torch.exp(-_MeanDifferences.apply(features, [line.end for line in by_runs(radius)]))


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


class _MeanDifferences(torch.autograd.Function):
    """The mean of |f_i - f_j| over channels, of each pixel and its neighbours at some offsets; inf beyond the image.

    Differences are computed offset by offset, and again in the backward pass: those of all offsets would take all
    channels each. features (B, C, h, w) -> (B, offsets, h, w).
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: list[Offset]) -> Tensor:
        ctx.save_for_backward(features)
        ctx.offsets = offsets
        batch, _, h, w = features.shape
        means = features.new_full((batch, len(offsets), h, w), torch.inf)
        for plane, offset in zip(means.unbind(1), offsets, strict=True):
            source, target = pairs_at(features, offset)
            pairs_at(plane, offset)[0].copy_((source - target).abs_().mean(1))
        return means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        result, gradient = torch.zeros_like(features), gradient / features.shape[1]
        for plane, offset in zip(gradient.unbind(1), ctx.offsets, strict=True):
            source, target = pairs_at(features, offset)
            change = (source - target).sign_().mul_(pairs_at(plane, offset)[0][:, None])
            of_source, of_target = pairs_at(result, offset)
            of_source += change
            of_target -= change
        return result, None


def affinity_loss(features: Tensor, labels: Tensor, radius: int) -> Tensor:
    """Return bg / 4 + fg / 4 + neg / 2, each the mean over its pairs of pixels nearer than `radius` to each other.

    bg and fg: pairs of equal labels, 0 and above, with -log(a + 1e-5); neg: pairs of different labels, with
    -log(1 + 1e-5 - a). Pairs with a label 255 are ignored, the mean of a kind without pairs is zero.

    features (B, C, h, w), labels (B, h, w) integers.
    """
    affinity = pair_affinities(features, radius)  # (B, lines, h, w)
    source, target = labels[:, None], neighbours(labels, radius, IGNORE)
    valid, equal = (source != IGNORE) & (target != IGNORE), source == target
    kinds = torch.stack((valid & equal & (source == 0), valid & equal & (source > 0), valid & ~equal))
    together, apart = -torch.log(affinity + EPSILON), -torch.log(1 + EPSILON - affinity)
    sums = (kinds * torch.stack((together, together, apart))).flatten(1).sum(1)
    counts = mean_count(kinds.flatten(1).sum(1))
    bg, fg, neg = sums / torch.where(counts > 0, counts, 1)
    return bg / 4 + fg / 4 + neg / 2
