"""Build and load classifiers."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ppl.classify import variants
from ppl.classify.network import PatchClassifier
from ppl.classify.settings import Architecture
from ppl.jobs import fields
from ppl.jobs.errors import UserError
from ppl.networks import backbones, checkpoints

KIND = "classifier"


@dataclass(frozen=True, kw_only=True)
class Variant(fields.Section):
    """The part of a checkpoint's settings that decides the shape of its network."""

    method: str
    grids: str
    architecture: Architecture


def build(method: str, grids: str, classes: int, architecture: Architecture, *, weights: str) -> PatchClassifier:
    """Return the new network of a variant; `weights` of its backbone are imagenet, none, or a state dict's path."""
    patched, global_branch = variants.branches(method, grids)
    return PatchClassifier(
        _backbone(architecture, weights),
        classes,
        grids=patched,
        global_branch=global_branch,
        frozen_stages=variants.frozen_stages(method, grids, architecture.frozen_stages),
        stop_at_patches=variants.METHODS[method].stop_at_patches,
        phi_init=architecture.phi_init,
    )


def load(path: Path, classes: Sequence[str] | None = None) -> tuple[PatchClassifier, dict[str, Any]]:
    """Return a trained classifier and its checkpoint, as `checkpoints.load` does."""
    return checkpoints.load(
        path,
        KIND,
        lambda settings: _variant(settings, path),
        lambda v, count: build(v.method, v.grids, count, v.architecture, weights="none"),
        classes,
    )


def initial_backbone(path: Path) -> backbones.Backbone | None:
    """Return the backbone of a trained classifier with the weights from which its variant's training started.

    In evaluation mode, on the CPU. None if they were random (`weights: none`), or if their file no longer exists.
    """
    settings = checkpoints.read_content(path, KIND)["settings"]
    with checkpoints.reading_settings(path):
        architecture, weights = _variant(settings, path).architecture, settings["training"]["weights"]
    if weights == "none" or (weights != "imagenet" and not Path(weights).is_file()):
        return None
    return _backbone(architecture, weights).eval()


def init_from_checkpoint(
    network: PatchClassifier, path: Path, backbone: str, *, classifier: bool, classes: Sequence[str]
) -> None:
    """Copy the weights of the backbone of an earlier step's classifier into a network; phi1 and phi2 stay new.

    With `classifier` each branch also starts from the classifier of its kind, a patched one from the global one if the
    earlier step had no other, all scaled so that logits start as large as they were; the earlier step must have been
    trained for the same `classes`. Otherwise the classifier stays new.
    """
    content = checkpoints.read_content(path, KIND)
    with checkpoints.reading_settings(path):
        earlier_backbone = _variant(content["settings"], path).architecture.backbone
    if earlier_backbone != backbone:
        what = f"backbone mismatch: expected {backbone}, got {earlier_backbone}"
        raise UserError(path, what, "make it again with the same settings")
    prefix = "backbone."
    state = {k.removeprefix(prefix): v for k, v in content["network"].items() if k.startswith(prefix)}
    checkpoints.fill(network.backbone, state, path)
    if classifier:
        if content["classes"] != list(classes):
            raise UserError(path, "trained for other classes than classes.txt names", "make it again")
        weight, width = network.classifier.weight.data, network.backbone.channels[-1]  # (classes, C * branches, 1, 1)
        earlier = content["network"].get("classifier.weight", torch.zeros(0))
        if earlier.shape not in [(len(classes), width * branches, 1, 1) for branches in range(1, 5)]:
            raise UserError(path, f"its classifier has a weight of shape {tuple(earlier.shape)}", "make it again")
        of_branches = earlier.split(width, dim=1)
        sources = [of_branches[0]] if network.global_branch else []
        sources += [of_branches[-1]] * len(network.grids)
        weight.copy_(torch.cat(sources, dim=1) * (len(of_branches) / len(sources)))


def _backbone(architecture: Architecture, weights: str) -> backbones.Backbone:
    """Return a new backbone; `weights` as of `build`."""
    return backbones.build(
        architecture.backbone,
        weights=weights,
        output_stride=architecture.output_stride,
        dilated=architecture.dilated,
    )


def _variant(settings: dict[str, Any], path: Path) -> Variant:
    """Return the variant of a checkpoint's settings; KeyError if they do not name one."""
    values = {field.name: settings[field.name] for field in dataclasses.fields(Variant)}
    return fields.read(Variant, values, path, checkpoints.REMEDY)
