"""What the tests of all refinement networks share: small settings of each, its training and its walk."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppl.cam import store
from ppl.cam.store import Cam
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.jobs.settings import Hardware
from ppl.refine import train_refiner, walk_split
from ppl.refine.settings import NETWORKS, Refine

CPU = Hardware(gpu=0, workers=0, precision="32-true")
REFINERS = [name for name, module in NETWORKS.items() if module]
CLASSES = ["ball", "cube"]
TRAINING = {
    "weights": "none",
    "epochs": 3,
    "batch_size": 2,
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "crop": 40,
}
OWN_TRAINING = {"radius": 3, "scale": (0.5, 1.5), "frozen_stages": 0}  # of those that have them
WALK = {"radius": 3, "steps": 16, "batch_size": 2}


@pytest.fixture(params=REFINERS)
def refiner(request: pytest.FixtureRequest) -> str:
    """Name of a refinement network."""
    return request.param


@pytest.fixture
def refining(refiner: str, tiny: str) -> Callable[..., Refine]:
    """Return a function of a network, by default `refiner`, and changes of its sections: small settings of it."""

    def refine(name: str = refiner, training: Any = None, walk: Any = None) -> Refine:
        section = getattr(Refine(), name)
        known = {field.name for field in fields(section.training)}
        small = {"backbone": tiny} | TRAINING | {k: v for k, v in OWN_TRAINING.items() if k in known} | (training or {})
        section = replace(
            section, training=replace(section.training, **small), walk=replace(section.walk, **(WALK | (walk or {})))
        )
        return Refine(network=name, **{name: section})

    return refine


@pytest.fixture
def training(refining: Callable[..., Refine], scenes, tmp_path: Path) -> Callable[..., train_refiner.Settings]:
    """Return a builder of the settings of a training, from the fields of `training` that differ."""

    def settings(*, random_seed: int = 1, **changes: Any) -> train_refiner.Settings:
        return train_refiner.Settings(
            data=scenes.root, train_split="all", labels=scenes.labels, out=tmp_path / "refiner.pt",
            log=tmp_path / "refiner.csv", code="test", random_seed=random_seed, hardware=CPU,
            refine=refining(training=changes),
        )  # fmt: skip

    return settings


@pytest.fixture
def write_cams(scenes) -> Callable[..., None]:
    """Return a writer of maps of the true object with noise; the last image has no classes."""

    def write(path: Path, *, without: str = "") -> None:
        def cams() -> Iterator[tuple[str, Cam]]:
            dataset, rng = Dataset.open(scenes.root), np.random.default_rng(0)
            for image_id in scenes.images:
                mask = read_mask(dataset.mask(image_id))
                labels = np.array(dataset.labels_of(image_id) if image_id != scenes.images[-1] else (), np.int64)
                shown = (
                    np.stack([mask[::4, ::4] == label for label in labels]) if len(labels) else np.zeros((0, 13, 10))
                )
                if image_id != without:
                    maps = 0.8 * shown + 0.2 * rng.random(shown.shape)
                    yield image_id, Cam(maps.astype(np.float32), labels, mask.shape)

        store.write(path, cams(), classes=CLASSES, settings="{}", checkpoint="")

    return write


@pytest.fixture
def walking(scenes, write_cams, tmp_path: Path) -> Callable[[Path, Refine], walk_split.Settings]:
    """Return a builder of the settings of a walk over all images, from a checkpoint and a section."""
    write_cams(tmp_path / "cams.h5")

    def settings(network: Path, refine: Refine) -> walk_split.Settings:
        return walk_split.Settings(
            data=scenes.root, split="all", cams=(tmp_path / "cams.h5",), network=network, out=tmp_path / "pseudo",
            refine=refine, hardware=CPU,
        )  # fmt: skip

    return settings
