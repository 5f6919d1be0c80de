"""Label maps at the strides of networks: one label per cell of a grid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ppl.data.masks import IGNORE

VALUES = 256  # of a label


def nearest(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Return labels (B, H, W) of any type at the centres of a grid of `size` (h, w): (B, h, w).

    The centres are those that bilinear resizing assumes, so that training and inference agree on where a cell lies.
    """
    rows, columns = (
        ((torch.arange(n, device=labels.device) + 0.5) * side / n).long()
        for n, side in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows[:, None], columns]


def vote(labels: Tensor, stride: int) -> Tensor:
    """Return reliable labels (B, H, W) uint8 of cells of `stride` pixels: (B, ceil(H / stride), ceil(W / stride)).

    A cell has its most frequent class if that has more pixels than 0 and 255 together, 0 if more than half of its
    pixels are 0, and otherwise 255. AffinityNet averages, over a cell, the scores of a strict pass and of a lenient
    one, takes the strongest of each, and combines them. A pixel's background of the strict pass is stored as 0 or 255,
    that of the lenient pass as 0, so that these votes come closest to it (docs/departures.md). Pixels padded to a crop
    count as 255; beyond the end of the map nothing counts.
    """
    counts = _counts(labels, stride)
    empty, ignored, of_classes = counts[..., 0], counts[..., IGNORE], counts[..., 1:IGNORE]
    # Of equal counts the first class: which one max() returns depends on the device.
    ranked = of_classes * VALUES - torch.arange(IGNORE - 1, dtype=torch.int32, device=labels.device)
    strongest = ranked.argmax(-1, keepdim=True)
    most = of_classes.gather(-1, strongest).squeeze(-1)
    uncertain = torch.where(2 * empty > counts.sum(-1), 0, IGNORE)
    return torch.where(most > empty + ignored, strongest.squeeze(-1) + 1, uncertain).to(labels.dtype)


def _counts(labels: Tensor, stride: int) -> Tensor:
    """Return the number of pixels with each label in each cell, (B, h, w, 256) int32."""
    batch, height, width = labels.shape
    h, w = -(-height // stride), -(-width // stride)
    image, row, column = (torch.arange(side, device=labels.device) for side in labels.shape)
    cells = (image[:, None, None] * h + row[:, None] // stride) * w + column // stride  # (B, H, W)
    places = (cells * VALUES + labels).flatten()
    counts = torch.zeros(batch * h * w * VALUES, dtype=torch.int32, device=labels.device)
    counts.scatter_add_(0, places, torch.ones_like(places, dtype=torch.int32))
    return counts.view(batch, h, w, VALUES)
