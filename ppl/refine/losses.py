"""IRNet's losses over pairs of pixels, for the boundary branch (Sec. III-F)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ppl.data.masks import IGNORE
from ppl.refine.lines import maxima_along
from ppl.training.batch_means import mean_count

EPSILON = 1e-5


class PairLosses(NamedTuple):
    """Means over the pairs of a batch, each a scalar, for three kinds of pairs."""

    bg_pos: Tensor
    fg_pos: Tensor
    neg: Tensor


def total(losses: PairLosses) -> Tensor:
    """Return the training loss, (bg_pos / 2 + fg_pos / 2 + neg) / 2."""
    return (losses.bg_pos / 2 + losses.fg_pos / 2 + losses.neg) / 2


def pair_losses(boundary: Tensor, labels: Tensor, radius: int) -> PairLosses:
    """Compute the losses of all pairs of pixels nearer than `radius` to each other, with analytic gradients.

    A pair is a source i and a neighbour j = i + p. Sources are the pixels that have every neighbour inside the image:
    rows 0..h - radius, columns radius - 1..w - radius. With a = 1 - max of the boundary on the line from i to j:

        bg_pos  both labels 0             mean of -log(a + 1e-5)
        fg_pos  equal labels above 0      mean of -log(a + 1e-5)
        neg     different labels          mean of -log(1 + 1e-5 - a)

    Pairs with a label 255 are ignored. Each mean is sum / (count + 1e-5), so without pairs it is zero, as it is for
    an image smaller than the radius. The gradient of a maximum goes to one pixel that attains it.

    boundary (B, h, w) in 0..1, labels (B, h, w) uint8 or int64. Computes in float32 and visits one neighbour p at a
    time: memory is O(B h w) whatever the radius. Raises ValueError for other shapes or label types.
    """
    if boundary.ndim != 3 or labels.shape != boundary.shape:
        shapes = f"{tuple(boundary.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"shape mismatch: expected boundary and labels (B, h, w), got {shapes}")
    if labels.dtype not in (torch.uint8, torch.int64):
        raise ValueError(f"labels must be uint8 or int64, got {labels.dtype}")
    with torch.autocast(boundary.device.type, enabled=False):
        return PairLosses(*_PairLosses.apply(boundary.float(), labels, radius))


class _PairLosses(torch.autograd.Function):
    """The three losses; the forward pass also computes the gradients, as it has the terms of each pair."""

    @staticmethod
    def forward(ctx: Any, boundary: Tensor, labels: Tensor, radius: int) -> tuple[Tensor, ...]:
        """Return the three losses of boundary (B, h, w) float32 and labels (B, h, w)."""
        batch, h, w = boundary.shape
        margin = radius - 1
        rows, columns = max(0, h - margin), max(0, w - 2 * margin)  # of source pixels
        sums = boundary.new_zeros(3, dtype=torch.float64)  # bg_pos, fg_pos, neg
        counts = boundary.new_zeros(3, dtype=torch.float64)
        gradients = boundary.new_zeros(3, batch, h, w)

        keys = _ordered_keys(boundary)

        def at(values: Tensor, dy: int, dx: int) -> Tensor:
            """Return the values at the offset (dy, dx) from every source pixel: (B, rows, columns)."""
            return values[..., dy : dy + rows, margin + dx : margin + dx + columns]

        source = at(labels, 0, 0)  # (B, rows, columns)
        valid, empty = source != IGNORE, source == 0
        maxima = maxima_along(radius, lambda offset: at(keys, *offset)) if source.numel() else ()
        for (end, _), highest in maxima:
            target = at(labels, *end)
            both, equal = valid & (target != IGNORE), source == target
            positive, negative = both & equal, both & ~equal
            kinds = torch.stack((positive & empty, positive & ~empty, negative))  # (3, B, rows, columns)
            kinds = kinds.float()  # products with 0 and 1 are several times faster than torch.where
            counts += kinds.flatten(1).sum(1)  # whole numbers: exact below 2^24 pairs

            value, pixel = _value_and_pixel(highest)  # (B, rows, columns) each
            agreement = torch.where(negative, value, 1 - value).add_(EPSILON)  # 1 - a = value
            slope = agreement.reciprocal()
            torch.where(negative, -slope, slope, out=slope)
            sums -= kinds.flatten(1) @ agreement.log_().flatten()
            slopes = (kinds * slope).flatten(1)  # (3, pairs)
            gradients.view(3, -1).scatter_add_(1, pixel.view(1, -1).expand(3, -1), slopes)

        counts = mean_count(counts)
        ctx.save_for_backward(gradients, counts)
        bg_pos, fg_pos, neg = (sums / (counts + EPSILON)).float()
        return bg_pos, fg_pos, neg

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the boundary from those of the three losses; labels and radius have none."""
        gradients, counts = ctx.saved_tensors
        weights = (torch.stack(grads) / (counts + EPSILON)).float()
        return (weights.view(3, 1, 1, 1) * gradients).sum(0), None, None


def _ordered_keys(boundary: Tensor) -> Tensor:
    """Return int64 keys: the bits of the value, followed by the index of the pixel.

    Non-negative floats have the same order as their bits, so the maximum key yields the highest value and its position.
    """
    pixel = torch.arange(boundary.numel(), device=boundary.device).view(boundary.shape)
    return (boundary.contiguous().view(torch.int32).long() << 32) | pixel


def _value_and_pixel(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack the keys of `_ordered_keys`: float32 values and int64 flat indices."""
    return (keys >> 32).int().view(torch.float32), keys & 0xFFFFFFFF
