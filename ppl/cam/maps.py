"""Class activation maps over scales, mirror images and branches (Section III-E, Equation 2)."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.cam import prototypes
from ppl.cam.settings import METHODS, Cam, Fusion, Maps
from ppl.cam.store import STRIDE
from ppl.cam.views import together, views
from ppl.classify.network import PatchClassifier
from ppl.data.crops import label_vectors
from ppl.jobs import slots
from ppl.jobs.errors import UserError

EPSILON = 1e-5

RawMaps = Callable[[PatchClassifier, Tensor, Tensor], Tensor]
"""A CAM method: from a network, normalised images (B, 3, H, W) and their labels (B, classes) bool to the maps
(B, branches, classes, h, w) before ReLU; those of classes that an image does not have are arbitrary. It may use
gradients, but leaves none in parameters."""


def maps_of(
    network: PatchClassifier, photos: np.ndarray, labels: Sequence[Sequence[int]], cam: Cam
) -> list[np.ndarray]:
    """Compute the class activation maps of photos (B, h, w, 3) uint8 for the class ids (1..C) of each.

    Each is (K, ceil(h / 4), ceil(w / 4)) float32 in 0..1, fused over the branches, then refined by `cam.prototypes`.
    """
    raw_maps = partial(slots.load(METHODS, cam.method).raw_maps, settings=slots.settings_of(cam, "method"))
    labelled = label_vectors(labels, network.classifier.out_channels).bool()
    known: dict[float, Tensor] = {}  # scales that maps and prototypes share go through the network once
    of_branches = branch_maps(network, photos, labelled, raw_maps, cam.maps, outputs=known)
    fused = [fuse(m[:, [i - 1 for i in ids]], cam.maps.fusion) for m, ids in zip(of_branches, labels, strict=True)]
    if cam.prototypes.rounds:
        mirror = cam.maps.mirror
        features = prototypes.features_of(network.backbone, photos, cam.prototypes.scales, known, mirror=mirror)
        fused = [prototypes.refine(m, f, cam.prototypes) for m, f in zip(fused, features, strict=True)]
    return [maps.cpu().numpy() for maps in fused]


@torch.inference_mode(False)  # a caller's inference mode would rule out gradients
@torch.no_grad()
def branch_maps(
    network: PatchClassifier,
    photos: np.ndarray,
    labels: Tensor,
    raw_maps: RawMaps,
    settings: Maps,
    *,
    outputs: dict[float, Tensor] | None = None,
) -> Tensor:
    """Compute the maps of each branch by the method `raw_maps`, summed over scales and mirror images.

    photos (B, h, w, 3) uint8, labels (B, classes) bool -> (B, branches, classes, ceil(h / 4), ceil(w / 4)) float32, not
    negative. Each scale of the photo goes through the network, with `mirror` its mirror image beside it, whose map is
    flipped back after ReLU and added. Each rectified map is raised to `cam_exponent` before anything is added:
    AffinityNet uses the root (0.5) for VGG, whose peaks would otherwise dominate.

    `outputs` receives, by scale, the output of `prototypes.STAGE` for all views, where `raw_maps` has computed it.
    """
    images = network.backbone.prepare(photos)  # (B, 3, h, w)
    h, w = images.shape[2:]
    labels = (torch.cat([labels, labels]) if settings.mirror else labels).to(images.device)
    grid = (math.ceil(h / STRIDE), math.ceil(w / STRIDE))
    total = torch.zeros((), device=images.device)
    for scale in settings.scales:
        x = views(images, scale, mirror=settings.mirror)  # (B or 2B, 3, h', w')
        observe = None if outputs is None else partial(_keep, outputs, scale, x)
        with torch.enable_grad():
            raw = raw_maps(network.with_rim(settings.rim, observe), x, labels)
        shape = (len(x), network.branches, network.classifier.out_channels)
        if not isinstance(raw, Tensor) or raw.ndim != 5 or raw.shape[:3] != shape:
            actual = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            what = f"raw_maps returns {actual}, not a tensor (images, branches, classes, h, w) = {(*shape, 'h', 'w')}"
            raise UserError("cam.method", what, "docs/extending.md describes it")
        maps = raw.detach().float().relu()  # (B or 2B, branches, classes, h', w')
        maps = maps if settings.cam_exponent == 1 else maps.pow(settings.cam_exponent)
        maps = together(maps, mirror=settings.mirror)
        maps = F.interpolate(maps.flatten(1, 2), grid, mode="bilinear", align_corners=False)
        total = total + maps.unflatten(1, (network.branches, -1))
    return total


def _keep(outputs: dict[float, Tensor], scale: float, x: Tensor, stage: int, images: Tensor, output: Tensor) -> None:
    """Keep the output of `prototypes.STAGE` for the views `x` of a scale; a method may also process other images."""
    if stage == prototypes.STAGE and images is x:
        outputs[scale] = output.detach()


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
