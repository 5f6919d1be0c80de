"""Write pseudo labels of a split, or of a shard of it, by the random walk of one of the refinement networks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppl.cam.store import Cam, Store, open_store
from ppl.crf.dense import Pairwise, Where
from ppl.crf.solvers import choose
from ppl.data.batches import PhotoBatch, photo_batches
from ppl.data.dataset import Dataset
from ppl.jobs.devices import Hardware, autocast, inference_device
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.pseudo import Walk, WalkedScores, write_label


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    network: Path
    """Checkpoint of the refinement network."""
    out: Path
    walk: Walk
    pairwise: Pairwise
    hardware: Hardware
    shard: str = "1/1"
    crf_on: Where = "cpu"


Load = Callable[[Path], tuple[nn.Module, dict[str, Any]]]
"""From the path of a checkpoint to a network in evaluation mode on the CPU, and the checkpoint."""

WalkBatch = Callable[[Any, PhotoBatch, Sequence[Cam], Walk], Iterator[WalkedScores]]
"""From a network, a batch of photos and their CAMs to the scores of each image after the walk."""


def walk_split(settings: Settings, load: Load, walk_batch: WalkBatch) -> None:
    """Write the pseudo labels OUT/ID.png of a shard; the folder appears when it is complete."""
    dataset, hardware = Dataset.open(settings.data), settings.hardware
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    device = inference_device(hardware)
    network = load(settings.network)[0].to(device, memory_format=torch.channels_last)
    computing = autocast(device, hardware.precision)
    with open_store(settings.cams, dataset.classes) as cams, atomic(settings.out) as folder, computing:
        folder.mkdir()
        _, batches = photo_batches(
            dataset, image_ids, batch_size=settings.walk.batch_size, workers=min(hardware.workers, 1)
        )
        walked = _walk_batches(network, batches, cams, settings.walk, walk_batch)
        solver, workers = choose(settings.crf_on, max(1, hardware.workers), device)
        write = partial(write_label, folder, settings.walk, settings.pairwise, solver)
        name = f"random walk, {part_of(settings.split, settings.shard)}"
        for _ in run_all(write, walked, workers=workers, total=len(image_ids), name=name):
            pass


@torch.inference_mode()
def _walk_batches(
    network: nn.Module, batches: Iterator[PhotoBatch], cams: Store, walk: Walk, walk_batch: WalkBatch
) -> Iterator[WalkedScores]:
    for batch in batches:
        yield from walk_batch(network, batch, [cams.read(image_id) for image_id in batch.images], walk)
