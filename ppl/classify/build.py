"""Classifier checkpoints: building the network of a variant, saving it, loading it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ppl.classify import variants as grids
from ppl.classify.network import PatchClassifier
from ppl.jobs.errors import UserError
from ppl.networks import backbones, checkpoints

KIND = "classifier"


@dataclass(frozen=True)
class Architecture:
    """What decides the shape of a classifier; stored in its checkpoint."""

    backbone: str
    """resnet18, resnet34, resnet50, resnet101, vgg16 or efficientnet_lite0."""
    output_stride: int
    frozen_stages: int
    """Stages up to this number get no gradient from the global branch; 2 as in IRNet, 0 for the stem alone."""
    phi_init: Literal["kaiming", "identity"]


def build(method: str, variant: str, classes: int, architecture: Architecture, *, weights: str) -> PatchClassifier:
    """The network of a variant. An implicit step trains from its patched stage on (Algorithm 1, line 10)."""
    patched, global_branch = grids.branches(method, variant)
    return PatchClassifier(
        backbones.build(architecture.backbone, weights=weights, output_stride=architecture.output_stride),
        classes,
        grids=patched,
        global_branch=global_branch,
        trained_from=patched[-1].stage if method == "implicit" else architecture.frozen_stages + 1,
        stop_at_patches=method in ("explicit", "local"),
        phi_init=architecture.phi_init,
    )


def start_from(
    network: PatchClassifier, path: Path, backbone: str, *, classifier: bool, classes: Sequence[str]
) -> None:
    """Takes the backbone's weights of an earlier step's classifier; phi1 and phi2 stay new.

    With `classifier` each branch also starts from the classifier of its kind, a patched one from the global one where
    the earlier step had no other, all scaled so that logits start as large as they were; it must have learnt the same
    `classes`. Else it stays new.
    """
    content = checkpoints.load(path, KIND)
    with checkpoints.rebuilding(path):
        found = content["settings"]["architecture"]["backbone"]
    if found != backbone:
        raise UserError(path, f"has backbone {found}, this step {backbone}", "make it again with the same settings")
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in content["network"].items() if k.startswith(prefix)}
    checkpoints.fill(network.backbone, state, path)
    if classifier:
        if content["classes"] != list(classes):
            raise UserError(path, "trained for other classes than classes.txt names", "make it again")
        weight = network.classifier.weight.data  # (classes, C * branches, 1, 1)
        with checkpoints.rebuilding(path):
            earlier = content["network"]["classifier.weight"].split(network.backbone.channels[-1], dim=1)
            kinds = [earlier[0]] * network.global_branch + [earlier[-1]] * len(network.grids)
            weight.copy_(torch.cat(kinds, dim=1) * (len(earlier) / len(kinds)))


def load(path: Path) -> tuple[PatchClassifier, dict[str, Any]]:
    """A trained classifier in evaluation mode on the CPU, and its checkpoint (`settings`, `classes`, `code`)."""
    content = checkpoints.load(path, KIND)
    settings = content["settings"]
    with checkpoints.rebuilding(path):
        architecture = Architecture(**settings["architecture"])
        network = build(settings["method"], settings["grids"], len(content["classes"]), architecture, weights="none")
    checkpoints.fill(network, content["network"], path)
    return network.eval(), content
