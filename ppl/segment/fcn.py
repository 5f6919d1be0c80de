"""FCN (Long, Shelhamer and Darrell, CVPR 2015): scores of several stages of a backbone, added at the finest of them."""

import torch
from torch import Tensor, nn

from ppl.networks import backbones
from ppl.networks.backbones import STRIDES, Backbone
from ppl.segment.logits import resize, segmentation_loss
from ppl.segment.settings import Fcn as Settings
from ppl.segment.settings import Training
from ppl.training import optimizers
from ppl.training.optimizers import Group


class Fcn(nn.Module):
    """Segmentation network for `classes` foreground classes and background, on a backbone of output stride 32.

    A 1x1 convolution scores each stage from the one at `output_stride` (8: FCN-8s, 16: FCN-16s, 32: FCN-32s) to the
    last.
    """

    def __init__(self, backbone: Backbone, classes: int, output_stride: int) -> None:
        super().__init__()
        self.backbone, self.first = backbone, 1 + STRIDES.index(output_stride)
        self.scores = nn.ModuleList(nn.Conv2d(width, classes + 1, 1) for width in backbone.channels[self.first :])
        for conv in self.scores:
            nn.init.normal_(conv.weight, std=0.001)  # small logits: large ones would damage the backbone at first
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C+1, ceil(H / stride), ceil(W / stride)) of normalised images (B, 3, H, W)."""
        maps = [score(f) for score, f in zip(self.scores, self.backbone.features(x)[self.first :], strict=True)]
        return torch.stack([resize(coarse, maps[0].shape[-2:]) for coarse in maps]).sum(dim=0)


def build(name: str, settings: Settings, classes: int, *, weights: str, frozen_stages: int) -> Fcn:
    """Return a new network; its backbone's stages up to `frozen_stages` are not trained."""
    backbone = backbones.build(settings.backbone, weights=weights, output_stride=32)
    backbone.stages[: frozen_stages + 1].requires_grad_(False)
    return Fcn(backbone, classes, settings.output_stride)


def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of images (B, 3, H, W) with labels (B, H, W)."""
    return segmentation_loss([network(images)], labels)


def parameter_groups(network: Fcn, training: Training) -> list[Group]:
    """Return optimiser groups: the backbone at `lr`, the new layers at `head_lr_factor` times it."""
    rated = [(1.0, network.backbone.parameters()), (training.head_lr_factor, network.scores.parameters())]
    return optimizers.parameter_groups(rated, lr=training.lr, weight_decay=training.weight_decay)
