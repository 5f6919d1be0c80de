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


def with_bias_groups(groups: Iterable[Group], network: nn.Module, *, lr_factor: float, decay: bool) -> list[Group]:
    """Return optimiser groups of a network, each followed by one of its biases, at `lr_factor` times its rate.

    Biases are the parameters named `bias`, those of normalisation too; without `decay` they have no weight decay. With
    factor 1 and decay the groups stay as they are.
    """
    groups = list(groups)
    if lr_factor == 1 and decay:
        return groups
    biases = {parameter for name, parameter in network.named_parameters() if name.rpartition(".")[2] == "bias"}
    separate = []
    for group in groups:
        separate.append({**group, "params": [p for p in group["params"] if p not in biases]})
        separate.append({
            **group,
            "params": [p for p in group["params"] if p in biases],
            "lr": group["lr"] * lr_factor,
            "weight_decay": group["weight_decay"] if decay else 0.0,
        })  # fmt: skip
    return separate


def optimizer(name: OptimizerName, groups: Sequence[Group], *, momentum: float = 0.0) -> torch.optim.Optimizer:
    """Return SGD, with `momentum`, or AdamW over parameter groups, without parameters that need no gradient."""
    trained = [{**g, "params": [p for p in g["params"] if p.requires_grad], "initial_lr": g["lr"]} for g in groups]
    trained = [g for g in trained if g["params"]]
    if name == "sgd":  # fused, torch 2.14 uses momenta that it has not initialised if a first step in float16 overflows
        return torch.optim.SGD(trained, momentum=momentum)
    # fused: one pass over each parameter instead of about ten on a CPU, one kernel for many parameters on a GPU.
    return torch.optim.AdamW(trained, fused=True)
