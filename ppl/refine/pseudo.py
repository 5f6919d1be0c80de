"""Pseudo labels: the CAMs of a split, or of a shard of it, spread by random walk, along IRNet's boundaries or between
pixels that AffinityNet takes for alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional as F

from ppl.cam.store import Store, open_store
from ppl.crf.dense import Pairwise, Where
from ppl.crf.solvers import choose
from ppl.data.batches import photo_batches
from ppl.data.crops import normalise
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.devices import Hardware, autocast, inference_device
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import part_of, shard_of
from ppl.refine import build as checkpoint
from ppl.refine.affinitynet import AffinityNet
from ppl.refine.irnet import IRNet, boundary_map
from ppl.refine.reliable import with_background
from ppl.refine.walk import propagate, propagate_by_features
from ppl.refine.walked import Spread, Walk, write_label


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    network: Path
    """Checkpoint of IRNet or AffinityNet."""
    kind: Literal["irnet", "affinitynet"]
    out: Path
    walk: Walk
    pairwise: Pairwise
    hardware: Hardware
    shard: str = "1/1"
    crf_on: Where = "cpu"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    images = shard_of(dataset.split(settings.split), settings.shard)
    device = inference_device(settings.hardware)
    load = checkpoint.load if settings.kind == "irnet" else checkpoint.load_affinitynet
    network = load(settings.network)[0].to(device, memory_format=torch.channels_last)
    walk_all = walk_boundaries if settings.kind == "irnet" else walk_features
    computing = autocast(device, settings.hardware.precision)
    with open_store(settings.cams, dataset.classes) as cams, atomic(settings.out) as folder, computing:
        folder.mkdir()
        spread = walk_all(network, dataset, images, cams, settings.walk, workers=settings.hardware.workers)
        solver, workers = choose(settings.crf_on, max(1, settings.hardware.workers), device)
        write = partial(write_label, folder, settings.walk, settings.pairwise, solver)
        name = f"random walk, {part_of(settings.split, settings.shard)}"
        for _ in run_all(write, spread, workers=workers, total=len(images), name=name):
            pass
        written = sum(1 for _ in folder.iterdir())
        if written != len(images):
            raise UserError(
                settings.out, f"{written} labels for {len(images)} images", "the split names an image twice"
            )


@torch.inference_mode()
def walk_boundaries(
    network: IRNet, dataset: Dataset, images: Sequence[str], cams: Store, walk: Walk, *, workers: int
) -> Iterator[Spread]:
    """Yields each image with its CAM after the walk, divided by the maximum over all its classes."""
    device = network.mean_shift.device
    _, batches = photo_batches(dataset, images, batch_size=walk.batch_size, workers=min(workers, 1))
    for batch in batches:
        photos = normalise(batch.photos, network.backbone.mean, network.backbone.std).permute(0, 3, 1, 2).to(device)
        boundaries = boundary_map(network, photos).float()  # (B, h4, w4)
        for image, photo, boundary in zip(batch.images, batch.photos, boundaries, strict=True):
            cam = cams.read(image)
            scores = torch.from_numpy(cam.maps).to(device)
            if len(scores):
                scores = propagate(scores, boundary, radius=walk.radius, beta=walk.beta, steps=walk.steps)
                scores = scores / scores.max().clamp_min(1e-5)
            yield Spread(image, photo, scores.cpu().numpy(), tuple(int(c) for c in cam.classes))


@torch.inference_mode()
def walk_features(
    network: AffinityNet, dataset: Dataset, images: Sequence[str], cams: Store, walk: Walk, *, workers: int
) -> Iterator[Spread]:
    """Yields each image with its CAM and background after AffinityNet's walk, at stride 8."""
    device = next(network.parameters()).device
    _, batches = photo_batches(dataset, images, batch_size=walk.batch_size, workers=min(workers, 1))
    for batch in batches:
        photos = normalise(batch.photos, network.backbone.mean, network.backbone.std).permute(0, 3, 1, 2).to(device)
        features = network(photos).float()  # (B, F, h8, w8)
        for image, photo, feature in zip(batch.images, batch.photos, features, strict=True):
            cam = cams.read(image)
            start = torch.from_numpy(with_background(cam.maps, walk.background)).to(device)
            start = F.avg_pool2d(start, 2, ceil_mode=True)  # (K + 1, h8, w8); of an odd side's end what there is
            scores = propagate_by_features(start, feature, radius=walk.radius, beta=walk.beta, steps=walk.steps)
            yield Spread(image, photo, scores.cpu().numpy(), tuple(int(c) for c in cam.classes), background=True)


if __name__ == "__main__":
    command(main, Settings)
