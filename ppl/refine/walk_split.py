"""Write pseudo labels of a split, or of a shard of it, by the random walk that the network of `refine.network` guides.

The module of a network's walk, an entry of `ppl.refine.settings.WALKS` or the user's `own/MODULE` itself, contains,
beside what `ppl.refine.train_refiner` describes:

- the field `walk` of its `Settings`: a `ppl.refine.settings.Walk`, or a subclass with further fields.
- `walk(network, batch, cams, settings) -> Iterator[WalkedScores]`: one `ppl.refine.pseudo.WalkedScores` per image of
  the batch, in its order. `network` is in evaluation mode, `batch` a `ppl.data.batches.PhotoBatch` of photos of one
  size, `cams` their CAMs (`ppl.cam.store.Cam`: maps at stride 4, which may be those of no class), `settings` those of
  the training, with the walk's. `network.backbone.prepare(batch.photos)` returns normalised images (B, 3, h, w) on the
  network's device, `ppl.refine.walk.propagate` walks between boundaries, and `ppl.refine.walk.random_walk` by any
  affinities.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ppl.cam.store import Store, open_store
from ppl.crf.solvers import choose
from ppl.data.batches import PhotoBatch, photo_batches
from ppl.data.dataset import Dataset
from ppl.jobs import slots
from ppl.jobs.command import command
from ppl.jobs.devices import autocast, inference_device
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import part_of, shard_of
from ppl.refine.build import entry_of, load, trained
from ppl.refine.pseudo import WalkedScores, write_label
from ppl.refine.settings import WALKS, Refine


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    cams: tuple[Path, ...]
    network: Path
    """Checkpoint of the refinement network."""
    out: Path
    refine: Refine
    hardware: Hardware
    shard: str = "1/1"


def main(settings: Settings) -> None:
    """Write the pseudo labels OUT/ID.png of a shard; the folder appears when it is complete."""
    dataset, refine, hardware = Dataset.open(settings.data), settings.refine, settings.hardware
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    _, section = entry_of(refine)
    network, content = load(settings.network, network=refine.network)
    _, of_training = entry_of(trained(content["settings"], settings.network))
    device = inference_device(hardware)
    network = network.to(device, memory_format=torch.channels_last)
    computing = autocast(device, hardware.precision)
    with open_store(settings.cams, dataset.classes) as cams, atomic(settings.out) as folder, computing:
        folder.mkdir()
        _, batches = photo_batches(
            dataset, image_ids, batch_size=section.walk.batch_size, workers=min(hardware.workers, 1)
        )
        of_network, of_walk = slots.load(WALKS, refine.network), replace(of_training, walk=section.walk)
        walked = _walk_batches(of_network, network, batches, cams, of_walk)
        solver, workers = choose(hardware, device)
        write = partial(write_label, folder, section.walk, refine.pairwise, solver)
        name = f"random walk, {part_of(settings.split, settings.shard)}"
        for _ in run_all(write, walked, workers=workers, total=len(image_ids), name=name):
            pass


@torch.inference_mode()
def _walk_batches(
    of_network: ModuleType, network: nn.Module, batches: Iterator[PhotoBatch], cams: Store, settings: Any
) -> Iterator[WalkedScores]:
    for batch in batches:
        yield from of_network.walk(network, batch, [cams.read(image_id) for image_id in batch.images], settings)


if __name__ == "__main__":
    command(main, Settings)
