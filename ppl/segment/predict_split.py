"""Write the label maps that a segmentation network predicts for a split, or for a shard of it.

OUT/raw/ID.png are the label maps of the network alone, OUT/crf/ID.png those after a dense CRF.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ppl.crf.dense import on_cpu
from ppl.crf.solvers import THREADS, Execution, choose
from ppl.data.batches import PhotoBatch, photo_batches
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.compiled import UNCOMPILED, Compilation, compile_inference
from ppl.jobs.devices import autocast, cast_weights, inference_device
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import chunks_of, part_of, shard_of
from ppl.jobs.threads import side_by_side, threads_for
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
        crf, execution = None, Execution(on_cpu, min(hardware.workers, THREADS), threads=True)  # of the PNGs
        if prediction.crf:
            execution = choose(hardware, device)
            crf = Crf(prediction.iterations, prediction.pairwise, execution.solver)
        # A fast GPU needs several processes that decode; beside CRFs in processes, or on a CPU, one is enough.
        readers = hardware.workers if execution.threads and device.type == "cuda" else min(hardware.workers, 1)
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
        write, some = partial(write_predictions, folder, crf), chunks_of(predicted, execution.photos_at_once)
        workers, threads, total = execution.workers, execution.threads, len(image_ids)
        name = f"predictions, {part_of(settings.split, settings.shard)}"
        for _ in run_all(write, some, workers=workers, threads=threads, total=total, size=len, name=name):
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

    threads = 1 if compilation.parts else threads_for(network, batch_size)
    _, batches = photo_batches(dataset, image_ids, batch_size=batch_size // threads, workers=workers)
    for _, predictions in side_by_side(predictions_of, batches, threads):
        yield from predictions


if __name__ == "__main__":
    command(main, Settings)
