"""Training on label maps: some pixel has a label, and optimiser groups hold each trained parameter once."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from ppl.data.masks import IGNORE, write_mask
from ppl.jobs.errors import UserError
from ppl.training.labelled import _check_groups, _check_labelled


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


def test_label_maps_without_a_labelled_pixel_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        write_mask(path, np.full((2, 3), IGNORE, np.uint8))
    with pytest.raises(UserError, match=r"mine: no pixel .* has a label; lower refine\.labels\.margins"):
        _check_labelled("mine", paths)
    write_mask(paths[1], np.array([[IGNORE, 0]], np.uint8))
    _check_labelled("mine", paths)
