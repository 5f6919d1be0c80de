"""Network `edges`: a convolution on early features predicts where labels change, by a class-balanced cross-entropy.

The loss is that of HED (Xie and Tu, ICCV 2015): edges, which are few, count as much as all other cells.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.data.crops import Augmentation
from ppl.data.masks import IGNORE
from ppl.networks import backbones
from ppl.networks.backbones import Backbone
from ppl.refine.settings import Edges as Settings
from ppl.training import optimizers
from ppl.training.batch_means import mean_count
from ppl.training.optimizers import Group

NAME = "Edges"
STRIDE = 4


class Edges(nn.Module):
    """Edge logits at stride 4, from stages 0 and 1 of a backbone; its other stages are not used."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.backbone.stages[2:].requires_grad_(False)
        self.edge = nn.Conv2d(backbone.channels[1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return edge logits (B, ceil(H / 4), ceil(W / 4)) of normalised images (B, 3, H, W)."""
        for stage in self.backbone.stages[:2]:
            x = stage(x)
        return self.edge(x).squeeze(1)


def build(settings: Settings, weights: str) -> Edges:
    """Return a new network; `weights` of its backbone are imagenet, none, or the path of a state dict."""
    return Edges(backbones.build(settings.training.backbone, weights=weights))


def parameter_groups(network: Edges, settings: Settings) -> list[Group]:
    """Return the optimiser groups of the backbone and of the new layer."""
    training = settings.training
    rates = [(1.0, network.backbone.parameters()), (training.new_lr_factor, network.edge.parameters())]
    return optimizers.parameter_groups(rates, lr=training.lr, weight_decay=training.weight_decay)


def augmentation(settings: Settings) -> Augmentation:
    """Return the random changes of training crops."""
    return Augmentation(settings.training.crop, scale=settings.training.scale)


def loss(network: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return the loss of images (B, 3, H, W) with reliable labels (B, H, W), taken at stride 4 (nearest neighbour)."""
    return balanced_loss(network(images).float(), *edges_of(labels[:, ::STRIDE, ::STRIDE]))


def edges_of(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return where labels (B, h, w) differ within 3x3 cells, and where none of these is ignored: (B, h, w) bool."""
    labels = labels.float()
    highest, lowest = F.max_pool2d(labels, 3, 1, 1), -F.max_pool2d(-labels, 3, 1, 1)
    return highest > lowest, highest < IGNORE


def balanced_loss(logits: Tensor, edge: Tensor, valid: Tensor) -> Tensor:
    """Return half the mean cross-entropy of edges and half that of other cells, of logits (B, h, w)."""
    losses = F.binary_cross_entropy_with_logits(logits, edge.float(), reduction="none")
    total = losses.new_zeros(())
    for kind in (edge & valid, ~edge & valid):
        count = mean_count(kind.sum())
        total = total + (losses * kind).sum() / (2 * torch.where(count > 0, count, 1))
    return total
