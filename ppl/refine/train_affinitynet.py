"""Train AffinityNet on reliable labels, without masks."""

from dataclasses import asdict, dataclass
from functools import partial

import torch

from ppl.data.crops import Augmentation
from ppl.jobs.command import command
from ppl.refine.affinitynet import KIND, AffinityNet, Architecture, affinitynet_loss, build
from ppl.training.labelled import LabelledRun, train_on_labels
from ppl.training.optimizers import optimizer, parameter_groups
from ppl.training.schedule import Schedule


@dataclass(frozen=True)
class Training:
    """Training settings of AffinityNet (its public reference)."""

    backbone: str
    weights: str
    """Weights of the backbone: imagenet, none, or the path of a state dict."""
    trained_from: int
    """First stage of the backbone that is trained, 0 the stem."""
    epochs: int
    batch_size: int
    lr: float
    """Learning rate of the backbone."""
    new_lr_factor: float
    """Learning rate of all other layers, as a multiple of `lr`."""
    momentum: float
    weight_decay: float
    power: float
    """Exponent of the poly schedule."""
    long_side: tuple[int, int]
    """Range of the random rescaling by the longest side, pixels."""
    crop: int
    radius: int
    """Largest distance of a pair of pixels, at stride 8."""
    seed: int


@dataclass(frozen=True)
class Settings(LabelledRun):
    training: Training


def main(settings: Settings) -> None:
    training = settings.training
    architecture = Architecture(training.backbone, training.trained_from)
    train_on_labels(
        settings,
        name="AffinityNet",
        kind=KIND,
        settings=asdict(training),
        seed=training.seed,
        weights=training.weights,
        build=lambda _: build(architecture, weights=training.weights),
        optimizer=partial(_optimizer, training),
        loss=partial(affinitynet_loss, radius=training.radius),
        augmentation=Augmentation(training.crop, long_side=training.long_side),
        schedule=partial(
            Schedule.of_epochs,
            epochs=training.epochs,
            batch_size=training.batch_size,
            poly_power=training.power,
            seed=training.seed,
        ),
    )


def _optimizer(training: Training, network: AffinityNet) -> torch.optim.Optimizer:
    rates = [(1.0, network.backbone.parameters()), (training.new_lr_factor, network.new_parameters())]
    groups = parameter_groups(rates, lr=training.lr, weight_decay=training.weight_decay)
    return optimizer("sgd", groups, momentum=training.momentum)


if __name__ == "__main__":
    command(main, Settings)
