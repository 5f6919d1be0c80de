"""What a trained segmentation network says about photos."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ppl.data.crops import normalise
from ppl.segment.deeplab import DeepLab, rescale, resize
from ppl.segment.postprocess import Prediction


def predict_batch(
    network: DeepLab, images: Sequence[str], photos: np.ndarray, scales: Sequence[float]
) -> Iterator[Prediction]:
    """Yields the prediction for each image of a batch of photos (B, h, w, 3) uint8, in evaluation mode."""
    likely = log_probabilities(network, photos, scales)
    for image, photo, scores in zip(images, photos, likely, strict=True):
        labels = resize(scores[None], photo.shape[:2])[0].argmax(dim=0).to(torch.uint8)  # (h, w)
        yield Prediction(image, photo, scores.cpu().numpy(), labels.cpu().numpy())


@torch.inference_mode()
def log_probabilities(network: DeepLab, photos: np.ndarray, scales: Sequence[float]) -> Tensor:
    """Logarithm of class probabilities (B, C+1, h', w') float32, the mean over `scales`, of photos (B, h, w, 3) uint8.

    The network is in evaluation mode; h' and w' are the photos' sides times the largest scale over its output stride,
    rounded up.
    """
    device = next(network.parameters()).device
    images = normalise(photos, network.backbone.mean, network.backbone.std).permute(0, 3, 1, 2)  # (B, 3, h, w)
    images = images.to(device, memory_format=torch.channels_last)
    largest, *smaller = (network(rescale(images, scale)).float() for scale in sorted(scales, reverse=True))
    logits = [largest, *(resize(scores, largest.shape[-2:]) for scores in smaller)]  # each (B, C+1, h', w')
    return torch.stack([scores.log_softmax(dim=1) for scores in logits]).logsumexp(dim=0) - math.log(len(logits))
