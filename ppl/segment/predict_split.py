"""Write the label maps that a segmentation network predicts for a split, or for a shard of it.

OUT/raw/ID.png are the label maps of the network alone, OUT/crf/ID.png those after a dense CRF.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ppl.crf.dense import Pairwise, Where
from ppl.crf.solvers import choose
from ppl.data.batches import photo_batches
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.devices import Hardware, autocast, inference_device
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import part_of, shard_of
from ppl.networks.backbones import fold_batchnorm
from ppl.segment.build import load
from ppl.segment.deeplab import DeepLab
from ppl.segment.inference import predict_batch
from ppl.segment.postprocess import Crf, Prediction, write_prediction


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    checkpoint: Path
    out: Path
    photo_scales: tuple[float, ...]
    """Factors by which photos are resized for the network, to object sizes as in its training."""
    batch_size: int
    """Photos of equal size in one batch."""
    crf: bool
    """Also write label maps after a dense CRF."""
    iterations: int
    """Iterations of the CRF."""
    pairwise: Pairwise
    hardware: Hardware
    """`workers` run the CRF."""
    crf_on: Where = "cpu"
    shard: str = "1/1"


def main(settings: Settings) -> None:
    dataset, hardware = Dataset.open(settings.data), settings.hardware
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    device = inference_device(hardware)
    network, _ = load(settings.checkpoint, dataset.classes)
    fold_batchnorm(network)
    network = network.to(device, memory_format=torch.channels_last)
    with atomic(settings.out) as folder, autocast(device, hardware.precision):
        for kind in ("raw", "crf") if settings.crf else ("raw",):
            (folder / kind).mkdir(parents=True)
        predicted = predict_all(
            network, dataset, image_ids, settings.batch_size, scales=settings.photo_scales, workers=hardware.workers
        )
        crf, workers = None, 0  # without a CRF, workers have nothing to compute
        if settings.crf:
            solver, workers = choose(settings.crf_on, hardware.workers, device)
            crf = Crf(settings.iterations, settings.pairwise, solver)
        write = partial(write_prediction, folder, crf)
        name = f"predictions, {part_of(settings.split, settings.shard)}"
        for _ in run_all(write, predicted, workers=workers, total=len(image_ids), name=name):
            pass


def predict_all(
    network: DeepLab,
    dataset: Dataset,
    image_ids: Sequence[str],
    batch_size: int,
    *,
    scales: Sequence[float],
    workers: int,
) -> Iterator[Prediction]:
    """Yield the prediction for each image, batch by batch of photos of one size."""
    _, batches = photo_batches(dataset, image_ids, batch_size=batch_size, workers=min(workers, 1))
    for batch in batches:
        yield from predict_batch(network, batch.images, batch.photos, scales)


if __name__ == "__main__":
    command(main, Settings)
