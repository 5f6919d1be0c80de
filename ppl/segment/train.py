"""Trains DeepLab v2 from photos and pseudo labels; opens no mask of the dataset."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from ppl.data.crops import Augmentation, Views
from ppl.data.dataset import LISTS, Dataset
from ppl.data.label_maps import find_maps
from ppl.jobs.command import command
from ppl.jobs.devices import Hardware
from ppl.jobs.files import digest_of
from ppl.segment import build as checkpoint
from ppl.segment.build import Architecture
from ppl.segment.deeplab import DeepLab, parameter_groups, segmentation_loss
from ppl.training import loop as engine
from ppl.training.loop import Schedule


@dataclass(frozen=True)
class Training:
    """How the segmentation network is trained (Section III-F; the recipe of DeepLab v2)."""

    weights: str
    """Backbone weights: imagenet, none, or the path of a state dict."""
    trained_from: int
    """First stage of the backbone that is trained, 0 the stem; those before it keep `weights`."""
    steps: int
    batch_size: int
    optimizer: Literal["sgd", "adamw"]
    lr: float
    head_lr_factor: float
    """Learning rate of the ASPP weights, as a multiple of `lr`; their biases have twice that and no decay."""
    momentum: float
    """Of SGD; AdamW has its own."""
    weight_decay: float
    power: float
    """Exponent of the poly schedule."""
    crop: int
    scale: tuple[float, float]
    """Range of the random rescaling, a factor."""
    seed: int


@dataclass(frozen=True)
class Settings:
    """One training: inputs, outputs, and how."""

    data: Path
    train_split: str
    labels: tuple[Path, ...]
    """Folders of pseudo labels ID.png, one per shard; together they hold the whole split."""
    out: Path
    log: Path
    code: str
    """Code version, kept in the checkpoint."""
    architecture: Architecture
    training: Training
    hardware: Hardware


def main(settings: Settings) -> None:
    dataset, training = Dataset.open(settings.data), settings.training
    images = dataset.split(settings.train_split)
    labels = find_maps(settings.labels, images)
    fabric = engine.launch(settings.hardware, training.seed)
    network = checkpoint.build(len(dataset.classes), settings.architecture, weights=training.weights)
    network.backbone.stages[: training.trained_from].requires_grad_(False)
    network.to(memory_format=torch.channels_last)
    views = Views(
        dataset.photos(images),
        labels,
        Augmentation(training.crop, scale=training.scale),
        mean=network.backbone.mean,
        std=network.backbone.std,
    )
    epoch_steps = max(1, len(views) // training.batch_size)
    stored = {
        "kind": checkpoint.KIND,
        "settings": {"architecture": asdict(settings.architecture), "training": asdict(training)},
        "code": settings.code,
        "classes": list(dataset.classes),
    }
    engine.train_to_checkpoint(
        fabric,
        network,
        _optimizer(network, training),
        views,
        lambda network, images, labels: segmentation_loss(network(images), labels),
        Schedule(training.steps, epoch_steps, training.batch_size, training.power, training.seed),
        name="DeepLab",
        out=settings.out,
        stored=stored,
        digest=_digest(settings, labels),
        log=settings.log,
        workers=settings.hardware.workers,
    )


def _optimizer(network: DeepLab, training: Training) -> torch.optim.Optimizer:
    groups = parameter_groups(
        network, lr=training.lr, head_lr_factor=training.head_lr_factor, weight_decay=training.weight_decay
    )
    return engine.sgd(groups, momentum=training.momentum) if training.optimizer == "sgd" else engine.adamw(groups)


def _digest(settings: Settings, labels: list[Path]) -> str:
    split = settings.data / LISTS / f"{settings.train_split}.txt"
    weights = [] if settings.training.weights in ("imagenet", "none") else [Path(settings.training.weights)]
    essential = (settings.architecture, settings.training, settings.code)
    return digest_of(essential, settings.data / "classes.txt", split, *labels, *weights)


if __name__ == "__main__":
    command(main, Settings)
