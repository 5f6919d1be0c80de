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
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from ppl.cam.store import Cam, Store, open_store
from ppl.cam.threshold import read_threshold
from ppl.crf.solvers import choose
from ppl.data.batches import PhotoBatch, photo_batches
from ppl.data.dataset import Dataset
from ppl.jobs import slots
from ppl.jobs.command import command
from ppl.jobs.devices import autocast, cast_weights, inference_device
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.settings import Hardware
from ppl.jobs.shards import chunks_of, part_of, shard_of
from ppl.refine.build import entry_of, load, trained
from ppl.refine.pseudo import Labelling, WalkedScores, write_labels
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
    threshold: Path | None = None
    """JSON of `ppl.cam.choose_threshold`, which `walk.background: seed` needs."""
    shard: str = "1/1"


def main(settings: Settings) -> None:
    """Write the pseudo labels OUT/ID.png of a shard; the folder appears when it is complete."""
    dataset, refine, hardware = Dataset.open(settings.data), settings.refine, settings.hardware
    image_ids = shard_of(dataset.split(settings.split), settings.shard)
    _, section = entry_of(refine)
    network, content = load(settings.network, network=refine.network)
    _, of_training = entry_of(trained(content["settings"], settings.network))
    device = inference_device(hardware)
    cast_weights(network.backbone, hardware.precision)
    network = network.to(device, memory_format=torch.channels_last)
    computing = autocast(device, hardware.precision)
    with open_store(settings.cams, dataset.classes) as cams, atomic(settings.out) as folder, computing:
        folder.mkdir()
        _, batches = photo_batches(
            dataset, image_ids, batch_size=section.walk.batch_size, workers=min(hardware.workers, 1)
        )
        of_network, of_walk = slots.load(WALKS, refine.network), replace(of_training, walk=section.walk)
        walked = _walk_batches(of_network, network, batches, cams, of_walk)
        execution = choose(hardware, device)
        threshold = read_threshold(settings.threshold) if settings.threshold else None
        write = partial(write_labels, folder, Labelling(refine, section.walk, threshold, execution.solver))
        some = chunks_of(walked, execution.photos_at_once)
        name = f"random walk, {part_of(settings.split, settings.shard)}"
        workers, threads, total = execution.workers, execution.threads, len(image_ids)
        for _ in run_all(write, some, workers=workers, threads=threads, total=total, size=len, name=name):
            pass


@torch.inference_mode()
def _walk_batches(
    of_network: ModuleType, network: nn.Module, batches: Iterator[PhotoBatch], cams: Store, settings: Any
) -> Iterator[tuple[WalkedScores, np.ndarray]]:
    """Yield each image's scores after the walk and the maps (K, h4, w4) of its CAM."""
    for batch in batches:
        of_batch = [cams.read(image_id) for image_id in batch.images]
        walked = of_network.walk(network, batch, of_batch, settings)
        for image_id, cam, scores in zip_longest(batch.images, of_batch, walked):
            if fault := _fault(image_id, cam, scores):
                what = f"walk of {of_network.__name__} yields {fault}"
                raise UserError("refine.network", what, "docs/extending.md describes it")
            yield scores, cam.maps


def _fault(image_id: str | None, cam: Cam | None, walked: WalkedScores | None) -> str | None:
    """Return what is wrong with the scores of an image after the walk; None if nothing is."""
    if walked is None or cam is None or walked.image_id != image_id:
        return f"{walked.image_id if walked else 'nothing'!r} in place of image {image_id!r}"
    planes = len(walked.classes) + (walked.threshold is None)
    if walked.scores.ndim != 3 or len(walked.scores) != planes:
        return f"scores {walked.scores.shape} of {image_id!r}, not of {planes} planes"
    if not set(walked.classes) <= {int(c) for c in cam.classes}:
        return f"classes {tuple(walked.classes)} of {image_id!r}, whose labels are {tuple(map(int, cam.classes))}"
    return None if np.isfinite(walked.scores).all() else f"scores of {image_id!r} that are not finite"


if __name__ == "__main__":
    command(main, Settings)
