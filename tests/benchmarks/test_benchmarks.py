"""The references of the benchmarks compute the same as the package; hours follow from rates."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ppl.cam import store
from ppl.classify import variants
from ppl.classify.network import PatchClassifier
from ppl.data.resize import upsample
from ppl.measure import sweep
from ppl.networks import backbones
from ppl.refine import losses
from ppl.refine.reliable import Scores, reliable_labels
from ppl.refine.settings import Reliable


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Imports a module of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def references(load) -> ModuleType:
    return load("references")


@pytest.fixture(scope="module")
def network() -> PatchClassifier:
    torch.manual_seed(0)
    patched, global_branch = variants.branches("explicit", "s3k2-s4k3")
    return PatchClassifier(backbones.build("resnet18"), 3, grids=patched, global_branch=global_branch).eval()


def test_pair_losses(references: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    boundary = torch.rand(2, 16, 18, generator=generator)
    labels = torch.randint(0, 4, (2, 16, 18), generator=generator)
    labels[labels == 3] = 255
    results = []
    for loss in (
        lambda b: losses.total(losses.pair_losses(b, labels, 4)),
        lambda b: references.pair_losses(b, labels, 4),
    ):
        leaf = boundary.clone().requires_grad_()
        value = loss(leaf)
        results.append([value.detach(), *torch.autograd.grad(value, leaf)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_patch_branch(references: ModuleType, network: PatchClassifier) -> None:
    grid = network.grids[1]
    x = torch.randn(2, network.backbone.channels[grid.stage - 1], 12, 12)
    with torch.no_grad():
        ours = network._patched(x, grid, network.phi1[1], network.phi2[1])
        theirs = references.patch_branch(
            network.backbone.stages[grid.stage :], x, grid.k, network.phi1[1], network.phi2[1]
        )
    torch.testing.assert_close(ours, theirs[:, :, : ours.shape[2], : ours.shape[3]], rtol=1e-4, atol=1e-5)


def test_cams_at_the_photos_own_size(load, references: ModuleType, network: PatchClassifier) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    ours, theirs = load("maps").class_maps(network, photos, (1,)), references.cams(network, photos, (1,))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_sweep_store_and_reliable_labels(references: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo, truth = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), rng.integers(0, 3, (24, 32), dtype=np.uint8)
    cam = store.Cam(rng.random((2, 6, 8), dtype=np.float32), np.array([1, 2]), (24, 32))
    ours = sweep.table(sweep.histogram(truth, cam, 2), ["a", "b"]).miou.to_numpy() / 100
    np.testing.assert_allclose(ours, references.sweep([truth], [cam], 2, sweep.THRESHOLDS), atol=1e-12)
    full = upsample(cam.maps, cam.size)
    references.write_dictionaries(tmp_path / "npy", [full], [cam.classes])
    np.testing.assert_array_equal(references.read_dictionaries(tmp_path / "npy", 1)[0], full)
    (labels,) = reliable_labels([Scores(photo, full, cam.classes)], Reliable())
    assert (labels == references.reliable_labels(photo, full, cam.classes, labels=6)).mean() > 0.99


def test_hours_are_those_of_the_slower_of_device_and_cores(load) -> None:
    rates = load("rates")
    plan = rates.Plan("small", train=3600, predict=36, deeplab_steps=360)
    per_second = dict.fromkeys(
        [
            "train baseline/plain", "train explicit/s2k2-s3k4-s4k6", "train implicit/s2k2", "train implicit/s3k4",
            "train implicit/s4k6", "CAMs explicit", "train IRNet", "boundaries and walk", "train DeepLab", "predict",
            "decode and crop", "write CAM", "reliable labels", "CRF 21 labels",
        ],
        1.0,
    )  # fmt: skip
    one = rates.hours(plan, per_second, devices=1, cores=1).set_index("step")
    assert one.hours["classifier, baseline"] == 5  # epochs
    assert one.hours["DeepLab"] == 1
    assert one.hours["together"] == pytest.approx(one.hours[:-1].sum(), abs=0.05)
    two = rates.hours(plan, per_second, devices=2, cores=1).set_index("step")
    assert two.hours["classifier, baseline"] == 5
    assert two["limited by"]["classifier, baseline"] == "core"
    both = rates.hours(plan, per_second, devices=2, cores=4).set_index("step")
    assert both.hours["classifier, baseline"] == 2.5
    assert both.hours["reliable labels"] == 0.25
