"""IRNet's losses over pairs of pixels, for the boundary and the displacement branch (Sec. III-F)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ppl.refine.lines import maxima_along, search_paths
from ppl.training.batch_means import mean_count

IGNORED = 255
EPSILON = 1e-5


class PairLosses(NamedTuple):
    """Means over the pairs of a batch, each a scalar: affinities of three kinds of pairs, displacements of two."""

    bg_pos: Tensor
    fg_pos: Tensor
    neg: Tensor
    dp_fg: Tensor
    dp_bg: Tensor


def total(losses: PairLosses) -> Tensor:
    """The training loss: (bg_pos / 2 + fg_pos / 2 + neg) / 2 + (dp_fg + dp_bg) / 2."""
    return (losses.bg_pos / 2 + losses.fg_pos / 2 + losses.neg) / 2 + (losses.dp_fg + losses.dp_bg) / 2


def pair_losses(boundary: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> PairLosses:
    """Losses of all pairs of pixels nearer than `radius` to each other, with analytic gradients.

    A pair is a source i and a neighbour j = i + p. Sources are the pixels that have every neighbour inside the image:
    rows 0..h - radius, columns radius - 1..w - radius. With a = 1 - max of the boundary on the line from i to j:

        bg_pos  both labels 0             mean of -log(a + 1e-5)
        fg_pos  equal labels above 0      mean of -log(a + 1e-5)
        neg     different labels          mean of -log(1 + 1e-5 - a)
        dp_fg   the pairs of fg_pos       mean over both coordinates of |d_i - d_j - p|
        dp_bg   the pairs of bg_pos       mean over both coordinates of |d_i - d_j|

    Pairs with a label 255 count nowhere. Each mean is sum / (count + 1e-5), so without pairs it is zero, as it is for
    an image smaller than the radius. The gradient of a maximum goes to one pixel that attains it, that of |0| is zero.

    boundary (B, h, w) in 0..1, displacement (B, 2, h, w) in pixels of the grid as (dy, dx), labels (B, h, w) uint8 or
    int64. Computes in float32 and visits one neighbour p at a time: memory is O(B h w) whatever the radius.
    Raises ValueError for other shapes or label types.
    """
    if boundary.ndim != 3 or labels.shape != boundary.shape:
        raise ValueError(
            f"boundary and labels must be (B, h, w), not {tuple(boundary.shape)} and {tuple(labels.shape)}"
        )
    batch, h, w = boundary.shape
    if displacement.shape != (batch, 2, h, w):
        raise ValueError(f"displacement must be {(batch, 2, h, w)} like the boundary, not {tuple(displacement.shape)}")
    if labels.dtype not in (torch.uint8, torch.int64):
        raise ValueError(f"labels must be uint8 or int64, not {labels.dtype}")
    with torch.autocast(boundary.device.type, enabled=False):
        return PairLosses(*_PairLosses.apply(boundary.float(), displacement.float(), labels, radius))


class _PairLosses(torch.autograd.Function):
    """The five losses; the forward pass computes the gradients too, while it has each pair's terms at hand."""

    @staticmethod
    def forward(ctx: Any, boundary: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> tuple[Tensor, ...]:
        """boundary (B, h, w) and displacement (B, 2, h, w) float32, labels (B, h, w) -> five scalars."""
        batch, h, w = boundary.shape
        margin = radius - 1
        rows, columns = max(0, h - margin), max(0, w - 2 * margin)  # of source pixels
        affinity_sums = boundary.new_zeros(3, dtype=torch.float64)  # bg_pos, fg_pos, neg
        displacement_sums = boundary.new_zeros(2, dtype=torch.float64)  # bg, fg
        counts = boundary.new_zeros(3, dtype=torch.float64)
        boundary_grads = boundary.new_zeros(3, batch, h, w)
        displacement_grads = boundary.new_zeros(2, batch, 2, h, w)

        keys = _ordered_keys(boundary)
        ends = [path.end for path in search_paths(radius)]
        offsets = boundary.new_tensor(ends).reshape(len(ends), 2, 1, 1)  # at once, as a GPU waits for each copy
        offset_to = dict(zip(ends, offsets, strict=True))

        def at(values: Tensor, dy: int, dx: int) -> Tensor:
            """The values at the offset (dy, dx) from every source pixel: (..., rows, columns)."""
            return values[..., dy : dy + rows, margin + dx : margin + dx + columns]

        source = at(labels, 0, 0)  # (B, rows, columns)
        valid, empty = source != IGNORED, source == 0
        maxima = maxima_along(radius, lambda offset: at(keys, *offset)) if source.numel() else ()
        for ((dy, dx), _), highest in maxima:
            target = at(labels, dy, dx)
            both, equal = valid & (target != IGNORED), source == target
            positive, negative = both & equal, both & ~equal
            kinds = torch.stack((positive & empty, positive & ~empty, negative))  # (3, B, rows, columns)
            kinds = kinds.float()  # products with 0 and 1 are several times faster than torch.where
            counts += kinds.flatten(1).sum(1)  # whole numbers: exact below 2^24 pairs

            value, pixel = _value_and_pixel(highest)  # (B, rows, columns) each
            agreement = torch.where(negative, value, 1 - value).add_(EPSILON)  # 1 - a = value
            slope = agreement.reciprocal()
            torch.where(negative, -slope, slope, out=slope)
            affinity_sums -= kinds.flatten(1) @ agreement.log_().flatten()
            slopes = (kinds * slope).flatten(1)  # (3, pairs)
            boundary_grads.view(3, -1).scatter_add_(1, pixel.view(1, -1).expand(3, -1), slopes)

            difference = at(displacement, 0, 0) - at(displacement, dy, dx)  # (B, 2, rows, columns)
            errors = torch.stack((difference, difference - offset_to[dy, dx]))  # (2, B, 2, rows, columns)
            errors.mul_(kinds[:2, :, None])
            signs = errors.sign()
            at(displacement_grads, 0, 0).add_(signs)
            at(displacement_grads, dy, dx).sub_(signs)
            displacement_sums += errors.abs_().sum((1, 2, 3, 4))

        counts = mean_count(counts)
        ctx.save_for_backward(boundary_grads, displacement_grads, counts)
        bg_pos, fg_pos, neg = (affinity_sums / (counts + EPSILON)).float()
        dp_bg, dp_fg = (displacement_sums / (2 * counts[:2] + EPSILON)).float()
        return bg_pos, fg_pos, neg, dp_fg, dp_bg

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Five scalars -> gradients of boundary and displacement; labels and radius have none."""
        boundary_grads, displacement_grads, counts = ctx.saved_tensors
        bg_pos, fg_pos, neg, dp_fg, dp_bg = grads
        affinity_weights = (torch.stack((bg_pos, fg_pos, neg)) / (counts + EPSILON)).float()
        displacement_weights = (torch.stack((dp_bg, dp_fg)) / (2 * counts[:2] + EPSILON)).float()
        boundary_grad = (affinity_weights.view(3, 1, 1, 1) * boundary_grads).sum(0)
        displacement_grad = (displacement_weights.view(2, 1, 1, 1, 1) * displacement_grads).sum(0)
        return boundary_grad, displacement_grad, None, None


def _ordered_keys(boundary: Tensor) -> Tensor:
    """int64 keys, the bits of the value above the index of the pixel, whose maximum is that of the values.

    One maximum over keys thus tells the highest value and where it is: non-negative floats order as their bits do.
    """
    pixel = torch.arange(boundary.numel(), device=boundary.device).view(boundary.shape)
    return (boundary.contiguous().view(torch.int32).long() << 32) | pixel


def _value_and_pixel(keys: Tensor) -> tuple[Tensor, Tensor]:
    """What `_ordered_keys` packed: float32 values and int64 flat indices."""
    return (keys >> 32).int().view(torch.float32), keys & 0xFFFFFFFF
