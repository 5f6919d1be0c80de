"""DeepLab v2: a dilated backbone, atrous spatial pyramid pooling, and the maximum over scales of the input."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppl.networks import backbones
from ppl.networks.backbones import Backbone, scaled_once
from ppl.segment.logits import rescale, resize, segmentation_loss
from ppl.segment.settings import DeepLabV2, Training
from ppl.training.optimizers import Group


class DeepLab(nn.Module):
    """Segmentation network for `classes` foreground classes and background.

    The head sums one dilated 3x3 convolution per rate, in cells of the backbone's last stage (ASPP). The whole network
    processes its input at each of `scales`; the first sets the size of the logits. `aspp_std` is the standard deviation
    of the head's initial weights.
    """

    def __init__(
        self, backbone: Backbone, classes: int, rates: Sequence[int], scales: Sequence[float], aspp_std: float
    ) -> None:
        super().__init__()
        self.backbone, self.scales = backbone, tuple(scales)
        width = backbone.channels[-1]
        self.aspp = nn.ModuleList(nn.Conv2d(width, classes + 1, 3, padding=r, dilation=r) for r in rates)
        for conv in self.aspp:
            nn.init.normal_(conv.weight, std=aspp_std)
            nn.init.zeros_(conv.bias)

    def single_scale(self, x: Tensor) -> Tensor:
        """Return logits (B, C+1, ceil(H/stride), ceil(W/stride)) of normalised images (B, 3, H, W)."""
        features = self.backbone(x)
        return sum(conv(features) for conv in self.aspp)

    def forward(self, x: Tensor) -> list[Tensor] | Tensor:
        """Return logits (B, C+1, h, w) of normalised images (B, 3, H, W), the maximum over the scales.

        In training, a list: the logits of each scale at their own size, and, if there are several, their maximum.
        """
        with scaled_once(self.backbone):
            logits = [self.single_scale(rescale(x, scale)) for scale in self.scales]
        if len(logits) == 1:
            return logits if self.training else logits[0]
        size = logits[0].shape[-2:]
        resized = [logits[0], *(resize(smaller, size) for smaller in logits[1:])]  # each (B, C+1, h, w)
        maximum = torch.stack(resized).amax(dim=0)
        return [*logits, maximum] if self.training else maximum


def build(name: str, settings: DeepLabV2, classes: int, *, weights: str, frozen_stages: int) -> DeepLab:
    """Return a new network; its backbone's stages up to `frozen_stages` and its BatchNorms are not trained."""
    backbone = backbones.build(settings.backbone, weights=weights, output_stride=settings.output_stride, dilated=True)
    network = DeepLab(backbone, classes, settings.rates, settings.scales, settings.aspp_std)
    network.backbone.stages[: frozen_stages + 1].requires_grad_(False)
    backbones.freeze_batchnorm(network.backbone)
    return network


def loss(network: nn.Module, images: Tensor, labels: Tensor, *, exponent: float = 0) -> Tensor:
    """Return the sum of the mean losses of all scales and of their maximum (`segmentation_loss`).

    Labels are resized to the logits of each scale: a small scale learns from the cells that it has.
    """
    return segmentation_loss(network(images), labels, exponent)


def parameter_groups(network: DeepLab, training: Training) -> list[Group]:
    """Return optimiser groups: the backbone at `lr`, ASPP weights at `head_lr_factor` times it, biases at twice that.

    Those biases have no weight decay.
    """
    lr, decay, head_lr = training.lr, training.weight_decay, training.lr * training.head_lr_factor
    weights, biases = [conv.weight for conv in network.aspp], [conv.bias for conv in network.aspp]
    return [
        {"params": list(network.backbone.parameters()), "lr": lr, "weight_decay": decay},
        {"params": weights, "lr": head_lr, "weight_decay": decay},
        {"params": biases, "lr": head_lr * 2, "weight_decay": 0.0},
    ]
