"""Checkpoints: saved and loaded, and refused where they do not fit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from ppl.jobs.errors import UserError
from ppl.networks import checkpoints


@dataclass(frozen=True)
class Shape:
    width: int
    scale: float = 1.0
    kind: Literal["a", "b"] = "a"
    rates: tuple[int, ...] = ()


def build(shape: Shape, classes: int) -> nn.Module:
    return nn.Linear(shape.width, classes)


def save(path: Path, settings: dict, network: nn.Module | None = None, kind: str = "linear") -> None:
    checkpoints.save(
        path, network or nn.Linear(2, 3), kind=kind, settings=settings, code="c0de", classes=["a", "b", "c"]
    )


def load(path: Path, classes: list[str] | None = None, build=build):
    return checkpoints.load(path, "linear", lambda settings: checkpoints.typed(Shape, settings), build, classes)


SETTINGS = {"width": 2, "scale": 1, "kind": "b", "rates": [1, 2]}


def test_a_checkpoint_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    network, path = nn.Linear(2, 3), tmp_path / "a.pt"
    save(path, SETTINGS, network)
    loaded, content = load(path, ["a", "b", "c"])
    assert not loaded.training
    assert torch.equal(loaded.weight, network.weight)
    assert {k: content[k] for k in ("kind", "settings", "code")} == {
        "kind": "linear", "settings": SETTINGS, "code": "c0de",
    }  # fmt: skip


def test_equal_networks_are_equal_files(tmp_path: Path) -> None:
    network = nn.Linear(2, 3)
    for name in ("a.pt", "another.pt"):
        save(tmp_path / name, SETTINGS, network)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"width": "2"},
        {"width": True},
        {"scale": "1"},
        {"kind": "c"},
        {"rates": [1, "2"]},
        {"depth": 1},
        {"width": None},
    ],
    ids=str,
)
def test_settings_of_another_type_are_refused(tmp_path: Path, change: dict) -> None:
    save(tmp_path / "a.pt", SETTINGS | change)
    with pytest.raises(UserError, match=r"a.pt: its settings are not those of this code .*make it again") as refused:
        load(tmp_path / "a.pt")
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value.__cause__, TypeError)


def test_an_error_in_a_builder_stays_a_traceback(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", SETTINGS)
    with pytest.raises(TypeError, match="unexpected keyword"):
        load(tmp_path / "a.pt", build=lambda shape, classes: nn.Linear(shape.width, classes, depth=3))


def test_a_file_that_is_not_a_checkpoint_of_the_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save(path, {}, kind="deeplab")
    with pytest.raises(UserError, match=r"expected a checkpoint of kind 'linear', got 'deeplab'"):
        load(path)
    save(path, SETTINGS)
    with pytest.raises(UserError, match=r"a.pt: trained for other classes"):
        load(path, ["a", "b"])
    save(path, SETTINGS, nn.Linear(2, 4))
    with pytest.raises(UserError, match=r"a.pt: written by another version of the code") as refused:
        load(path)
    assert "\n" not in str(refused.value)
