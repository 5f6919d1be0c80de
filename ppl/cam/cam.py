"""CAM method `cam`: class activation maps of a linear classifier on pooled features (Equation 2)."""

import torch
from torch import Tensor

from ppl.classify.network import PatchClassifier


@torch.no_grad()
def raw_maps(network: PatchClassifier, images: Tensor, labels: Tensor, settings: None) -> Tensor:
    """Return the maps (B, branches, classes, h, w) of normalised images (B, 3, H, W), whatever their labels."""
    return network.maps(images)
