"""DeepLab v2: a dilated backbone, atrous spatial pyramid pooling, and the maximum over scales of the input."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.data.masks import IGNORE
from ppl.networks.backbones import Backbone
from ppl.training.batch_means import mean_count


class DeepLab(nn.Module):
    """Segmentation network for `classes` foreground classes and background.

    The head sums one dilated 3x3 convolution per rate, in cells of the backbone's last stage (ASPP). The whole network
    processes its input at each of `scales`; the first sets the size of the logits.
    """

    def __init__(self, backbone: Backbone, classes: int, rates: Sequence[int], scales: Sequence[float]) -> None:
        super().__init__()
        self.backbone, self.scales = backbone, tuple(scales)
        width = backbone.channels[-1]
        self.aspp = nn.ModuleList(nn.Conv2d(width, classes + 1, 3, padding=r, dilation=r) for r in rates)
        for conv in self.aspp:
            nn.init.normal_(conv.weight, std=0.001)  # small logits: large ones would damage the backbone at first
            nn.init.zeros_(conv.bias)

    def single_scale(self, x: Tensor) -> Tensor:
        """Return logits (B, C+1, ceil(H/stride), ceil(W/stride)) of normalised images (B, 3, H, W)."""
        features = self.backbone(x)
        return sum(conv(features) for conv in self.aspp)

    def forward(self, x: Tensor) -> list[Tensor] | Tensor:
        """Return logits (B, C+1, h, w) of normalised images (B, 3, H, W), the maximum over the scales.

        In training, a list: the logits of each scale, resized to the first, and, if there are several, their maximum.
        """
        logits = [self.single_scale(rescale(x, scale)) for scale in self.scales]
        if len(logits) == 1:
            return logits if self.training else logits[0]
        size = logits[0].shape[-2:]
        logits = [logits[0], *(resize(smaller, size) for smaller in logits[1:])]  # each (B, C+1, h, w)
        maximum = torch.stack(logits).amax(dim=0)
        return [*logits, maximum] if self.training else maximum


def segmentation_loss(outputs: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the sum over `outputs` (B, C+1, h, w) of the mean cross-entropy with `labels` (B, H, W).

    Labels are ids 0..C, or 255 (ignored); they are resized to the logits by nearest neighbour. 0 if all are ignored.
    """
    total = outputs[0].new_zeros((), dtype=torch.float32)
    for logits in outputs:
        target = nearest(labels, logits.shape[-2:]).long()
        valid = mean_count((target != IGNORE).sum())
        entropy = F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="sum")
        total = total + entropy / torch.where(valid > 0, valid, 1)
    return total


def parameter_groups(
    network: DeepLab, *, lr: float, head_lr_factor: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return optimiser groups: the backbone at `lr`, ASPP weights at `head_lr_factor` times it, biases at twice that.

    Those biases have no weight decay.
    """
    weights, biases = [conv.weight for conv in network.aspp], [conv.bias for conv in network.aspp]
    return [
        {"params": list(network.backbone.parameters()), "lr": lr, "weight_decay": weight_decay},
        {"params": weights, "lr": lr * head_lr_factor, "weight_decay": weight_decay},
        {"params": biases, "lr": lr * head_lr_factor * 2, "weight_decay": 0.0},
    ]


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) to (B, C, *size), bilinear."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def rescale(x: Tensor, scale: float) -> Tensor:
    """Multiply the sides of (B, C, h, w) by `scale`, bilinear."""
    return x if scale == 1 else resize(x, [max(1, round(side * scale)) for side in x.shape[-2:]])


def nearest(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Return labels (B, H, W) of any type at the centres of a grid of `size` (h, w): (B, h, w).

    The centres are those that `resize` assumes, so that training and inference agree on where a cell lies.
    """
    rows, columns = (
        ((torch.arange(n, device=labels.device) + 0.5) * side / n).long()
        for n, side in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows[:, None], columns]
