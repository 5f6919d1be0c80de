"""Write pseudo labels of a split, or of a shard of it: CAMs after a random walk with AffinityNet's affinities."""

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional as F

from ppl.cam.store import Cam
from ppl.data.batches import PhotoBatch
from ppl.jobs.command import command
from ppl.refine.affinitynet import AffinityNet, load
from ppl.refine.background import with_background
from ppl.refine.feature_walk import propagate_by_features
from ppl.refine.pseudo import Walk, WalkedScores
from ppl.refine.walk_split import Settings, walk_split


def main(settings: Settings) -> None:
    walk_split(settings, load, walk_features)


def walk_features(network: AffinityNet, batch: PhotoBatch, cams: Sequence[Cam], walk: Walk) -> Iterator[WalkedScores]:
    """Yield each image with its CAM and background after AffinityNet's walk, at stride 8."""
    features = network(network.backbone.prepare(batch.photos)).float()  # (B, F, h8, w8)
    for image_id, photo, feature, cam in zip(batch.images, batch.photos, features, cams, strict=True):
        start = torch.from_numpy(with_background(cam.maps, walk.background)).to(feature.device)
        start = F.avg_pool2d(start, 2, ceil_mode=True)  # (K + 1, h8, w8); an odd side ends in half a cell
        scores = propagate_by_features(start, feature, radius=walk.radius, beta=walk.beta, steps=walk.steps)
        classes = tuple(int(c) for c in cam.classes)
        yield WalkedScores(image_id, photo, scores.cpu().numpy(), classes, background=True)


if __name__ == "__main__":
    command(main, Settings)
