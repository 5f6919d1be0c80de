"""CAM method `scorecam`: Score-CAM (Wang et al., 2020) on the last features of each branch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.cam.settings import ScoreCam
from ppl.classify.network import PatchClassifier

MASKED_PIXELS = 2**20  # of the masked images that go through the network together; bounds memory
EPSILON = 1e-8  # least range of a channel's values


@torch.no_grad()
def raw_maps(network: PatchClassifier, images: Tensor, labels: Tensor, settings: ScoreCam) -> Tensor:
    """Return the maps (B, branches, classes, h, w) of normalised images (B, 3, H, W) with labels (B, classes).

    The weight of a channel is the softmax over the channels of its branch of the class's logit for the image that the
    channel masks. Maps of an image without labels are 0.
    """
    branches = [f.float() for f in network.features(images)]  # each (B, C, h, w)
    maps = torch.zeros(len(images), len(branches), labels.shape[1], *branches[0].shape[2:], device=images.device)
    for i in labels.any(dim=1).nonzero().flatten().tolist():
        for branch, features in enumerate(branches):
            channels = strongest_channels(features[i], settings.channels)  # (K, h, w)
            weights = masked_scores(network, images[i : i + 1], channels).softmax(dim=0)  # (K, classes)
            maps[i, branch] = torch.einsum("kc,khw->chw", weights, channels)
    return maps


def strongest_channels(features: Tensor, count: int) -> Tensor:
    """Return the `count` channels of the largest standard deviation of features (C, h, w); 0: all."""
    if not 0 < count < len(features):
        return features
    deviations = features.flatten(1).std(dim=1, correction=0)
    return features[deviations.topk(count).indices]


def masked_scores(network: PatchClassifier, image: Tensor, channels: Tensor) -> Tensor:
    """Return the logits (K, classes) of a normalised image (1, 3, H, W) masked by each of the channels (K, h, w).

    A mask is the channel enlarged to the image (corners aligned, as in pytorch-grad-cam), scaled to 0..1; where it is 0
    the image has the mean colour.
    """
    size = image.shape[2:]
    scores = []
    for some in channels.split(max(1, MASKED_PIXELS // size.numel())):
        masks = F.interpolate(some[:, None], size, mode="bilinear", align_corners=True)  # (k, 1, H, W)
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        masked = image * ((masks - low) / (high - low).clamp(min=EPSILON))  # (k, 3, H, W)
        scores.append(network(masked.contiguous(memory_format=torch.channels_last)).float().sum(dim=1))
    return torch.cat(scores)
