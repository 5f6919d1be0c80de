"""What the tests of both refinement networks share: how each is trained in a second, and its walk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ppl.jobs.devices import Hardware
from ppl.refine import affinitynet, irnet, train_affinitynet, train_irnet, walk_affinitynet, walk_irnet

CPU = Hardware(devices=0, workers=0, precision="32-true")


@dataclass(frozen=True)
class Refiner:
    """Modules of a refinement network, and the settings of its training that are its own."""

    name: str
    network: ModuleType
    train: ModuleType
    walk: ModuleType
    own: dict[str, Any]


REFINERS = (
    Refiner("irnet", irnet, train_irnet, walk_irnet, {"output_stride": 16, "scale": (0.5, 1.5), "radius": 4}),
    Refiner(
        "affinitynet", affinitynet, train_affinitynet, walk_affinitynet,
        {"trained_from": 1, "new_lr_factor": 10, "long_side": (32, 64), "radius": 3},
    ),
)  # fmt: skip


@pytest.fixture(params=REFINERS, ids=lambda refiner: refiner.name)
def refiner(request: pytest.FixtureRequest) -> Refiner:
    return request.param


@pytest.fixture
def training(refiner: Refiner, scenes, tiny: str, tmp_path: Path) -> Callable[..., Any]:
    """Return a builder of the settings of a training, from the fields of `Training` that differ."""

    def settings(**changes: Any) -> Any:
        common = {"backbone": tiny, "weights": "none", "epochs": 3, "batch_size": 2, "lr": 0.02, "momentum": 0.9}
        common |= {"weight_decay": 1e-4, "power": 0.9, "crop": 40, "seed": 1}
        return refiner.train.Settings(
            data=scenes.root, train_split="all", labels=scenes.labels, out=tmp_path / f"{refiner.name}.pt",
            log=tmp_path / f"{refiner.name}.csv", code="test", hardware=CPU,
            training=refiner.train.Training(**(common | refiner.own | changes)),
        )  # fmt: skip

    return settings
