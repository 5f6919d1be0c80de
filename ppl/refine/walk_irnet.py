"""The random walk that stops at IRNet's boundaries, an entry of `ppl.refine.settings.WALKS`."""

from collections.abc import Iterator, Sequence

import torch

from ppl.cam.store import Cam
from ppl.data.batches import PhotoBatch
from ppl.refine.irnet import IRNet, boundary_map
from ppl.refine.pseudo import WalkedScores
from ppl.refine.settings import IRNet as Settings
from ppl.refine.walk import propagate_batch


def walk(network: IRNet, batch: PhotoBatch, cams: Sequence[Cam], settings: Settings) -> Iterator[WalkedScores]:
    """Yield each image with its CAM after the walk, divided by the maximum over all its classes."""
    options = settings.walk
    crop = settings.training.crop if options.pad else 0
    boundaries = boundary_map(network, network.backbone.prepare(batch.photos), crop).float()  # (B, h4, w4)
    of_classes = [i for i, cam in enumerate(cams) if len(cam.maps)]
    maps = [torch.from_numpy(cams[i].maps).to(boundaries.device) for i in of_classes]
    walked = propagate_batch(
        maps, boundaries[of_classes], radius=options.radius, beta=options.beta, steps=options.steps
    )
    of_image = dict(zip(of_classes, walked, strict=True))
    for i, (image_id, photo, cam) in enumerate(zip(batch.images, batch.photos, cams, strict=True)):
        scores = cam.maps
        if i in of_image:
            scores = (of_image[i] / of_image[i].max().clamp_min(1e-5)).cpu().numpy()
        classes = tuple(int(c) for c in cam.classes)
        yield WalkedScores(image_id, photo, scores, classes, threshold=options.background)
