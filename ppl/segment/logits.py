"""Logits and label maps of different sizes, and the loss on them: what the segmentation networks share."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.data.masks import IGNORE
from ppl.training.batch_means import mean_count
from ppl.training.label_grids import nearest


def segmentation_loss(outputs: Sequence[Tensor], labels: Tensor, exponent: float = 0) -> Tensor:
    """Return the sum over `outputs` (B, C+1, h, w) of the mean loss of their pixels with `labels` (B, H, W).

    Labels are ids 0..C, or 255 (ignored); they are resized to the logits by nearest neighbour. With exponent 0 the loss
    of a pixel is the cross-entropy -log p of its label's probability p, otherwise the generalised one, (1 - p^exponent)
    / exponent (Zhang and Sabuncu, NeurIPS 2018): its gradient is that of cross-entropy times p^exponent, so labels that
    the network contradicts with confidence teach less. 0 if all labels are ignored.
    """
    total = outputs[0].new_zeros((), dtype=torch.float32)
    for logits in outputs:
        target = nearest(labels, logits.shape[-2:]).long()
        valid = mean_count((target != IGNORE).sum())
        reduction = "none" if exponent else "sum"
        losses = F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction=reduction)  # 0 where ignored
        if exponent:
            losses = (-torch.expm1(-exponent * losses) / exponent).sum()
        total = total + losses / torch.where(valid > 0, valid, 1)
    return total


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) to (B, C, *size), bilinear."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def rescale(x: Tensor, scale: float) -> Tensor:
    """Multiply the sides of (B, C, h, w) by `scale`, bilinear."""
    return x if scale == 1 else resize(x, [max(1, round(side * scale)) for side in x.shape[-2:]])
