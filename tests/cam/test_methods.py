"""CAM methods: what holds for all entries of the slot, and the numbers of pytorch-grad-cam."""

import importlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ppl.cam import gradcam_plus_plus, scorecam
from ppl.cam.maps import branch_maps, maps_of
from ppl.cam.settings import METHODS, Cam, Maps, ScoreCam
from ppl.classify import build as classifiers
from ppl.classify.network import PatchClassifier
from ppl.classify.settings import Architecture
from ppl.jobs import slots
from ppl.jobs.errors import UserError

CLASSES = 3
VARIANTS = [("baseline", "plain"), ("explicit", "s2k2"), ("implicit", "s2k2-s4k3"), ("local", "s4k2")]


def raw_maps(name: str) -> Callable[[PatchClassifier, Tensor, Tensor], Tensor]:
    """Return a method with its default settings."""
    return partial(slots.load(METHODS, name).raw_maps, settings=slots.settings_of(Cam(method=name), "method"))


def classifier(tiny: str, method: str = "explicit", grids: str = "s2k2") -> PatchClassifier:
    torch.manual_seed(0)
    architecture = Architecture(backbone=tiny, phi_init="identity")
    network = classifiers.build(method, grids, CLASSES, architecture, weights="none").eval()
    torch.nn.init.normal_(network.classifier.weight)
    return network


def labels_of(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def photos_of(count: int, h: int, w: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, h, w, 3), dtype=np.uint8)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("variant", VARIANTS, ids="/".join)
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_every_variant_are_finite_at_odd_sizes(tiny: str, method: str, variant: tuple[str, str]) -> None:
    network, images = classifier(tiny, *variant), torch.randn(2, 3, 37, 51)
    maps = raw_maps(method)(network, images, labels_of([1, 0, 1], [0, 1, 0]))
    assert maps.shape == (2, network.branches, CLASSES, math.ceil(37 / 16), math.ceil(51 / 16))
    assert maps.isfinite().all()
    assert (maps[0, :, 0] != 0).any()
    assert (maps[1, :, 1] != 0).any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_leaves_no_gradient_and_does_not_change_the_mode(tiny: str, method: str, training: bool) -> None:
    network = classifier(tiny).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = branch_maps(network, photos_of(1, 33, 40), labels_of([1, 1, 0]), raw_maps(method), Maps(scales=(1, 0.5)))
    assert not maps.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training == training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS)
def test_maps_do_not_depend_on_the_gradient_mode_of_the_caller(tiny: str, method: str, context: Callable) -> None:
    network, cam = classifier(tiny), Cam(method=method, maps=Maps(scales=(1,)))
    with context():
        (maps,) = maps_of(network, photos_of(1, 32, 48), [(1, 3)], cam)
    (expected,) = maps_of(network, photos_of(1, 32, 48), [(1, 3)], cam)
    assert maps.shape == (2, 8, 12)
    np.testing.assert_array_equal(maps, expected)
    assert ((maps >= 0) & (maps <= 1)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_equals_its_photos_one_by_one_and_a_photo_without_labels_has_no_map(tiny: str, method: str) -> None:
    network, photos, labels = classifier(tiny), photos_of(3, 33, 26), [(1, 2), (), (3,)]
    cam = Cam(method=method, maps=Maps(scales=(1, 1.5)))
    together = maps_of(network, photos, labels, cam)
    assert [maps.shape for maps in together] == [(2, 9, 7), (0, 9, 7), (1, 9, 7)]
    for photo, ids, maps in zip(photos, labels, together, strict=True):
        np.testing.assert_allclose(maps, maps_of(network, photo[None], [ids], cam)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_a_class_does_not_depend_on_the_other_labels(tiny: str, method: str) -> None:
    network, images = classifier(tiny), torch.randn(2, 3, 32, 48)
    alone = raw_maps(method)(network, images, labels_of([0, 1, 0], [0, 1, 0]))
    together = raw_maps(method)(network, images, labels_of([1, 1, 1], [0, 1, 1]))
    assert_near(together[:, :, 1], alone[:, :, 1])


@pytest.mark.parametrize("method", METHODS)
def test_the_mirrored_photo_has_the_mirrored_maps(tiny: str, method: str) -> None:
    network, photos, labels = classifier(tiny), photos_of(1, 41, 30), labels_of([1, 1, 1])
    maps, mirrored = (
        branch_maps(network, p, labels, raw_maps(method), Maps(scales=(1, 0.5)))
        for p in (photos, photos[:, :, ::-1].copy())
    )
    assert_near(mirrored, maps.flip(4))
    assert not torch.allclose(maps, maps.flip(4), rtol=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_a_branch_that_adds_nothing_to_the_scores_does_not_change_the_maps_of_the_other(tiny: str, method: str) -> None:
    single, double = classifier(tiny, "baseline", "plain"), classifier(tiny)
    double.backbone.load_state_dict(single.backbone.state_dict())
    with torch.no_grad():
        double.classifier.weight.copy_(torch.cat([single.classifier.weight, single.classifier.weight * 0], dim=1))
    images, labels = torch.randn(2, 3, 32, 48), labels_of([1, 1, 0], [0, 1, 1])
    one, two = (raw_maps(method)(network, images, labels) for network in (single, double))
    assert_near(two[:, 0], one[:, 0])


def test_an_own_method_may_use_gradients_through_the_network_and_has_settings(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gradients.py").write_text(
        "from dataclasses import dataclass\n"
        "import torch\n"
        "from ppl.jobs.fields import Section\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Settings(Section):\n"
        "    factor: float = 1\n"
        "def raw_maps(network, images, labels, settings):\n"
        "    features = network.features(images)\n"
        "    gradients = torch.autograd.grad(network.logits(features).sum(), features)\n"
        "    maps = torch.stack([(f * g).sum(dim=1).abs() for f, g in zip(features, gradients)], dim=1)\n"
        "    return settings.factor * maps[:, :, None].expand(-1, -1, 3, -1, -1)\n"
    )
    monkeypatch.chdir(tmp_path)
    network, photos = classifier(tiny), photos_of(1, 32, 48)
    maps = [
        maps_of(network, photos, [(1, 2)], Cam(method="own/gradients", own=own, maps=Maps(scales=(1,))))
        for own in ({}, {"factor": 0})
    ]
    assert maps[0][0].max() > 0.9
    assert (maps[1][0] == 0).all()
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradcam_plus_plus_of_a_linear_head_has_the_weights_in_closed_form(tiny: str) -> None:
    """The gradient of a linear head on pooled features is its weight over the number of cells, in every cell."""
    network, images = classifier(tiny), torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        features = network.features(images)
    maps = gradcam_plus_plus.raw_maps(network, images, torch.ones(2, CLASSES, dtype=torch.bool), None)
    heads = network.classifier.weight.detach().flatten(1).chunk(network.branches, dim=1)  # each (classes, C)
    for branch, (f, w) in enumerate(zip(features, heads, strict=True)):
        share = w * f.mean(dim=(2, 3))[:, None]  # (B, classes, C): what a channel adds to the score
        weights = w.relu() / (2 + share).clamp(min=1)
        assert_near(maps[:, branch], torch.einsum("bck,bkhw->bchw", weights, f))


def test_the_scale_of_features_and_gradients_does_not_change_gradcam_plus_plus() -> None:
    torch.manual_seed(0)
    features, gradients = torch.rand(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    weights = gradcam_plus_plus.channel_weights(features, gradients)
    assert_near(gradcam_plus_plus.channel_weights(features / 1e4, gradients * 1e4) / 1e4, weights)
    assert (weights >= 0).all()


def test_scorecam_weights_are_a_softmax_of_scores_whatever_the_size_of_its_batches(tiny: str, monkeypatch) -> None:
    network, images, labels = classifier(tiny), torch.randn(1, 3, 32, 48), labels_of([1, 1, 1])
    with torch.no_grad():
        features = network.features(images)[1][0]
        scores = scorecam.masked_scores(network, images, features)
        expected = torch.einsum("kc,khw->chw", scores.softmax(dim=0), features)
        assert scores.shape == (32, CLASSES)
        assert scorecam.masked_scores(network, images, torch.ones(4, 2, 3)).std(dim=0).max() < 1e-5  # constant masks
    for pixels in (1, 5 * 32 * 48):
        monkeypatch.setattr(scorecam, "MASKED_PIXELS", pixels)
        assert_near(scorecam.raw_maps(network, images, labels, ScoreCam())[0, 1], expected)


def test_scorecam_may_use_the_channels_of_the_largest_deviation_only() -> None:
    features = torch.tensor([1.0, 4, 2, 3])[:, None, None] * torch.tensor([[[-1.0, 1]]]) + 7
    assert torch.equal(scorecam.strongest_channels(features, 2), features[[1, 3]])
    for all_of_them in (0, 4, 9):
        assert torch.equal(scorecam.strongest_channels(features, all_of_them), features)


@pytest.mark.parametrize("method", ["gradcam_plus_plus", "scorecam"])
def test_maps_are_those_of_pytorch_grad_cam(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    network = importlib.import_module("gradcam_reference").small_network()
    with np.load(Path(__file__).parent / "data" / "gradcam.npz") as file:
        numbers = {name: torch.from_numpy(file[name]) for name in file.files}
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)})
    labels = torch.ones(2, CLASSES, dtype=torch.bool)
    maps = raw_maps(method)(network, numbers["images"], labels)
    torch.testing.assert_close(maps, numbers[method], rtol=1e-4, atol=1e-5 * numbers[method].abs().max().item())


@pytest.mark.parametrize("form", ["maps.transpose(1, 2)", "maps[:, :, :1]", "maps[0]", "None"])
def test_maps_of_another_form_than_that_of_a_method_are_refused(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    name = f"form_{sum(map(ord, form))}"
    code = f"def raw_maps(network, images, labels, settings):\n    maps = network.maps(images)\n    return {form}\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cam.method: raw_maps returns .*, not a tensor"):
        maps_of(classifier(tiny), photos_of(1, 32, 48), [(1, 2)], Cam(method=f"own/{name}", maps=Maps(scales=(1,))))
