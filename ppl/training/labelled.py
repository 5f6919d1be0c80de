"""Training on label maps: refinement networks on reliable labels, segmentation networks on pseudo labels."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppl.data.crops import Augmentation, TrainingCrops
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import IGNORE, read_mask
from ppl.jobs.errors import UserError
from ppl.jobs.files import digest_of
from ppl.jobs.settings import NetworkDevices
from ppl.training.launch import launch
from ppl.training.loop import Loss, train_to_checkpoint
from ppl.training.optimizers import Group, optimizer
from ppl.training.schedule import Schedule
from ppl.training.settings import Training, weight_files


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
    random_seed: int
    hardware: NetworkDevices


def train_on_labels(
    run: LabelledRun,
    training: Training,
    *,
    name: str,
    kind: str,
    settings: Mapping[str, Any],
    build: Callable[[int], nn.Module],
    groups: Callable[[nn.Module], list[Group]],
    loss: Loss,
    augmentation: Augmentation,
    epochs: int | None = None,
    steps: int | None = None,
) -> None:
    """Train the network that `build` creates for the number of classes, and write its checkpoint of `kind`.

    `name` is the network's name in messages. `settings`, plain values, go into the checkpoint; with the random seed,
    the label maps, the dataset's lists and a file of backbone weights they decide whether an interrupted run can be
    resumed. `groups` returns the optimiser groups of the network, `loss` takes crops (B, 3, H, W) and their labels
    (B, H, W) uint8. The training takes `epochs` passes over the photos, or `steps`.
    """
    dataset = Dataset.open(run.data)
    image_ids = dataset.split(run.train_split)
    labels = find_maps(run.labels, image_ids)
    _check_labelled(name, labels)
    fabric = launch(run.hardware, run.random_seed)
    network = build(len(dataset.classes)).to(memory_format=torch.channels_last)
    of_training = groups(network)
    _check_groups(name, network, of_training)
    backbone = network.backbone
    crops = TrainingCrops(dataset.photos(image_ids), labels, augmentation, mean=backbone.mean, std=backbone.std)
    lists = [dataset.root / "classes.txt", dataset.list_of(run.train_split)]
    stored = {**settings, "random_seed": run.random_seed}
    train_to_checkpoint(
        fabric,
        network,
        optimizer(training.optimizer, of_training, momentum=training.momentum),
        crops,
        loss,
        Schedule.of(training, len(crops), run.random_seed, epochs=epochs, steps=steps),
        name=name,
        out=run.out,
        stored={"kind": kind, "settings": stored, "code": run.code, "classes": list(dataset.classes)},
        digest=digest_of((stored, run.code, run.hardware.precision), *lists, *labels, *weight_files(training)),
        log=run.log,
        workers=run.hardware.workers,
        compile=run.hardware.compile,
    )


def _check_labelled(name: str, labels: Sequence[Path]) -> None:
    """Raise UserError if all pixels of all label maps are ignored; stops at the first that is not."""
    if not any((read_mask(path) != IGNORE).any() for path in labels):
        remedy = "lower refine.labels.margins or refine.reliable, or name fewer variants in refine.labels.agree"
        raise UserError(name, "no pixel of its label maps has a label", remedy)


def _check_groups(name: str, network: nn.Module, groups: Sequence[Group]) -> None:
    """Raise UserError unless optimiser groups hold each trained parameter of a network once."""
    grouped = Counter(id(parameter) for group in groups for parameter in group["params"])
    trained = {parameter: key for key, parameter in network.named_parameters() if parameter.requires_grad}
    if wrong := [key for parameter, key in trained.items() if grouped[id(parameter)] != 1]:
        what = f"parameter_groups names {len(wrong)} trained parameters not once, the first {wrong[0]!r}"
        raise UserError(name, what, "name each once, or set its requires_grad to False")
