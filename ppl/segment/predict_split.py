"""Write the label maps that a segmentation network predicts for a split, or for a shard of it.

OUT/raw/ID.png are the label maps of the network alone, OUT/crf/ID.png those after a dense CRF.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ppl.crf.solvers import THREADS, choose
from ppl.data.batches import PhotoBatch, compute_batches
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.compiled import UNCOMPILED, Compilation, compile_inference
from ppl.jobs.devices import autocast, cast_weights, inference_device
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import chunks_of, part_of, shard_of
from ppl.networks.backbones import fold_batchnorm
from ppl.segment.build import load
from ppl.segment.inference import predict_batch
from ppl.segment.postprocess import Crf, Prediction, write_predictions
from ppl.segment.settings import Segment


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    checkpoint: Path
    out: Path
    segment: Segment = Segment()
    """`prediction` is used; the network is that of the checkpoint."""
    hardware: Hardware = Hardware()
    """`workers` run the CRF; without one, they are threads that write label maps."""
    shard: str = "1/1"


def main(settings: Settings) -> None:
    dataset, hardware, prediction = Dataset.open(settings.data), settings.hardware, settings.segment.prediction
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    device = inference_device(hardware)
    network, _ = load(settings.checkpoint, dataset.classes)
    fold_batchnorm(network)
    cast_weights(network, hardware.precision)
    network = network.to(device, memory_format=torch.channels_last)
    compilation = compile_inference(network.backbone, device, hardware.compile, len(image_ids))
    with atomic(settings.out) as folder, autocast(device, hardware.precision):
        for kind in ("raw", "crf") if prediction.crf else ("raw",):
            (folder / kind).mkdir(parents=True)
        if prediction.crf:
            execution = choose(hardware, device)
            crf = Crf(prediction.iterations, prediction.pairwise, execution.solver)
            writers, threads, photos_at_once = execution.workers, execution.threads, execution.photos_at_once
        else:
            crf, writers, threads, photos_at_once = None, min(hardware.workers, THREADS), True, 1
        # A fast GPU needs several processes that decode; beside CRFs in processes, or on a CPU, one is enough.
        readers = hardware.workers if threads and device.type == "cuda" else min(hardware.workers, 1)
        predicted = predict_all(
            network,
            dataset,
            image_ids,
            prediction.batch_size,
            scales=prediction.photo_scales,
            mirror=prediction.mirror,
            workers=readers,
            compilation=compilation,
        )
        chunks = chunks_of(predicted, photos_at_once)
        written = run_all(
            partial(write_predictions, folder, crf), chunks, workers=writers, threads=threads,
            total=len(image_ids), size=len, name=f"predictions, {part_of(settings.split, settings.shard)}",
        )  # fmt: skip
        for _ in written:
            pass


def predict_all(
    network: nn.Module,
    dataset: Dataset,
    image_ids: Sequence[str],
    batch_size: int,
    *,
    scales: Sequence[float],
    mirror: bool = False,
    workers: int,
    compilation: Compilation = UNCOMPILED,
) -> Iterator[Prediction]:
    """Yield the prediction for each image, batch by batch of photos of one size, which `workers` processes decode."""

    def predictions_of(batch: PhotoBatch) -> list[Prediction]:
        return predict_batch(network, batch.images, batch.photos, scales, mirror=mirror, compilation=compilation)

    alone = bool(compilation.parts)
    computed = compute_batches(
        predictions_of, network, dataset, image_ids, batch_size=batch_size, workers=workers, alone=alone
    )
    for _, predictions in computed:
        yield from predictions


if __name__ == "__main__":
    command(main, Settings)
