"""Checkpoints: saved and loaded, and refused where they do not fit."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from ppl.jobs.errors import UserError
from ppl.jobs.fields import Section, read
from ppl.networks import checkpoints


@dataclass(frozen=True, kw_only=True)
class Shape(Section):
    width: int = 1
    scale: float = 1.0
    kind: Literal["a", "b"] = "a"
    rates: tuple[int, ...] = ()


def save(path: Path, settings: dict, network: nn.Module | None = None, kind: str = "linear") -> None:
    network = network or nn.Linear(2, 3)
    checkpoints.save(path, network, kind=kind, settings=settings, code="c0de", classes=["a", "b", "c"])


def load(path: Path, classes: list[str] | None = None, **options):
    def build(shape: Shape, classes: int) -> nn.Module:
        return nn.Linear(shape.width, classes, **options)

    architecture = partial(read, Shape, where=path, remedy="make it again")
    return checkpoints.load(path, "linear", architecture, build, classes)


SETTINGS = {"width": 2, "scale": 1, "kind": "b", "rates": [1, 2]}


def test_a_checkpoint_is_loaded_as_it_was_saved_and_equal_networks_are_equal_files(tmp_path: Path) -> None:
    network, path, another = nn.Linear(2, 3), tmp_path / "a.pt", tmp_path / "another.pt"
    save(path, SETTINGS, network)
    save(another, SETTINGS, network)
    assert path.read_bytes() == another.read_bytes()
    loaded, content = load(path, ["a", "b", "c"])
    assert not loaded.training
    assert torch.equal(loaded.weight, network.weight)
    assert [content[key] for key in ("kind", "settings", "code")] == ["linear", SETTINGS, "c0de"]


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
    (key,) = change
    with pytest.raises(UserError, match=rf"a.pt: {key}.*; make it again") as refused:
        load(tmp_path / "a.pt")
    assert "\n" not in str(refused.value)


def test_settings_that_lack_a_section_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", SETTINGS)
    with pytest.raises(UserError, match=r"a.pt: its settings are not those of this code \(no 'shape'\); make it again"):
        checkpoints.load(tmp_path / "a.pt", "linear", lambda settings: settings["shape"], lambda *_: nn.Linear(1, 1))


def test_an_error_in_a_builder_stays_a_traceback(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", SETTINGS)
    with pytest.raises(TypeError, match="unexpected keyword"):
        load(tmp_path / "a.pt", depth=3)


@pytest.mark.parametrize(
    ("saved", "classes", "message"),
    [
        ({"settings": {}, "kind": "deeplab"}, None, "expected a checkpoint of kind 'linear', got 'deeplab'"),
        ({}, ["a", "b"], "a.pt: trained for other classes"),
        ({"network": nn.Linear(2, 4)}, None, "a.pt: written by another version of the code"),
    ],
)
def test_a_checkpoint_of_another_kind_other_classes_or_another_shape_is_refused(tmp_path, saved, classes, message):
    save(tmp_path / "a.pt", **{"settings": SETTINGS, **saved})
    with pytest.raises(UserError, match=message) as refused:
        load(tmp_path / "a.pt", classes)
    assert "\n" not in str(refused.value)
