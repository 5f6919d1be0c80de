"""AffinityNet (Ahn and Kwak, CVPR 2018): affinities of neighbouring pixels. The paper uses it with VGG16."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ppl.data.masks import IGNORE
from ppl.networks import backbones, checkpoints
from ppl.networks.backbones import Backbone
from ppl.refine.lines import Offset, lines_within
from ppl.training.batch_means import mean_count

KIND = "affinitynet"
STRIDE = 8
WIDTHS, GROUPS = (64, 128, 256), (8, 16, 32)
EPSILON = 1e-5


class AffinityNet(nn.Module):
    """One feature per pixel at stride 8, from the last three stages of a backbone of that output stride.

    The affinity of two pixels is exp(-mean of |f_i - f_j|). Stages below `trained_from` keep their weights.
    """

    def __init__(self, backbone: Backbone, *, trained_from: int = 0) -> None:
        super().__init__()
        self.backbone, self.trained_from = backbone, trained_from
        for stage in backbone.stages[:trained_from]:
            stage.requires_grad_(False)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(groups, width), nn.ELU())
            for channels, width, groups in zip(backbone.channels[-3:], WIDTHS, GROUPS, strict=True)
        )
        self.joined = nn.Conv2d(sum(WIDTHS), sum(WIDTHS), 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 448, ceil(H / 8), ceil(W / 8)) of normalised RGB (B, 3, H, W)."""
        size = tuple(-(-side // STRIDE) for side in x.shape[-2:])
        maps = [head(f) for head, f in zip(self.heads, self.backbone.features(x)[-3:], strict=True)]
        maps = [m if m.shape[-2:] == size else F.interpolate(m, size, mode="bilinear") for m in maps]
        return F.elu(self.joined(torch.cat(maps, 1)))

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters without ImageNet weights."""
        return chain(self.heads.parameters(), self.joined.parameters())


@dataclass(frozen=True)
class Architecture:
    """The settings that decide the shape of an AffinityNet; part of its checkpoint's settings."""

    backbone: str
    trained_from: int


def build(architecture: Architecture, *, weights: str) -> AffinityNet:
    """Return a new AffinityNet; `weights` of its backbone are imagenet, none, or the path of a state dict."""
    backbone = backbones.build(architecture.backbone, weights=weights, output_stride=STRIDE, dilated=True)
    return AffinityNet(backbone, trained_from=architecture.trained_from)


def load(path: Path, classes: Sequence[str] | None = None) -> tuple[AffinityNet, dict[str, Any]]:
    """Return a trained AffinityNet and its checkpoint, as `checkpoints.load` does."""
    return checkpoints.load(
        path,
        KIND,
        lambda settings: checkpoints.typed(Architecture, settings, exact=False),
        lambda architecture, _: build(architecture, weights="none"),
        classes,
    )


def pair_affinity(features: Tensor, offset: Offset) -> Tensor:
    """Return the affinities (..., h - dy, w - |dx|) of all pairs at an offset (dy, dx), dy >= 0.

    features (..., C, h, w).
    """
    source, target = pairs_at(features, offset)
    return torch.exp(-(source - target).abs().mean(dim=-3))


def pairs_at(values: Tensor, offset: Offset) -> tuple[Tensor, Tensor]:
    """Return the values (..., h, w) at both ends of every pair at an offset (dy, dx), dy >= 0.

    The result is (..., h - dy, w - |dx|) twice.
    """
    dy, dx = offset
    h, w = values.shape[-2:]
    height, width = max(0, h - dy), max(0, w - abs(dx))
    left, right = max(0, -dx), max(0, dx)
    source = values[..., :height, left : left + width]
    return source, values[..., dy : dy + height, right : right + width]


def affinitynet_loss(network: nn.Module, photos: Tensor, labels: Tensor, radius: int) -> Tensor:
    """Return the loss of photos (B, 3, H, W) with reliable labels (B, H, W), taken at stride 8 (nearest neighbour)."""
    features = network(photos).float()
    with torch.autocast(features.device.type, enabled=False):
        return affinity_loss(features, labels[:, ::STRIDE, ::STRIDE], radius)


def affinity_loss(features: Tensor, labels: Tensor, radius: int) -> Tensor:
    """Return bg / 4 + fg / 4 + neg / 2, each the mean over its pairs of pixels nearer than `radius` to each other.

    bg and fg: pairs of equal labels, 0 and above, with -log(a + 1e-5); neg: pairs of different labels, with
    -log(1 + 1e-5 - a). Pairs with a label 255 are ignored, the mean of a kind without pairs is zero.
    Offsets are processed one at a time.

    features (B, C, h, w), labels (B, h, w) integers.
    """
    sums, counts = features.new_zeros(3), features.new_zeros(3)
    for offset, _ in lines_within(radius):
        source, target = pairs_at(labels, offset)
        if not source.numel():
            continue
        valid, equal = (source != IGNORE) & (target != IGNORE), source == target
        kinds = torch.stack((valid & equal & (source == 0), valid & equal & (source > 0), valid & ~equal)).flatten(1)
        # Recomputed in the backward pass: the differences of all offsets would take 448 channels each.
        affinity = checkpoint(pair_affinity, features, offset, use_reentrant=False, preserve_rng_state=False).flatten()
        together, apart = -torch.log(affinity + EPSILON), -torch.log(1 + EPSILON - affinity)
        kinds = kinds.to(features.dtype)
        sums = sums + torch.stack((kinds[0] @ together, kinds[1] @ together, kinds[2] @ apart))
        counts = counts + kinds.sum(1)
    counts = mean_count(counts)
    bg, fg, neg = sums / torch.where(counts > 0, counts, 1)
    return bg / 4 + fg / 4 + neg / 2
