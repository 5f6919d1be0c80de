"""The random walk with AffinityNet's affinities, an entry of `ppl.refine.settings.WALKS`."""

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional as F

from ppl.cam.store import Cam
from ppl.data.batches import PhotoBatch
from ppl.refine.affinitynet import AffinityNet
from ppl.refine.background import with_background
from ppl.refine.feature_walk import propagate_by_features
from ppl.refine.pseudo import WalkedScores
from ppl.refine.settings import AffinityNet as Settings


def walk(network: AffinityNet, batch: PhotoBatch, cams: Sequence[Cam], settings: Settings) -> Iterator[WalkedScores]:
    """Yield each image with its CAM and background after AffinityNet's walk, at stride 8."""
    options = settings.walk
    features = network(network.backbone.prepare(batch.photos)).float()  # (B, F, h8, w8)
    starts = [torch.from_numpy(with_background(cam.maps, options.alpha)).to(features.device) for cam in cams]
    starts = [F.avg_pool2d(start, 2, ceil_mode=True) for start in starts]  # (K + 1, h8, w8)
    walked = propagate_by_features(starts, features, radius=options.radius, beta=options.beta, steps=options.steps)
    for image_id, photo, scores, cam in zip(batch.images, batch.photos, walked, cams, strict=True):
        yield WalkedScores(image_id, photo, scores.cpu().numpy(), tuple(int(c) for c in cam.classes))
