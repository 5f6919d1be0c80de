"""Checkpoints of IRNet: building the network, loading it."""

from pathlib import Path
from typing import Any

from ppl import backbones, checkpoints
from ppl.refine.irnet import IRNet

KIND = "irnet"


def build(backbone: str, output_stride: int, *, weights: str) -> IRNet:
    """IRNet on a backbone, frozen whatever its weights."""
    return IRNet(backbones.build(backbone, weights=weights, output_stride=output_stride))


def load(path: Path) -> tuple[IRNet, dict[str, Any]]:
    """A trained IRNet in evaluation mode on the CPU, and its checkpoint."""
    content = checkpoints.load(path, KIND)
    network = build(content["settings"]["backbone"], content["settings"]["output_stride"], weights="none")
    checkpoints.fill(network, content["network"], path)
    return network.eval(), content
