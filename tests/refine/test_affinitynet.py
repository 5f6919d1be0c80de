"""AffinityNet: affinities and loss by their definition, its walk against the dense power, its training, its labels."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ppl.cam import store
from ppl.cam.seeds import seed
from ppl.cam.store import Cam
from ppl.crf.dense import IRNET, from_labels
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE, read_mask
from ppl.data.photos import read_photo
from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError
from ppl.refine import build as checkpoint
from ppl.refine import crf_seeds, pseudo
from ppl.refine import train_affinitynet as train_affinity
from ppl.refine.affinitynet import EPSILON, AffinityNet, affinity_loss, pair_affinity
from ppl.refine.reliable import power_labels, with_background
from ppl.refine.train_affinitynet import Settings, Training
from ppl.refine.walk import propagate, propagate_by_features
from ppl.refine.walked import Walk


def affinity_of(features: torch.Tensor, i: int, j: int) -> float:
    flat = features.flatten(-2)
    return float(torch.exp(-(flat[:, i] - flat[:, j]).abs().mean()))


def near_pairs(h: int, w: int, radius: int):
    """All ordered pairs of different pixels nearer than the radius."""
    for i in range(h * w):
        for j in range(h * w):
            if i != j and (i // w - j // w) ** 2 + (i % w - j % w) ** 2 < radius**2:
                yield i, j


@pytest.mark.parametrize("size", [(7, 9), (1, 8), (2, 2), (1, 1)], ids=str)
def test_the_walk_is_that_of_the_dense_matrix(size):
    torch.manual_seed(0)
    (h, w), radius, beta, steps = size, 3, 4.0, 32
    features, scores = torch.randn(6, h, w), torch.rand(2, h, w)
    matrix = torch.eye(h * w, dtype=torch.float64)
    for i, j in near_pairs(h, w, radius):
        matrix[i, j] = affinity_of(features.double(), i, j) ** beta
    walked = scores.double().flatten(1) @ torch.linalg.matrix_power(matrix / matrix.sum(0), steps)
    ours = propagate_by_features(scores, features, radius=radius, beta=beta, steps=steps)
    torch.testing.assert_close(ours.double(), walked.view_as(scores), rtol=1e-5, atol=1e-6)


def test_equal_features_walk_as_without_boundaries():
    torch.manual_seed(0)
    scores = torch.rand(3, 8, 11)
    alike = propagate_by_features(scores, torch.ones(5, 8, 11), radius=5, beta=8, steps=64)
    torch.testing.assert_close(alike, propagate(scores, torch.zeros(8, 11), radius=5, beta=10, steps=64))


def test_the_affinity_of_a_pair_has_no_direction():
    torch.manual_seed(0)
    features = torch.randn(4, 6, 7)
    one, mirrored = pair_affinity(features, (1, 2)), pair_affinity(features.flip(1, 2), (1, 2)).flip(0, 1)
    torch.testing.assert_close(one, mirrored)
    assert ((one > 0) & (one <= 1)).all()


def test_the_loss_is_the_mean_over_the_pairs_of_each_kind():
    torch.manual_seed(0)
    features = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[torch.rand(2, 5, 6) < 0.2] = IGNORE
    terms = {"bg": [], "fg": [], "neg": []}
    for image in range(2):
        flat = labels[image].flatten()
        for i, j in near_pairs(5, 6, 3):
            if IGNORE in (flat[i], flat[j]):
                continue
            pixels = features[image].flatten(1)
            affinity = torch.exp(-(pixels[:, i] - pixels[:, j]).abs().mean())
            if flat[i] == flat[j]:
                terms["fg" if flat[i] else "bg"].append(-torch.log(affinity + EPSILON))
            else:
                terms["neg"].append(-torch.log(1 + EPSILON - affinity))
    bg, fg, neg = (torch.stack(terms[kind]).mean() for kind in ("bg", "fg", "neg"))
    reference, ours = bg / 4 + fg / 4 + neg / 2, affinity_loss(features, labels, 3)
    torch.testing.assert_close(ours, reference)
    (expected,) = torch.autograd.grad(reference, features, retain_graph=True)
    (found,) = torch.autograd.grad(ours, features)
    torch.testing.assert_close(found, expected)


def test_without_labels_there_is_no_loss():
    features = torch.randn(1, 4, 5, 6, requires_grad=True)
    loss = affinity_loss(features, torch.full((1, 5, 6), IGNORE), 3)
    loss.backward()
    assert loss == 0
    assert not features.grad.any()


def test_a_higher_power_leaves_less_to_background():
    cam = np.random.default_rng(0).random((2, 6, 7)).astype(np.float32)
    low, high = with_background(cam, 4), with_background(cam, 32)
    assert (low[0] >= high[0]).all()
    assert (low[0] > high[0]).any()
    np.testing.assert_array_equal(low[1:], cam)
    assert (with_background(np.zeros((0, 6, 7), np.float32), 4) == 1).all()  # no class: background for certain


def test_confident_labels_by_powers_hold_classes_of_the_image_or_nothing():
    rng = np.random.default_rng(0)
    cam = np.zeros((1, 24, 30), np.float32)
    cam[0, :, 20:], cam[0, :, 10:20] = 0.9, 0.12  # certain; in doubt between 0.88^4 and 0.88^32
    photo = np.zeros((24, 30, 3), np.uint8)
    photo[:, 10:20], photo[:, 20:] = 120, 240
    labels = power_labels(photo + rng.integers(0, 3, photo.shape, np.uint8), cam, [7], (4, 32))
    assert (labels[:, 24:] == 7).all()
    assert (labels[:, :6] == 0).all()
    assert (labels[:, 13:17] == IGNORE).all()


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    shutil.rmtree(scenes.root / "SegmentationClass")  # training opens no mask
    training = Training(
        backbone=tiny, weights="none", trained_from=1, epochs=2, batch_size=2, lr=0.01, new_lr_factor=10,
        momentum=0.9, weight_decay=5e-4, power=0.9, long_side=(32, 64), crop=40, radius=3, seed=1,
    )  # fmt: skip
    return Settings(
        data=scenes.root,
        train_split="all",
        labels=scenes.labels,
        out=tmp_path / "affinitynet.pt",
        log=tmp_path / "affinitynet.csv",
        code="test",
        training=training,
        hardware=Hardware(devices=0, workers=0, precision="32-true"),
    )


def test_training_lowers_the_loss_and_leaves_frozen_stages(settings):
    train_affinity.main(replace(settings, training=replace(settings.training, epochs=1, lr=1e-9)))
    before = checkpoint.load_affinitynet(settings.out)[1]["network"]
    train_affinity.main(replace(settings, training=replace(settings.training, epochs=20)))
    loss = pd.read_csv(settings.log)["loss"]
    assert loss.iloc[-5:].mean() < 0.9 * loss.iloc[:2].mean()
    after = checkpoint.load_affinitynet(settings.out)[1]["network"]
    stem = [name for name in before if name.startswith("backbone.stages.0.")]
    assert stem
    assert all(torch.equal(before[name], after[name]) for name in stem)
    assert not torch.equal(before["joined.weight"], after["joined.weight"])


def test_it_refines_cams_of_one_class_and_of_none(settings, scenes, tmp_path, monkeypatch):
    train_affinity.main(settings)
    dataset, rng = Dataset.open(scenes.root), np.random.default_rng(0)
    classes = {i: np.array(dataset.labels_of(i) if i != scenes.images[-1] else (), np.int64) for i in scenes.images}
    sizes = {i: read_photo(dataset.photo(i)).shape[:2] for i in scenes.images}
    stored = (
        (i, Cam(rng.random((len(c), -(-sizes[i][0] // 4), -(-sizes[i][1] // 4)), np.float32), c, sizes[i]))
        for i, c in classes.items()
    )
    store.write(tmp_path / "cams.h5", stored, classes=dataset.classes, settings="{}", checkpoint="")
    monkeypatch.setattr(pseudo, "run_all", lambda function, items, **_: map(function, items))
    walked = pseudo.Settings(
        data=scenes.root, split="all", cams=(tmp_path / "cams.h5",), network=settings.out, kind="affinitynet",
        out=tmp_path / "pseudo", walk=Walk(radius=3, beta=8, steps=16, background=4, batch_size=2, crf=False),
        pairwise=IRNET, hardware=settings.hardware,
    )  # fmt: skip
    pseudo.main(walked)
    for image in scenes.images:
        label = read_mask(walked.out / f"{image}.png")
        assert label.shape == sizes[image]
        assert set(np.unique(label)) <= {0, *classes[image]}
    with pytest.raises(UserError, match="a checkpoint of kind 'irnet' is needed here, this is 'affinitynet'"):
        pseudo.main(replace(walked, kind="irnet"))


def test_features_are_those_of_stride_eight(tiny):
    network = checkpoint.build_affinitynet(tiny, 0, weights="none").eval()
    assert isinstance(network, AffinityNet)
    assert network(torch.zeros(1, 3, 41, 64)).shape == (1, 448, 6, 8)


def test_crf_seeds_are_the_seeds_after_a_crf():
    rng = np.random.default_rng(0)
    photo, cam = rng.integers(0, 256, (24, 32, 3), np.uint8), Cam(rng.random((1, 6, 8)), np.array([3]), (24, 32))
    ours = crf_seeds.crf_seed(photo, cam, threshold=0.4, confidence=0.7, iterations=5, pairwise=IRNET)
    (expected,) = from_labels(photo, [seed(cam, 0.4)], [3], confidence=0.7, iterations=5, pairwise=IRNET)
    np.testing.assert_array_equal(ours, expected)
