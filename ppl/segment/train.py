"""Train DeepLab v2 from photos and pseudo labels, without the dataset's masks."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ppl.data.crops import Augmentation
from ppl.jobs.command import command
from ppl.segment.build import KIND, Architecture, build
from ppl.segment.deeplab import DeepLab, parameter_groups, segmentation_loss
from ppl.training.labelled import LabelledRun, train_on_labels
from ppl.training.optimizers import optimizer
from ppl.training.schedule import Schedule


@dataclass(frozen=True)
class Training:
    """Training settings of the segmentation network (Section III-F; the recipe of DeepLab v2)."""

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
    """Momentum of SGD; AdamW has its own."""
    weight_decay: float
    power: float
    """Exponent of the poly schedule."""
    crop: int
    scale: tuple[float, float]
    """Range of the random rescaling, a factor."""
    seed: int


@dataclass(frozen=True)
class Settings(LabelledRun):
    """Inputs, outputs and settings of one training."""

    architecture: Architecture
    training: Training


def main(settings: Settings) -> None:
    training = settings.training
    train_on_labels(
        settings,
        name="DeepLab",
        kind=KIND,
        settings={"architecture": asdict(settings.architecture), "training": asdict(training)},
        seed=training.seed,
        weights=training.weights,
        build=partial(_build, settings),
        optimizer=partial(_optimizer, training),
        loss=_loss,
        augmentation=Augmentation(training.crop, scale=training.scale),
        schedule=partial(
            Schedule.of_steps,
            steps=training.steps,
            batch_size=training.batch_size,
            poly_power=training.power,
            seed=training.seed,
        ),
    )


def _build(settings: Settings, classes: int) -> DeepLab:
    network = build(classes, settings.architecture, weights=settings.training.weights)
    network.backbone.stages[: settings.training.trained_from].requires_grad_(False)
    return network


def _loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return segmentation_loss(network(images), labels)


def _optimizer(training: Training, network: DeepLab) -> torch.optim.Optimizer:
    groups = parameter_groups(
        network, lr=training.lr, head_lr_factor=training.head_lr_factor, weight_decay=training.weight_decay
    )
    return optimizer(training.optimizer, groups, momentum=training.momentum)


if __name__ == "__main__":
    command(main, Settings)
