"""CAM method `gradcam_plus_plus`: Grad-CAM++ (Chattopadhay et al., 2018) on the last features of each branch."""

import torch
from torch import Tensor

from ppl.classify.network import PatchClassifier

EPSILON = 1e-6  # not negligible: the gradients of pooled features are of the order of weight / cells


def raw_maps(network: PatchClassifier, images: Tensor, labels: Tensor, settings: None) -> Tensor:
    """Return the maps (B, branches, classes, h, w) of the labels (B, classes) of normalised images (B, 3, H, W).

    Planes of classes that no image of the batch has are 0. A class's score is its logit, the sum over the branches.
    """
    with torch.no_grad():
        features = network.features(images)
    with torch.enable_grad():  # the gradient ends at the features, so that parameters get none
        features = [f.detach().float().requires_grad_() for f in features]  # each (B, C, h, w)
        scores = network.logits(features).sum(dim=(0, 1))  # (classes,), over images, which do not depend on each other
    occurring = labels.any(dim=0).nonzero().flatten().tolist()
    gradients = {c: torch.autograd.grad(scores[c], features, retain_graph=True) for c in occurring}
    with torch.no_grad():
        maps = torch.zeros(len(images), len(features), labels.shape[1], *features[0].shape[2:], device=images.device)
        for c, of_branches in gradients.items():
            for branch, (f, gradient) in enumerate(zip(features, of_branches, strict=True)):
                maps[:, branch, c] = torch.einsum("bk,bkhw->bhw", channel_weights(f, gradient), f)
    return maps


def channel_weights(features: Tensor, gradients: Tensor) -> Tensor:
    """Return the weights (B, C) of channels from features and gradients of a score, both (B, C, h, w).

    The weight of a channel is the sum over its cells of alpha * relu(g), with alpha = g^2 / (2 g^2 + g^3 sum(A)), where
    A are the features of the channel and g their gradients (Equations 11 and 19 of Grad-CAM++). The denominator is
    EPSILON larger, as in pytorch-grad-cam. It may be near 0 for features that are not rectified.
    """
    squares = gradients.square()
    alpha = squares / (2 * squares + squares * gradients * features.sum(dim=(2, 3), keepdim=True) + EPSILON)
    return (alpha * gradients.relu()).sum(dim=(2, 3))
