"""Write the class activation maps of a split, or of a shard of it, to HDF5."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ppl.cam import store
from ppl.cam.maps import maps_of
from ppl.cam.settings import METHODS, Cam
from ppl.classify.build import load
from ppl.classify.network import PatchClassifier
from ppl.data.batches import PhotoBatch, compute_batches
from ppl.data.dataset import Dataset
from ppl.jobs import slots
from ppl.jobs.command import command
from ppl.jobs.compiled import UNCOMPILED, Compilation, compile_inference
from ppl.jobs.devices import autocast, cast_weights, inference_device
from ppl.jobs.files import file_digest
from ppl.jobs.progress import progress
from ppl.jobs.settings import NetworkDevices
from ppl.jobs.shards import part_of, shard_of
from ppl.networks.backbones import fold_batchnorm


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    classifier: Path
    out: Path
    cam: Cam = Cam()
    hardware: NetworkDevices = NetworkDevices()
    shard: str = "1/1"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    device = inference_device(settings.hardware)
    network, content = load(settings.classifier, dataset.classes)
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    fold_batchnorm(network)
    cast_weights(network.backbone, settings.hardware.precision)
    network = network.to(device, memory_format=torch.channels_last)
    compilation = compile_inference(network.backbone, device, settings.hardware.compile, len(image_ids))
    maps = compute(
        network, dataset, image_ids, settings.cam, workers=settings.hardware.workers, compilation=compilation
    )
    name = f"CAMs, {part_of(settings.split, settings.shard)}"
    with autocast(device, settings.hardware.precision):
        store.write(
            settings.out,
            progress(maps, name=name, unit="image", total=len(image_ids)),
            classes=dataset.classes,
            settings=json.dumps({"cam": _stored(settings.cam), **content["settings"]}, sort_keys=True),
            checkpoint=file_digest(settings.classifier),
        )


def compute(
    network: PatchClassifier,
    dataset: Dataset,
    image_ids: Sequence[str],
    cam: Cam,
    *,
    workers: int,
    compilation: Compilation = UNCOMPILED,
) -> Iterator[tuple[str, store.Cam]]:
    """Yield (image_id, Cam) for the labelled classes of each image, batch by batch."""

    def cams_of(batch: PhotoBatch) -> list[store.Cam]:
        labels = [dataset.labels_of(image_id) for image_id in batch.images]
        maps = compilation.run(partial(maps_of, network, batch.photos, labels, cam))  # each (K, h4, w4)
        return [store.Cam(of_image, ids, batch.photos.shape[1:3]) for of_image, ids in zip(maps, labels, strict=True)]

    alone = bool(compilation.parts) or cam.method not in METHODS
    computed = compute_batches(
        cams_of, network, dataset, image_ids, batch_size=cam.maps.batch_size, workers=workers, alone=alone
    )
    for batch, cams in computed:
        yield from zip(batch.images, cams, strict=True)


def _stored(cam: Cam) -> dict[str, Any]:
    """Return the settings that decide the maps: seeds are cut from them later."""
    return {key: value for key, value in slots.used(cam).items() if key != "threshold"}


if __name__ == "__main__":
    command(main, Settings)
