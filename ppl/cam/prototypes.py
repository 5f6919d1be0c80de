"""Maps that cover whole objects, by prototypes: the mean features of a photo's own objects and of its background.

A classifier needs only the most telling parts of an object, so its maps are high there and low on the rest, which
yet looks alike. In every round the cells of high scores give each class a prototype, the mean direction of their
features, and the cells of low scores give one to the background. The new score of a cell is how much nearer its own
feature is to the prototype of the class than to that of the background. No mask is used, and nothing is trained.
Prototypes of single photos were introduced for training by SIPE (Chen et al., CVPR 2022); as a step after the maps they
are ours.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.cam.settings import Prototypes
from ppl.cam.views import together, views
from ppl.networks.backbones import Backbone

STAGE: Final = 3
"""Stage of the features: the last one tells classes apart, not objects from what surrounds them."""
FEWEST = 4
"""Background cells that a prototype needs; of photos with fewer low scores the lowest count."""
LOWEST = 0.2
"""Share of the cells that are then background."""
EPSILON = 1e-5


@torch.no_grad()
def features_of(
    backbone: Backbone,
    photos: np.ndarray,
    scales: Sequence[float],
    known: Mapping[float, Tensor] = MappingProxyType({}),
    *,
    mirror: bool,
) -> Tensor:
    """Return features of unit length (B, D, h', w') float32 of photos (B, h, w, 3) uint8.

    They are the mean directions over `scales`, on the grid of the largest, and with `mirror` over each photo and its
    mirror image. `known` are outputs of STAGE (B, or with `mirror` 2B, D, h, w), by scale, that need no computation.
    """
    images = backbone.prepare(photos)
    directions: list[Tensor] = []
    for scale in sorted(scales, reverse=True):
        x = known[scale] if scale in known else _output(backbone, views(images, scale, mirror=mirror))
        x = together(x.float(), mirror=mirror)
        if directions:
            x = F.interpolate(x, directions[0].shape[2:], mode="bilinear", align_corners=False)
        directions.append(F.normalize(x, dim=1))
    return F.normalize(sum(directions), dim=1)


def _output(backbone: Backbone, x: Tensor) -> Tensor:
    for stage in backbone.stages[: STAGE + 1]:
        x = stage(x)
    return x


def refine(maps: Tensor, features: Tensor, settings: Prototypes) -> Tensor:
    """Return maps (K, h, w) in 0..1, each with maximum 1 unless it is empty, from the fused maps of a photo's classes.

    maps (K, h, w) in 0..1; features (D, h', w') of unit length. A cell belongs to the class of its highest score if
    that exceeds `object`, to the background if it is at most `background`; in its class's prototype it weighs as much
    as its score. A class without such cells keeps its map.
    """
    if not maps.numel() or not settings.rounds:
        return maps
    with torch.autocast(maps.device.type, enabled=False):
        return _refined(maps, features, settings)


def _refined(maps: Tensor, features: Tensor, settings: Prototypes) -> Tensor:
    grid, size = features.shape[1:], maps.shape[1:]
    start = _scaled(_resize(maps, grid)).flatten(1)  # (K, P)
    cells = features.flatten(1)  # (D, P)
    scores = start
    for _ in range(settings.rounds):
        new = _nearness(scores, cells, settings)
        scores = (1 - settings.cam_share) * new + settings.cam_share * start
    return _scaled(_resize(scores.unflatten(1, grid), size))


def _nearness(scores: Tensor, cells: Tensor, settings: Prototypes) -> Tensor:
    """Return how much nearer cells (D, P) are to the prototypes of classes than to the background's, (K, P) in 0..1."""
    top, strongest = scores.max(dim=0)  # (P,)
    own = F.one_hot(strongest, len(scores)).t().bool() & (top > settings.object)  # (K, P)
    background = top <= settings.background
    background = torch.where(background.sum() < FEWEST, top <= top.quantile(LOWEST), background)
    weights = torch.cat([background[None].to(scores.dtype), scores * own])  # (K + 1, P)
    near = F.normalize(weights @ cells.t(), dim=1) @ cells  # (K + 1, P), cosines
    new = _scaled((near[1:] - near[0]).relu())
    return torch.where(own.any(dim=1, keepdim=True), new, scores)


def _scaled(maps: Tensor) -> Tensor:
    """Divide maps (K, ...) by their maxima."""
    return maps / (maps.flatten(1).amax(dim=1).view(-1, *[1] * (maps.ndim - 1)) + EPSILON)


def _resize(maps: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(maps[None], tuple(size), mode="bilinear", align_corners=False)[0]
