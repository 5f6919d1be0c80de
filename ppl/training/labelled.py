"""Training of a network on label maps: IRNet and AffinityNet on reliable labels, DeepLab on pseudo labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppl.data.crops import Augmentation, TrainingCrops
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.jobs.devices import Hardware
from ppl.jobs.files import digest_of
from ppl.training.launch import launch
from ppl.training.loop import Loss, train_to_checkpoint
from ppl.training.schedule import Schedule


@dataclass(frozen=True)
class LabelledRun:
    """Inputs and outputs of a training on label maps; the dataset's masks are not read."""

    data: Path
    train_split: str
    labels: tuple[Path, ...]
    """Folders of label maps ID.png, one per shard; together they hold the whole split."""
    out: Path
    log: Path
    code: str
    """Code version, stored in the checkpoint."""
    hardware: Hardware


def train_on_labels(
    run: LabelledRun,
    *,
    name: str,
    kind: str,
    settings: Mapping[str, Any],
    seed: int,
    weights: str,
    build: Callable[[int], nn.Module],
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    loss: Loss,
    augmentation: Augmentation,
    schedule: Callable[[int], Schedule],
) -> None:
    """Train the network that `build` creates for the number of classes, and write its checkpoint of `kind`.

    `name` is the network's name in messages, `seed` that of new layers. `settings` go into the checkpoint; with the
    label maps, the dataset's lists and a file of backbone `weights` they decide whether an interrupted run can be
    resumed. `loss` takes crops (B, 3, H, W) and their labels (B, H, W) uint8, `schedule` the number of photos.
    """
    dataset = Dataset.open(run.data)
    image_ids = dataset.split(run.train_split)
    labels = find_maps(run.labels, image_ids)
    fabric = launch(run.hardware, seed)
    network = build(len(dataset.classes)).to(memory_format=torch.channels_last)
    backbone = network.backbone
    crops = TrainingCrops(dataset.photos(image_ids), labels, augmentation, mean=backbone.mean, std=backbone.std)
    lists = [dataset.root / "classes.txt", dataset.list_of(run.train_split)]
    weight_files = [] if weights in ("imagenet", "none") else [Path(weights)]
    train_to_checkpoint(
        fabric,
        network,
        optimizer(network),
        crops,
        loss,
        schedule(len(crops)),
        name=name,
        out=run.out,
        stored={"kind": kind, "settings": dict(settings), "code": run.code, "classes": list(dataset.classes)},
        digest=digest_of((settings, run.code), *lists, *labels, *weight_files),
        log=run.log,
        workers=run.hardware.workers,
    )
