"""Settings that all trainings have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ppl.jobs.fields import Count, File, Momentum, NotNegative, Pixels, Positive, Section, Source

OptimizerName = Literal["sgd", "adamw"]


@dataclass(frozen=True, kw_only=True)
class Training(Section):
    """A training with a poly schedule."""

    weights: Annotated[File, Source("paper")] = "imagenet"
    """Initial weights of the backbone: `imagenet`, `none`, or the file of a state dict."""
    batch_size: Count
    """Crops per step, of all GPUs together."""
    optimizer: Annotated[OptimizerName, Source("paper, all references")] = "sgd"
    """`sgd` or `adamw`."""
    lr: Positive
    """Learning rate at the first step."""
    momentum: Annotated[Momentum, Source("DeepLab")] = 0.9
    """Momentum of SGD; AdamW has its own."""
    weight_decay: NotNegative
    """Weight decay."""
    poly_power: Annotated[NotNegative, Source("IRNet, DeepLab, AffinityNet")] = 0.9
    """Exponent of the poly schedule."""
    crop: Pixels
    """Side of the square crops, in pixels."""


def weight_files(training: Training) -> list[Path]:
    """Return the file of a training's initial weights, if they are a file."""
    return [] if training.weights in ("imagenet", "none") else [Path(training.weights)]
