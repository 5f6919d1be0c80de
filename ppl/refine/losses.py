"""IRNet's losses over pairs of pixels, for the boundary branch (Sec. III-F)."""

from typing import NamedTuple

import torch
from torch import Tensor

from ppl.data.masks import IGNORE
from ppl.refine.lines import by_runs, line_maxima, run_maxima, sources, values_at_ends
from ppl.training.batch_means import mean_count

EPSILON = 1e-5

PAIRS_AT_ONCE = {"cpu": 2**20, "cuda": 2**24}
"""Pairs in a block, by device: on a CPU they stay in the cache; on a GPU a block occupies all of it, in 340 MB."""


class PairLosses(NamedTuple):
    """Means over the pairs of a batch, each a scalar, for three kinds of pairs."""

    bg_pos: Tensor
    fg_pos: Tensor
    neg: Tensor


def total(losses: PairLosses) -> Tensor:
    """Return the training loss, (bg_pos / 2 + fg_pos / 2 + neg) / 2."""
    return (losses.bg_pos / 2 + losses.fg_pos / 2 + losses.neg) / 2


def pair_losses(boundary: Tensor, labels: Tensor, radius: int, *, pairs_at_once: int | None = None) -> PairLosses:
    """Compute the losses of all pairs of pixels nearer than `radius` to each other.

    A pair is a source i and a neighbour j = i + p. Sources are the pixels that have every neighbour inside the image:
    rows 0..h - radius, columns radius - 1..w - radius. With a = 1 - max of the boundary on the line from i to j:

        bg_pos  both labels 0             mean of -log(a + 1e-5)
        fg_pos  equal labels above 0      mean of -log(a + 1e-5)
        neg     different labels          mean of -log(1 + 1e-5 - a)

    Pairs with a label 255 are ignored. Each mean is sum / (count + 1e-5), so without pairs it is zero, as it is for
    an image smaller than the radius. The gradient of a maximum goes to one pixel that attains it.

    A loss depends on a pair only by its kind and its maximum, which is the value of a pixel. So pairs are counted by
    the pixel of their maximum, and logarithms and gradients are those of pixels instead of pairs.

    boundary (B, h, w) in 0..1, labels (B, h, w) uint8 or int64. Computes in float64; the losses are float64 if the
    boundary is, else float32. Memory is 20 bytes per pair of a block of `pairs_at_once` (default: PAIRS_AT_ONCE), and
    O(B h w radius). Raises ValueError for other shapes or label types.
    """
    if boundary.ndim != 3 or labels.shape != boundary.shape:
        shapes = f"{tuple(boundary.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"shape mismatch: expected boundary and labels (B, h, w), got {shapes}")
    if labels.dtype not in (torch.uint8, torch.int64):
        raise ValueError(f"labels must be uint8 or int64, got {labels.dtype}")
    block = pairs_at_once or PAIRS_AT_ONCE.get(boundary.device.type, PAIRS_AT_ONCE["cuda"])
    counts = count_pairs(boundary.detach(), labels, radius, block)  # (3, B, h, w)
    with torch.autocast(boundary.device.type, enabled=False):
        values = boundary.double()
        joined, parted = (1 - values + EPSILON).log(), (values + EPSILON).log()  # 1 - a = value
        bg, fg, neg = counts
        sums = -torch.stack([(bg * joined).sum(), (fg * joined).sum(), (neg * parted).sum()])
        means = sums / (mean_count(counts.flatten(1).sum(1, dtype=torch.float64)) + EPSILON)
    return PairLosses(*means.to(torch.promote_types(boundary.dtype, torch.float32)))


@torch.no_grad()
def count_pairs(boundary: Tensor, labels: Tensor, radius: int, pairs_at_once: int) -> Tensor:
    """Return the number of pairs of each kind, bg_pos, fg_pos and neg, whose maximum each pixel attains.

    Of equal values that of the last pixel, in reading order, is the maximum. boundary (B, h, w), labels (B, h, w)
    uint8 or int64 -> (3, B, h, w) int32.
    """
    batch, h, w = boundary.shape
    pixels, lines = h * w, len(by_runs(radius))
    counts = torch.zeros(batch * 4 * pixels, dtype=torch.int32, device=boundary.device)  # of ignored pairs, too
    origins = sources(pixels, radius, w)
    if not (counts.numel() and lines and origins and w >= 2 * radius - 1):
        return counts.view(batch, 4, h, w).transpose(0, 1)[:3]

    order = boundary.flatten(1).argsort(dim=1, stable=True)
    ascending = torch.arange(pixels, dtype=torch.int32, device=boundary.device).expand(batch, -1)
    rank = torch.empty_like(ascending, memory_format=torch.contiguous_format).scatter_(1, order, ascending)
    runs = run_maxima(rank, radius, w)

    # A pair is counted at (image, kind, rank), a flat index of which these are the first two terms.
    labels = labels.flatten(1)  # (B, h w)
    first = torch.arange(0, counts.numel(), 4 * pixels, dtype=torch.int32, device=labels.device)[:, None]
    bg, fg, neg, ignored = (first + kind * pixels for kind in range(4))  # (B, 1) each
    column = torch.arange(pixels, device=labels.device) % w
    outside = (column < radius - 1) | (column > w - radius)  # lines from there continue at the other side
    unlabelled = labels == IGNORE
    if_equal = torch.where(unlabelled, ignored, torch.where(labels == 0, bg, fg))
    if_different = torch.where(unlabelled, ignored, neg)  # by the label of the neighbour
    least = torch.where(unlabelled | outside, ignored, 0)  # by the source

    one = torch.ones((), dtype=torch.int32, device=labels.device)
    step = max(1, pairs_at_once // (batch * lines))
    for start in range(origins.start, origins.stop, step):
        block = range(start, min(start + step, origins.stop))
        here = slice(block.start, block.stop)
        equal = values_at_ends(labels, radius, w, block) == labels[:, None, here]  # (B, lines, block)
        different = values_at_ends(if_different, radius, w, block)
        place = torch.where(equal, if_equal[:, None, here], different)
        torch.maximum(place, least[:, None, here], out=place)
        place += line_maxima(runs, radius, w, block)
        counts.index_add_(0, place.flatten(), one.expand(place.numel()))

    counts = counts.view(batch, 4, pixels)[:, :3]
    return counts.gather(2, rank[:, None].expand_as(counts).long()).view(batch, 3, h, w).transpose(0, 1)
