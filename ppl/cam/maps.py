"""Class activation maps over scales, flips and branches (Section III-E, Equation 2)."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.cam.store import STRIDE
from ppl.classify.network import PatchClassifier

EPSILON = 1e-5

Fusion = Literal["mean", "sum"]


@torch.inference_mode()
def branch_maps(network: PatchClassifier, photos: np.ndarray, scales: Sequence[float], *, power: float = 1) -> Tensor:
    """Compute the raw maps of each branch, summed over scales and flips.

    photos (B, h, w, 3) uint8 -> (B, branches, classes, ceil(h / 4), ceil(w / 4)) float32, not negative. At each scale
    the photo and its mirror image go through the network together; after ReLU the mirrored map is flipped back and
    added. Each rectified map is raised to `power` before anything is added: AffinityNet uses the root (0.5) for VGG,
    whose peaks would otherwise dominate.
    """
    images = network.backbone.prepare(photos)  # (B, 3, h, w)
    b, _, h, w = images.shape
    grid = (math.ceil(h / STRIDE), math.ceil(w / STRIDE))
    total = torch.zeros((), device=images.device)
    for scale in scales:
        x = images
        if scale != 1:
            size = (max(1, round(h * scale)), max(1, round(w * scale)))
            x = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        x = torch.cat([x, x.flip(3)]).contiguous(memory_format=torch.channels_last)  # (2B, 3, h', w')
        maps = network.maps(x).float().relu()  # (2B, branches, classes, h', w')
        maps = maps if power == 1 else maps.pow(power)
        maps = maps[:b] + maps[b:].flip(4)
        maps = F.interpolate(maps.flatten(1, 2), grid, mode="bilinear", align_corners=False)
        total = total + maps.unflatten(1, (network.branches, -1))
    return total


def fuse(maps: Tensor, fusion: Fusion) -> Tensor:
    """Fuse the maps of the branches into one per class in 0..1: (branches, K, h, w) -> (K, h, w).

    `mean` (the paper): each branch's map is divided by its maximum per class, then averaged. `sum`: the raw maps are
    added, then divided by the maximum, so that a branch counts as much as it contributes to the score.
    """
    if fusion == "sum":
        maps = maps.sum(dim=0, keepdim=True)
    if not maps.numel():
        return maps.mean(dim=0)
    return (maps / (maps.amax(dim=(2, 3), keepdim=True) + EPSILON)).mean(dim=0)
