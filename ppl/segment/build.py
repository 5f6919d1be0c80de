"""Checkpoints of DeepLab: building the network, loading it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl.networks import backbones, checkpoints
from ppl.segment.deeplab import DeepLab

KIND = "deeplab"


@dataclass(frozen=True)
class Architecture:
    """What decides the shape of a segmentation network; stored in its checkpoint."""

    backbone: str
    """resnet18, resnet34, resnet50, resnet101, vgg16 or efficientnet_lite0."""
    output_stride: int
    """8 or 16: the last stages are dilated instead of strided."""
    rates: tuple[int, ...]
    """Dilation of each ASPP convolution, cells of the last stage: 6 12 18 24 for large crops at stride 8."""
    scales: tuple[float, ...]
    """Factors at which the network sees its input, in training and inference; the first sets the logits' size."""


def build(classes: int, architecture: Architecture, *, weights: str) -> DeepLab:
    """The network for `classes` foreground classes; `backbone `weights` are imagenet, none, or a state dict's path."""
    backbone = backbones.build(
        architecture.backbone, weights=weights, output_stride=architecture.output_stride, dilated=True
    )
    return DeepLab(backbone, classes, architecture.rates, architecture.scales)


def load(path: Path) -> tuple[DeepLab, dict[str, Any]]:
    """A trained network in evaluation mode on the CPU, and its checkpoint (`settings`, `classes`, `code`)."""
    content = checkpoints.load(path, KIND)
    with checkpoints.rebuilding(path):
        architecture = Architecture(**content["settings"]["architecture"])
        network = build(len(content["classes"]), architecture, weights="none")
    checkpoints.fill(network, content["network"], path)
    return network.eval(), content
