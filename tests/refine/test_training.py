"""The training of each refinement network on reliable labels."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor

from ppl.jobs.errors import UserError
from ppl.jobs.fields import plain
from ppl.refine import train_refiner
from ppl.refine.build import entry_of, load
from ppl.refine.settings import Refine


@pytest.fixture
def trained(training):
    """Return a function that trains with some settings and returns the weights."""

    def train(workers: int = 0, **changes) -> dict[str, Tensor]:
        settings = training(**changes)
        train_refiner.main(replace(settings, hardware=replace(settings.hardware, workers=workers)))
        return torch.load(settings.out, weights_only=True)["network"]

    return train


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss_and_the_checkpoint_loads(refiner: str, training) -> None:
    settings = training(epochs=25, lr=0.05)
    shutil.rmtree(settings.data / "SegmentationClass")  # no training opens a mask
    train_refiner.main(settings)
    loss = pd.read_csv(settings.log)["loss"]
    assert len(loss) == 25
    assert loss[-5:].mean() < 0.9 * loss[:2].mean()
    network, content = load(settings.out, network=refiner, classes=["ball", "cube"])
    assert not network.training
    assert (content["classes"], content["code"]) == (["ball", "cube"], "test")
    section = getattr(settings.refine, refiner)
    stored = {"network": refiner, "settings": {"training": plain(section.training)}, "random_seed": 1}
    assert content["settings"] == stored
    with pytest.raises(UserError, match="other classes"):
        load(settings.out, classes=["ball"])


def test_frozen_weights_stay_and_all_others_change(training, trained) -> None:
    entry, settings = entry_of(training().refine)
    trainable = {name for name, p in entry.build(settings, "none").named_parameters() if p.requires_grad}
    shorter, longer = trained(epochs=1), trained(epochs=4)
    assert trainable < shorter.keys()
    for name, weights in shorter.items():
        assert torch.equal(weights, longer[name]) == (name not in trainable), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_depend_on_the_seed_and_the_optimiser_and_not_on_workers(optimizer: str, trained) -> None:
    first = trained(optimizer=optimizer, lr=1e-3)
    assert equal(first, trained(optimizer=optimizer, lr=1e-3, workers=1))
    assert not equal(first, trained(optimizer=optimizer, lr=1e-3, random_seed=2))
    assert not equal(first, trained(optimizer={"sgd": "adamw", "adamw": "sgd"}[optimizer], lr=1e-3))


def test_a_photo_without_label_map_is_named(training) -> None:
    settings = training()
    with pytest.raises(UserError, match=r"scene.1"):
        train_refiner.main(replace(settings, labels=settings.labels[:1]))
    assert not settings.out.exists()


def test_none_has_no_network_to_train(training) -> None:
    settings = replace(training(), refine=Refine(network="none"))
    with pytest.raises(UserError, match=r"refine.network: 'none' has no network"):
        train_refiner.main(settings)
    assert not settings.out.exists()
