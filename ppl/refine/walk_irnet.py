"""Write pseudo labels of a split, or of a shard of it: CAMs after a random walk that stops at IRNet's boundaries."""

from collections.abc import Iterator, Sequence

import torch

from ppl.cam.store import Cam
from ppl.data.batches import PhotoBatch
from ppl.jobs.command import command
from ppl.refine.irnet import IRNet, boundary_map, load
from ppl.refine.pseudo import Walk, WalkedScores
from ppl.refine.walk import propagate
from ppl.refine.walk_split import Settings, walk_split


def main(settings: Settings) -> None:
    walk_split(settings, load, walk_boundaries)


def walk_boundaries(network: IRNet, batch: PhotoBatch, cams: Sequence[Cam], walk: Walk) -> Iterator[WalkedScores]:
    """Yield each image with its CAM after the walk, divided by the maximum over all its classes."""
    boundaries = boundary_map(network, network.backbone.prepare(batch.photos)).float()  # (B, h4, w4)
    for image_id, photo, boundary, cam in zip(batch.images, batch.photos, boundaries, cams, strict=True):
        scores = torch.from_numpy(cam.maps).to(boundary.device)
        if len(scores):
            scores = propagate(scores, boundary, radius=walk.radius, beta=walk.beta, steps=walk.steps)
            scores = scores / scores.max().clamp_min(1e-5)
        yield WalkedScores(image_id, photo, scores.cpu().numpy(), tuple(int(c) for c in cam.classes))


if __name__ == "__main__":
    command(main, Settings)
