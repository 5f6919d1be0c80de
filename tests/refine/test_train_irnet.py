import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from ppl.data.dataset import Dataset
from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError
from ppl.refine import build as checkpoint
from ppl.refine import train_irnet as train
from ppl.refine.train_irnet import Settings, Training, mean_displacement


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    shutil.rmtree(scenes.root / "SegmentationClass")  # training opens no mask
    training = Training(
        backbone=tiny, weights="none", output_stride=16, epochs=3, batch_size=2, lr=0.05, displacement_lr_factor=10,
        momentum=0.9, weight_decay=1e-4, power=0.9, scale=(0.5, 1.5), crop=40, radius=4, seed=1,
    )  # fmt: skip
    return Settings(
        data=scenes.root,
        train_split="all",
        labels=scenes.labels,
        out=tmp_path / "irnet.pt",
        log=tmp_path / "irnet.csv",
        code="test",
        training=training,
        hardware=Hardware(devices=0, workers=0, precision="32-true"),
    )


def _trained(settings: Settings, name: str) -> dict[str, Tensor]:
    settings = replace(settings, out=settings.out.with_name(f"{name}.pt"))
    train.main(settings)
    return checkpoint.load(settings.out)[1]["network"]


def _equal(first: dict[str, Tensor], second: dict[str, Tensor], *, below: str = "") -> bool:
    return all(torch.equal(first[name], second[name]) for name in first if name.startswith(below))


def test_training_lowers_the_loss(settings: Settings) -> None:
    longer = replace(settings, training=replace(settings.training, epochs=30, lr=0.1))
    train.main(longer)
    loss = pd.read_csv(settings.log)["loss"]
    assert len(loss) == 30
    assert loss[-5:].mean() < 0.7 * loss[:2].mean()
    network, content = checkpoint.load(settings.out)
    assert not network.training
    assert (content["classes"], content["code"]) == (["ball", "cube"], "test")
    assert content["settings"] == asdict(longer.training)


def test_the_backbone_stays_as_it_was(settings: Settings) -> None:
    first = _trained(settings, "first")
    longer = _trained(replace(settings, training=replace(settings.training, epochs=4)), "longer")
    assert _equal(first, longer, below="backbone.")
    assert not _equal(first, longer, below="boundary")
    assert not _equal(first, longer, below="displacement")


def test_a_seed_decides_the_weights_and_workers_do_not(settings: Settings) -> None:
    first = _trained(settings, "first")
    assert _equal(first, _trained(settings, "again"))
    assert _equal(first, _trained(replace(settings, hardware=replace(settings.hardware, workers=1)), "workers"))
    assert not _equal(first, _trained(replace(settings, training=replace(settings.training, seed=2)), "other"))


def test_displacements_have_no_mean_after_training(settings: Settings, scenes) -> None:
    train.main(settings)
    network, _ = checkpoint.load(settings.out)
    assert network.mean_shift.abs().max() > 1e-4
    dataset, shift = Dataset.open(scenes.root), network.mean_shift.clone()
    means = [mean_displacement(network, dataset, scenes.images, size, workers=0) for size in (1, 3)]
    assert all(torch.allclose(mean, shift, rtol=1e-3, atol=1e-6) for mean in means)


def test_a_photo_without_a_label_is_named(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"scene.1"):
        train.main(replace(settings, labels=settings.labels[:1]))
    assert not settings.out.exists()
