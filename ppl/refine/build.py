"""Checkpoints of the refinement networks: building them, loading them."""

from pathlib import Path
from typing import Any

from ppl.networks import backbones, checkpoints
from ppl.refine.affinitynet import STRIDE, AffinityNet
from ppl.refine.irnet import IRNet

KIND = "irnet"
AFFINITYNET = "affinitynet"


def build(backbone: str, output_stride: int, *, weights: str) -> IRNet:
    """IRNet on a backbone, frozen whatever its weights."""
    return IRNet(backbones.build(backbone, weights=weights, output_stride=output_stride))


def load(path: Path) -> tuple[IRNet, dict[str, Any]]:
    """A trained IRNet in evaluation mode on the CPU, and its checkpoint."""
    content = checkpoints.load(path, KIND)
    settings = content["settings"]
    with checkpoints.rebuilding(path):
        network = build(settings["backbone"], settings["output_stride"], weights="none")
    checkpoints.fill(network, content["network"], path)
    return network.eval(), content


def build_affinitynet(backbone: str, trained_from: int, *, weights: str) -> AffinityNet:
    """AffinityNet on a backbone of output stride 8, whose stages before `trained_from` are frozen."""
    body = backbones.build(backbone, weights=weights, output_stride=STRIDE, dilated=True)
    return AffinityNet(body, trained_from=trained_from)


def load_affinitynet(path: Path) -> tuple[AffinityNet, dict[str, Any]]:
    """A trained AffinityNet in evaluation mode on the CPU, and its checkpoint."""
    content = checkpoints.load(path, AFFINITYNET)
    settings = content["settings"]
    with checkpoints.rebuilding(path):
        network = build_affinitynet(settings["backbone"], settings["trained_from"], weights="none")
    checkpoints.fill(network, content["network"], path)
    return network.eval(), content
