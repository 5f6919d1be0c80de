"""AffinityNet (Ahn and Kwak, CVPR 2018): affinities of neighbouring pixels. The paper uses it with VGG16."""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.data.crops import Augmentation
from ppl.networks import backbones
from ppl.networks.backbones import Backbone, scaled_once
from ppl.refine.affinities import affinity_loss
from ppl.refine.settings import AffinityNet as Settings
from ppl.training import optimizers
from ppl.training.label_grids import vote
from ppl.training.optimizers import Group

NAME = "AffinityNet"
STRIDE = 8
WIDTHS, GROUPS = (64, 128, 256), (8, 16, 32)


class AffinityNet(nn.Module):
    """One feature per pixel at stride 8, from the last three stages of a backbone of that output stride.

    The stages 0 to `frozen_stages` of the backbone keep their weights.
    """

    def __init__(self, backbone: Backbone, *, frozen_stages: int) -> None:
        super().__init__()
        self.backbone = backbone
        for stage in backbone.stages[: frozen_stages + 1]:
            stage.requires_grad_(False)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(groups, width), nn.ELU())
            for channels, width, groups in zip(backbone.channels[-3:], WIDTHS, GROUPS, strict=True)
        )
        self.joined = nn.Conv2d(sum(WIDTHS), sum(WIDTHS), 1, bias=False)
        for conv, _, _ in self.heads:
            nn.init.kaiming_normal_(conv.weight)
        nn.init.xavier_uniform_(self.joined.weight, gain=4)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 448, ceil(H / 8), ceil(W / 8)) of normalised RGB (B, 3, H, W)."""
        size = tuple(-(-side // STRIDE) for side in x.shape[-2:])
        with scaled_once(self.backbone):
            features = self.backbone.features(x)[-3:]
        maps = [head(f) for head, f in zip(self.heads, features, strict=True)]
        maps = [m if m.shape[-2:] == size else F.interpolate(m, size, mode="bilinear") for m in maps]
        return F.elu(self.joined(torch.cat(maps, 1)))

    def new_convolutions(self) -> Iterator[nn.Parameter]:
        """Return the weights of the convolutions without ImageNet weights."""
        return chain((conv.weight for conv, _, _ in self.heads), self.joined.parameters())

    def norms(self) -> Iterator[nn.Parameter]:
        """Return the weights and biases of the heads' normalisation."""
        return chain.from_iterable(norm.parameters() for _, norm, _ in self.heads)


def build(settings: Settings, weights: str) -> AffinityNet:
    """Return a new AffinityNet; `weights` of its backbone are imagenet, none, or the path of a state dict."""
    training = settings.training
    backbone = backbones.build(training.backbone, weights=weights, output_stride=STRIDE, dilated=True)
    return AffinityNet(backbone, frozen_stages=training.frozen_stages)


def parameter_groups(network: AffinityNet, settings: Settings) -> list[Group]:
    """Return the optimiser groups: the backbone with the new normalisation, and the new convolutions at their multiple.

    If biases have a rate or a decay of their own, each group is followed by one of its biases.
    """
    training = settings.training
    rates = [
        (1.0, chain(network.backbone.parameters(), network.norms())),
        (training.new_lr_factor, network.new_convolutions()),
    ]
    groups = optimizers.parameter_groups(rates, lr=training.lr, weight_decay=training.weight_decay)
    return optimizers.with_bias_groups(groups, network, lr_factor=training.bias_lr_factor, decay=training.decay_biases)


def augmentation(settings: Settings) -> Augmentation:
    """Return the random changes of training crops."""
    training = settings.training
    return Augmentation(training.crop, scale=training.scale, jitter=training.jitter)


def loss(network: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return the loss of images (B, 3, H, W) with reliable labels (B, H, W), of whose pixels each cell takes a vote."""
    features = network(images).float()
    with torch.autocast(features.device.type, enabled=False):
        return affinity_loss(features, vote(labels, STRIDE), settings.training.radius)
