"""Optimisers over parameter groups, of those parameters that are trained."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ppl.training.settings import OptimizerName

Group = dict[str, Any]
"""Parameters `params` with their learning rate `lr`, the start of the schedule, and their `weight_decay`."""


def parameter_groups(
    rated: Iterable[tuple[float, Iterable[nn.Parameter]]], *, lr: float, weight_decay: float
) -> list[Group]:
    """Return optimiser groups of (factor, parameters), each at factor * `lr`."""
    return [{"params": list(some), "lr": lr * factor, "weight_decay": weight_decay} for factor, some in rated]


def optimizer(name: OptimizerName, groups: Sequence[Group], *, momentum: float = 0.0) -> torch.optim.Optimizer:
    """Return SGD, with `momentum`, or AdamW over parameter groups, without parameters that need no gradient."""
    trained = [{**g, "params": [p for p in g["params"] if p.requires_grad], "initial_lr": g["lr"]} for g in groups]
    trained = [g for g in trained if g["params"]]
    return torch.optim.SGD(trained, momentum=momentum) if name == "sgd" else torch.optim.AdamW(trained)
