"""CAM method `layercam`: LayerCAM (Jiang et al., 2021) on the last features of each branch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.classify.network import PatchClassifier


@torch.no_grad()
def raw_maps(network: PatchClassifier, images: Tensor, labels: Tensor, settings: None) -> Tensor:
    """Return the maps (B, branches, classes, h, w) of normalised images (B, 3, H, W), whatever their labels.

    A map is the sum over the channels of relu(g) A, with A the features and g the gradients of the class's logit. Of a
    linear classifier on averaged features, g is the weight over the number of cells, in every cell.
    """
    features = network.features(images)  # each (B, C, h, w)
    weights = network.classifier.weight.relu().chunk(network.branches, dim=1)  # each (classes, C, 1, 1)
    cells = features[0].shape[2:].numel()
    return torch.stack([F.conv2d(f, w / cells) for f, w in zip(features, weights, strict=True)], dim=1)
