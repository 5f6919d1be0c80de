"""Write the class activation maps of a split, or of a shard of it, to HDF5."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ppl.cam import store
from ppl.cam.maps import Fusion, branch_maps, fuse
from ppl.cam.store import Cam
from ppl.classify.build import load
from ppl.classify.network import PatchClassifier
from ppl.data.batches import photo_batches
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.devices import Hardware, autocast, inference_device
from ppl.jobs.files import file_digest
from ppl.jobs.progress import progress
from ppl.jobs.shards import part_of, shard_of
from ppl.networks.backbones import fold_batchnorm


@dataclass(frozen=True)
class Cams:
    """Settings of the maps (Section IV-B)."""

    scales: tuple[float, ...]
    """Factors by which photos are resized; each size is also mirrored."""
    fusion: Fusion
    """mean: the branches' normalised maps averaged (the paper); sum: raw maps added, then normalised."""
    power: float
    """Exponent of each rectified map before views are added; 1 as in the paper, 0.5 in AffinityNet for VGG."""
    batch_size: int
    """Photos of equal size in one batch."""


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    classifier: Path
    out: Path
    cams: Cams
    hardware: Hardware
    shard: str = "1/1"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    device = inference_device(settings.hardware)
    network, content = load(settings.classifier, dataset.classes)
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    fold_batchnorm(network)
    network = network.to(device, memory_format=torch.channels_last)
    maps = compute(network, dataset, image_ids, settings.cams, workers=settings.hardware.workers)
    name = f"CAMs, {part_of(settings.split, settings.shard)}"
    with autocast(device, settings.hardware.precision):
        store.write(
            settings.out,
            progress(maps, name=name, unit="image", total=len(image_ids)),
            classes=dataset.classes,
            settings=json.dumps({**dataclasses.asdict(settings.cams), **content["settings"]}, sort_keys=True),
            checkpoint=file_digest(settings.classifier),
        )


def compute(
    network: PatchClassifier, dataset: Dataset, image_ids: Sequence[str], cams: Cams, *, workers: int
) -> Iterator[tuple[str, Cam]]:
    """Yield (image_id, Cam) for the labelled classes of each image, batch by batch."""
    _, batches = photo_batches(dataset, image_ids, batch_size=cams.batch_size, workers=workers)
    for batch in batches:
        maps = branch_maps(network, batch.photos, cams.scales, power=cams.power)  # (B, branches, classes, h4, w4)
        for image_id, of_image in zip(batch.images, maps, strict=True):
            labels = dataset.labels_of(image_id)
            fused = fuse(of_image[:, [i - 1 for i in labels]], cams.fusion)
            yield image_id, Cam(fused.cpu().numpy(), labels, batch.photos.shape[1:3])


if __name__ == "__main__":
    command(main, Settings)
