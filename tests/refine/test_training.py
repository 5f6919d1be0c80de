"""The trainings of IRNet and AffinityNet on reliable labels."""

import shutil
from dataclasses import asdict, replace

import pandas as pd
import pytest
import torch
from torch import Tensor

from ppl.jobs.errors import UserError

LAST_FROZEN = {"irnet": 4, "affinitynet": 0}


@pytest.fixture
def trained(refiner, training):
    """Return a function that trains with some settings and returns the weights."""

    def train(workers: int = 0, **changes) -> dict[str, Tensor]:
        settings = training(**changes)
        refiner.train.main(replace(settings, hardware=replace(settings.hardware, workers=workers)))
        return torch.load(settings.out, weights_only=True)["network"]

    return train


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss_and_the_checkpoint_loads(refiner, training) -> None:
    settings = training(epochs=25, lr=0.05)
    shutil.rmtree(settings.data / "SegmentationClass")  # no training opens a mask
    refiner.train.main(settings)
    loss = pd.read_csv(settings.log)["loss"]
    assert len(loss) == 25
    assert loss[-5:].mean() < 0.9 * loss[:2].mean()
    network, content = refiner.network.load(settings.out, ["ball", "cube"])
    assert not network.training
    assert (content["classes"], content["code"]) == (["ball", "cube"], "test")
    assert content["settings"] == asdict(settings.training)
    with pytest.raises(UserError, match="other classes"):
        refiner.network.load(settings.out, ["ball"])


def test_frozen_stages_keep_their_weights_and_the_rest_changes(refiner, trained) -> None:
    shorter, longer = trained(epochs=1), trained(epochs=4)
    for name, weights in shorter.items():
        frozen = name.startswith("backbone.stages.") and int(name.split(".")[2]) <= LAST_FROZEN[refiner.name]
        if frozen or (weights.is_floating_point() and "running" not in name):
            assert torch.equal(weights, longer[name]) == frozen, name


def test_weights_depend_on_the_seed_and_not_on_workers(trained) -> None:
    first = trained()
    assert equal(first, trained())
    assert equal(first, trained(workers=1))
    assert not equal(first, trained(seed=2))


def test_a_photo_without_label_map_is_named(refiner, training) -> None:
    settings = training()
    with pytest.raises(UserError, match=r"scene.1"):
        refiner.train.main(replace(settings, labels=settings.labels[:1]))
    assert not settings.out.exists()
