"""Inference with a trained segmentation network."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ppl.jobs.compiled import UNCOMPILED, Compilation
from ppl.jobs.errors import UserError
from ppl.segment.logits import rescale, resize
from ppl.segment.postprocess import Prediction


def predict_batch(
    network: nn.Module,
    image_ids: Sequence[str],
    photos: np.ndarray,
    scales: Sequence[float],
    *,
    mirror: bool = False,
    compilation: Compilation = UNCOMPILED,
) -> list[Prediction]:
    """Return the prediction for each image of a batch of photos (B, h, w, 3) uint8, in evaluation mode."""
    batch_scores = compilation.run(partial(log_probabilities, network, photos, scales, mirror=mirror))
    predictions = []
    for image_id, photo, scores in zip(image_ids, photos, batch_scores, strict=True):
        if not scores.isfinite().all():
            what = f"its scores of {image_id!r} are not finite"
            raise UserError("segmentation network", what, "train again with a lower lr, or use precision 32-true")
        labels = resize(scores[None], photo.shape[:2])[0].argmax(dim=0).to(torch.uint8)  # (h, w)
        predictions.append(Prediction(image_id, photo, scores.cpu().numpy(), labels.cpu().numpy()))
    return predictions


@torch.inference_mode()
def log_probabilities(
    network: nn.Module, photos: np.ndarray, scales: Sequence[float], *, mirror: bool = False
) -> Tensor:
    """Return the logarithm of class probabilities (B, C+1, h', w') float32 of photos (B, h, w, 3) uint8.

    The probabilities are the mean over `scales`, with `mirror` also over each photo and its mirror image. The network
    is in evaluation mode; h' and w' are the photos' sides times the largest scale over the stride of its logits,
    rounded up.
    """
    images = network.backbone.prepare(photos)  # (B, 3, h, w)
    views = (images, images.flip(3)) if mirror else (images,)
    logits: list[Tensor] = []  # each (B, C+1, h', w')
    for scale in sorted(scales, reverse=True):
        for view, flipped in zip(views, (False, True), strict=False):
            scores = network(rescale(view, scale)).float()
            scores = scores.flip(3) if flipped else scores
            logits.append(resize(scores, logits[0].shape[2:]) if logits else scores)
    return torch.stack([scores.log_softmax(dim=1) for scores in logits]).logsumexp(dim=0) - math.log(len(logits))
