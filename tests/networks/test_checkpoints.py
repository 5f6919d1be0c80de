from pathlib import Path

import pytest
import torch
from torch import nn

from ppl.jobs.errors import UserError
from ppl.networks import checkpoints


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    network, path = nn.Linear(2, 3), tmp_path / "a.pt"
    checkpoints.save(path, network, kind="classifier", settings={"lr": 0.1}, code="c0de", classes=["cat"])
    content = checkpoints.load(path, "classifier")
    assert torch.equal(content.pop("network")["weight"], network.weight)
    assert content == {"kind": "classifier", "settings": {"lr": 0.1}, "code": "c0de", "classes": ["cat"]}


def test_equal_networks_are_equal_files(tmp_path: Path) -> None:
    network = nn.Linear(2, 3)
    for name in ("a.pt", "another.pt"):
        checkpoints.save(tmp_path / name, network, kind="classifier", settings={"lr": 0.1}, code="")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


def test_what_is_no_checkpoint_of_the_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(UserError, match=r"a.pt: No such file"):
        checkpoints.load(path, "classifier")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"a.pt: not a readable checkpoint") as refused:
        checkpoints.load(path, "classifier")
    assert "\n" not in str(refused.value)
    checkpoints.save(path, nn.Linear(1, 1), kind="deeplab", settings={}, code="")
    with pytest.raises(UserError, match=r"a checkpoint of kind 'classifier' is needed here, this is 'deeplab'"):
        checkpoints.load(path, "classifier")
    torch.save(torch.zeros(3), path)
    with pytest.raises(UserError, match=r"this is 'Tensor'"):
        checkpoints.load(path, "classifier")


def test_weights_of_another_network_are_refused_in_one_line() -> None:
    for other in (nn.Linear(2, 4), nn.Sequential(nn.Linear(2, 3))):
        with pytest.raises(UserError, match=r"a.pt: made by another version of the code") as refused:
            checkpoints.fill(nn.Linear(2, 3), other.state_dict(), "a.pt")
        assert "\n" not in str(refused.value)
