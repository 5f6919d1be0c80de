"""Train a segmentation network from photos and pseudo labels, without the dataset's masks (Section III-F)."""

from dataclasses import dataclass
from functools import partial
from inspect import signature
from types import ModuleType

import torch
from torch import Tensor, nn

from ppl.data.crops import Augmentation
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.segment.build import KIND, build, entry, stored
from ppl.segment.settings import Segment
from ppl.training.labelled import LabelledRun, train_on_labels
from ppl.training.loop import Loss

PROBE_SIDE = 128  # pixels of the image on which the form of the logits is checked


@dataclass(frozen=True)
class Settings(LabelledRun):
    """Inputs, outputs and settings of one training."""

    segment: Segment = Segment()


def main(settings: Settings) -> None:
    segment, training = settings.segment, settings.segment.training
    network = entry(segment)
    train_on_labels(
        settings,
        training,
        name=segment.network,
        kind=KIND,
        settings=stored(segment),
        build=partial(_build, segment),
        groups=lambda built: network.parameter_groups(built, training),
        loss=loss_of(segment, network),
        augmentation=Augmentation(training.crop, scales=training.crop_scales, pad_end=True),
        steps=training.steps,
    )


def loss_of(segment: Segment, network: ModuleType) -> Loss:
    """Return the loss of an entry with the exponent of the settings; UserError if the entry's has none."""
    exponent = segment.training.confidence_exponent
    if exponent and "exponent" not in signature(network.loss).parameters:
        what = f"the loss of {segment.network} has no argument `exponent`"
        raise UserError(f"segment.training.confidence_exponent {exponent}", what, "set it to 0, or add the argument")
    return partial(network.loss, exponent=exponent) if exponent else network.loss


def _build(segment: Segment, classes: int) -> nn.Module:
    """Return a new network whose logits for an image without content have the right form, or raise UserError."""
    network = build(segment, classes).eval()
    side = min(segment.training.crop, PROBE_SIDE)
    with torch.no_grad():
        logits = network(torch.zeros(1, 3, side, side))
    if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[:2] != (1, classes + 1):
        actual = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        what = f"in evaluation mode its output is {actual}, not logits (images, {classes} classes and background, h, w)"
        raise UserError(f"segment.network {segment.network}", what, "docs/extending.md describes it")
    return network.train()


if __name__ == "__main__":
    command(main, Settings)
