"""Training on label maps: the optimiser groups of a network hold each trained parameter once."""

import pytest
from torch import nn

from ppl.jobs.errors import UserError
from ppl.training.labelled import _check_groups


@pytest.mark.parametrize(("held", "wrong"), [
    (["0.weight"], "0.bias"), (["0.weight", "0.bias", "0.bias"], "0.bias"), ([], "0.weight"),
])  # fmt: skip
def test_a_parameter_in_no_group_or_in_two_is_refused(held: list[str], wrong: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    parameters = dict(network.named_parameters())
    groups = [{"params": [parameters[name]]} for name in held]
    with pytest.raises(UserError, match=f"mine: parameter_groups names .* not once, the first '{wrong}'"):
        _check_groups("mine", network, groups)


def test_frozen_parameters_may_be_in_a_group_or_in_none() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    for parts in (network, network[0]):
        _check_groups("mine", network, [{"params": list(parts.parameters())}])
