"""Build and load DeepLab."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl.networks import backbones, checkpoints
from ppl.segment.deeplab import DeepLab

KIND = "deeplab"


@dataclass(frozen=True)
class Architecture:
    """The settings that decide the shape of a segmentation network; part of its checkpoint."""

    backbone: str
    """A name of `networks.backbones.BUILDERS`."""
    output_stride: int
    """8 or 16: the last stages are dilated instead of strided."""
    rates: tuple[int, ...]
    """Dilation of each ASPP convolution, cells of the last stage: 6 12 18 24 for large crops at stride 8."""
    scales: tuple[float, ...]
    """Scales at which the network processes its input, in training and inference; the first sets the logits' size."""

    def __post_init__(self) -> None:
        if not self.rates:
            raise ValueError("atrous spatial pyramid pooling needs at least one rate")
        if not self.scales:
            raise ValueError("the network needs at least one scale of its input")


def build(classes: int, architecture: Architecture, *, weights: str) -> DeepLab:
    """Return a new network for `classes` foreground classes.

    `weights` of the backbone are imagenet, none, or the path of a state dict.
    """
    backbone = backbones.build(
        architecture.backbone, weights=weights, output_stride=architecture.output_stride, dilated=True
    )
    return DeepLab(backbone, classes, architecture.rates, architecture.scales)


def load(path: Path, classes: Sequence[str] | None = None) -> tuple[DeepLab, dict[str, Any]]:
    """Return a trained DeepLab and its checkpoint, as `checkpoints.load` does."""
    return checkpoints.load(
        path,
        KIND,
        lambda settings: checkpoints.typed(Architecture, settings["architecture"]),
        lambda architecture, count: build(count, architecture, weights="none"),
        classes,
    )
