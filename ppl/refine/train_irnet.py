"""Train IRNet's boundary branch on reliable labels, without masks."""

from dataclasses import asdict, dataclass
from functools import partial

import torch

from ppl.data.crops import Augmentation
from ppl.jobs.command import command
from ppl.refine.irnet import KIND, Architecture, IRNet, build
from ppl.refine.losses import irnet_loss
from ppl.training.labelled import LabelledRun, train_on_labels
from ppl.training.optimizers import optimizer, parameter_groups
from ppl.training.schedule import Schedule


@dataclass(frozen=True)
class Training:
    """Training settings of IRNet (Section IV-B)."""

    backbone: str
    weights: str
    """Weights of the frozen backbone: imagenet, none, or the path of a state dict."""
    output_stride: int
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    power: float
    """Exponent of the poly schedule."""
    scale: tuple[float, float]
    """Range of the random rescaling factor."""
    crop: int
    radius: int
    """Largest distance of a pair of pixels, at stride 4."""
    seed: int


@dataclass(frozen=True)
class Settings(LabelledRun):
    training: Training


def main(settings: Settings) -> None:
    training = settings.training
    architecture = Architecture(training.backbone, training.output_stride)
    train_on_labels(
        settings,
        name="IRNet",
        kind=KIND,
        settings=asdict(training),
        seed=training.seed,
        weights=training.weights,
        build=lambda _: build(architecture, weights=training.weights),
        optimizer=partial(_optimizer, training),
        loss=partial(irnet_loss, radius=training.radius),
        augmentation=Augmentation(training.crop, scale=training.scale),
        schedule=partial(
            Schedule.of_epochs,
            epochs=training.epochs,
            batch_size=training.batch_size,
            poly_power=training.power,
            seed=training.seed,
        ),
    )


def _optimizer(training: Training, network: IRNet) -> torch.optim.Optimizer:
    groups = parameter_groups(
        [(1.0, network.boundary_parameters())], lr=training.lr, weight_decay=training.weight_decay
    )
    return optimizer("sgd", groups, momentum=training.momentum)


if __name__ == "__main__":
    command(main, Settings)
