"""Build and load segmentation networks, the entries of slot `segment.network`.

The module of an entry, one of `NETWORKS` or the user's `own/MODULE`, contains:

`build(name, settings, classes, *, weights, frozen_stages) -> nn.Module`
    Return a new network for `classes` foreground classes and background. `name` is the entry's name as the
    configuration states it, such as `smp/FPN`. `settings` is the entry's section: of a `ppl` entry the field of
    `Segment`, of an own module an instance of its `Settings`, None if it has none. `weights` are `imagenet`, `none` or
    the file of a state dict; a trained network is built with `none` and then filled, so `none` must need no file. The
    backbone's stages up to `frozen_stages` need no gradient (-1: all are trained).

    The network has an attribute `backbone` with `mean` and `std` (of RGB in 0..1, to normalise training crops) and
    `prepare(photos)`: (B, h, w, 3) uint8 RGB to the network's input (B, 3, h, w) float32 on its device.
    `ppl.networks.backbones.build` returns such a backbone. In evaluation mode the network maps such images of any size
    to logits (B, C+1, h', w') of any stride, class 0 being the background; `ppl.segment.logits.resize` brings them to
    the size of the photos. In training mode it returns whatever `loss` takes. All that decides its output is in its
    settings and its state dict.

`loss(network, images, labels) -> Tensor`
    Return the loss of the network in training mode, a mean over the batch, of images (B, 3, H, W) and labels (B, H, W)
    uint8: 0..C, or 255 (ignored). `ppl.segment.logits.segmentation_loss` computes cross-entropy. It is called with a
    wrapped network, whose outputs are those of `network(images)`. With `segment.training.confidence_exponent` it also
    gets the keyword `exponent`, which an entry may lack.

`parameter_groups(network, training) -> list[Group]`
    Return optimiser groups (`params`, `lr`, `weight_decay`) that contain each parameter once; those without gradient
    are left out of the optimiser. `training` is the section `segment.training`.

`Settings` (own modules only, optional)
    A frozen dataclass derived from `ppl.jobs.fields.Section`: the keys below `segment.own`.

A training that is to be the same on one and two GPUs, and after a resume, draws no random numbers in `loss` (no
dropout) and updates no statistics (BatchNorm stays in evaluation mode, as that of our backbones).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ppl.jobs import slots
from ppl.jobs.fields import plain, read
from ppl.networks import checkpoints
from ppl.segment.settings import Segment, Training

KIND = "segmenter"
ENTRIES = slots.slots_of(Segment)["network"]


def entry(segment: Segment) -> ModuleType:
    """Return the module of the network."""
    return slots.load(ENTRIES, segment.network)


def build(segment: Segment, classes: int) -> nn.Module:
    """Return a new network for `classes` foreground classes."""
    training = segment.training
    return entry(segment).build(
        segment.network,
        slots.settings_of(segment, "network"),
        classes,
        weights=training.weights,
        frozen_stages=training.frozen_stages,
    )


def stored(segment: Segment) -> dict[str, Any]:
    """Return the settings that a checkpoint contains, as plain values."""
    settings = slots.settings_of(segment, "network")
    return {
        "network": segment.network,
        "settings": {} if settings is None else plain(settings),
        "training": plain(segment.training),
    }


def load(path: Path | str, classes: Sequence[str] | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Return a trained network and its checkpoint, as `checkpoints.load` does."""
    return checkpoints.load(path, KIND, partial(_segment, path), _untrained, classes)


def _segment(path: Path | str, settings: dict[str, Any]) -> Segment:
    """Return the network's section of the settings of a checkpoint."""
    name = read(Segment, {"network": settings["network"]}, path, checkpoints.REMEDY).network
    key = slots.family(ENTRIES, name).removesuffix("/")
    return read(Segment, {"network": name, key: settings["settings"]}, path, checkpoints.REMEDY)


def _untrained(segment: Segment, classes: int) -> nn.Module:
    return build(replace(segment, training=Training(weights="none", frozen_stages=-1)), classes)
