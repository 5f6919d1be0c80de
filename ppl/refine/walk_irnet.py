"""The random walk that stops at IRNet's boundaries, an entry of `ppl.refine.settings.WALKS`."""

from collections.abc import Iterator, Sequence

import torch

from ppl.cam.store import Cam
from ppl.data.batches import PhotoBatch
from ppl.refine.irnet import IRNet, boundary_map
from ppl.refine.pseudo import WalkedScores
from ppl.refine.settings import IRNet as Settings
from ppl.refine.walk import propagate


def walk(network: IRNet, batch: PhotoBatch, cams: Sequence[Cam], settings: Settings) -> Iterator[WalkedScores]:
    """Yield each image with its CAM after the walk, divided by the maximum over all its classes."""
    options = settings.walk
    crop = settings.training.crop if options.pad else 0
    boundaries = boundary_map(network, network.backbone.prepare(batch.photos), crop).float()  # (B, h4, w4)
    for image_id, photo, boundary, cam in zip(batch.images, batch.photos, boundaries, cams, strict=True):
        scores = torch.from_numpy(cam.maps).to(boundary.device)
        if len(scores):
            scores = propagate(scores, boundary, radius=options.radius, beta=options.beta, steps=options.steps)
            scores = scores / scores.max().clamp_min(1e-5)
        classes = tuple(int(c) for c in cam.classes)
        yield WalkedScores(image_id, photo, scores.cpu().numpy(), classes, threshold=options.background)
