"""AffinityNet: affinities, loss and features by their definition."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from ppl.data.crops import draw_window
from ppl.data.masks import IGNORE
from ppl.refine.affinities import EPSILON, affinity_loss, pair_affinities
from ppl.refine.affinitynet import augmentation, build, loss, parameter_groups
from ppl.refine.feature_walk import propagate_by_features
from ppl.refine.lines import by_runs
from ppl.refine.settings import AffinityNet, AffinityNetTraining
from ppl.refine.walk import propagate


def affinity_of(features: torch.Tensor, i: int, j: int) -> torch.Tensor:
    flat = features.flatten(-2)
    return torch.exp(-(flat[:, i] - flat[:, j]).abs().mean())


def near_pairs(h: int, w: int, radius: int) -> list[tuple[int, int]]:
    """All ordered pairs of different pixels nearer than the radius."""
    pairs = permutations(range(h * w), 2)
    return [(i, j) for i, j in pairs if (i // w - j // w) ** 2 + (i % w - j % w) ** 2 < radius**2]


@pytest.mark.parametrize("size", [(7, 9), (1, 8), (2, 2), (1, 1)], ids=str)
def test_the_walk_is_that_of_the_dense_matrix(size) -> None:
    torch.manual_seed(0)
    (h, w), radius, beta, steps = size, 3, 4.0, 32
    features, scores = torch.randn(6, h, w), torch.rand(2, h, w)
    matrix = torch.eye(h * w, dtype=torch.float64)
    for i, j in near_pairs(h, w, radius):
        matrix[i, j] = affinity_of(features.double(), i, j) ** beta
    walked = scores.double().flatten(1) @ torch.linalg.matrix_power(matrix / matrix.sum(0), steps)
    (ours,) = propagate_by_features([scores], features[None], radius=radius, beta=beta, steps=steps)
    torch.testing.assert_close(ours.double(), walked.view_as(scores), rtol=1e-5, atol=1e-6)


def test_equal_features_walk_as_without_boundaries() -> None:
    torch.manual_seed(0)
    scores = torch.rand(3, 8, 11)
    (alike,) = propagate_by_features([scores], torch.ones(1, 5, 8, 11), radius=5, beta=8, steps=64)
    torch.testing.assert_close(alike, propagate(scores, torch.zeros(8, 11), radius=5, beta=10, steps=64))


@pytest.mark.parametrize(("size", "value", "message"), [((4, 6), 0, "shape"), ((4, 5), float("nan"), "finite")])
def test_features_that_do_not_fit_are_refused(size: tuple[int, int], value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        propagate_by_features([torch.zeros(1, 4, 5)], torch.full((1, 5, *size), float(value)))


@pytest.mark.parametrize("size", [(6, 7), (2, 3), (1, 1)], ids=str)
def test_affinities_have_no_direction_and_are_zero_beyond_the_image(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    (h, w), features = size, torch.randn(1, 4, *size)
    lines, planes = by_runs(4), pair_affinities(features, 4)
    mirrored = pair_affinities(features.flip(3), 4).flip(3)
    for i, ((dy, dx), _) in enumerate(lines):
        for y, x in product(range(h), range(w)):
            inside = y + dy < h and 0 <= x + dx < w
            expected = affinity_of(features[0], y * w + x, (y + dy) * w + x + dx) if inside else torch.zeros(())
            torch.testing.assert_close(planes[0, i, y, x], expected)
        if dy:  # the same pairs from the same pixels
            same = next(k for k, line in enumerate(lines) if line.end == (dy, -dx))
            torch.testing.assert_close(planes[:, i], mirrored[:, same])


def test_images_walk_together_as_alone() -> None:
    torch.manual_seed(0)
    features, scores = torch.randn(3, 6, 7, 9), [torch.rand(classes, 7, 9) for classes in (2, 1, 4)]
    alone = propagate_by_features(scores, features, images_at_once=1)
    for one, other in zip(propagate_by_features(scores, features, images_at_once=3), alone, strict=True):
        torch.testing.assert_close(one, other)
    assert propagate_by_features([], features[:0]) == []


def test_the_loss_is_the_mean_over_the_pairs_of_each_kind() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[torch.rand(2, 5, 6) < 0.2] = IGNORE
    terms = {"bg": [], "fg": [], "neg": []}
    for image, (i, j) in product(range(2), near_pairs(5, 6, 3)):
        (one, other), affinity = labels[image].flatten()[[i, j]].tolist(), affinity_of(features[image], i, j)
        if one == other != IGNORE:
            terms["fg" if one else "bg"].append(-torch.log(affinity + EPSILON))
        elif IGNORE not in (one, other):
            terms["neg"].append(-torch.log(1 + EPSILON - affinity))
    bg, fg, neg = (torch.stack(terms[kind]).mean() for kind in ("bg", "fg", "neg"))
    reference, ours = bg / 4 + fg / 4 + neg / 2, affinity_loss(features, labels, 3)
    torch.testing.assert_close(ours, reference)
    (expected,) = torch.autograd.grad(reference, features, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(ours, features)[0], expected)


def test_the_loss_takes_a_few_operations_per_neighbour(operations) -> None:
    features, labels = torch.randn(2, 4, 9, 9, requires_grad=True), torch.randint(0, 3, (2, 9, 9))
    near, far = (sum(operations(lambda r=r: affinity_loss(features, labels, r).backward()).values()) for r in (3, 5))
    assert far - near <= 32 * (len(by_runs(5)) - len(by_runs(3)))  # views included


def test_without_labels_there_is_no_loss_and_no_gradient() -> None:
    features = torch.randn(1, 4, 5, 6, requires_grad=True)
    loss = affinity_loss(features, torch.full((1, 5, 6), IGNORE), 3)
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss == 0
    assert not gradient.any()


def test_features_are_those_of_stride_eight(tiny) -> None:
    network = build(AffinityNet(training=AffinityNetTraining(backbone=tiny)), "none").eval()
    assert network(torch.zeros(1, 3, 41, 64)).shape == (1, 448, 6, 8)


@pytest.mark.parametrize("frozen_stages", [-1, 0, 2, 4])
def test_the_stages_up_to_frozen_stages_keep_their_weights(tiny, frozen_stages: int) -> None:
    network = build(AffinityNet(training=AffinityNetTraining(backbone=tiny, frozen_stages=frozen_stages)), "none")
    for i, stage in enumerate(network.backbone.stages):
        assert all(p.requires_grad == (i > frozen_stages) for p in stage.parameters())
    assert all(p.requires_grad for p in [*network.new_convolutions(), *network.norms()])


def test_weights_and_biases_learn_at_the_rates_of_the_reference(tiny) -> None:
    """Pretrained weights and biases, normalisation too, at 1 and 2, new convolutions at 10; biases do not decay."""
    settings = AffinityNet(training=AffinityNetTraining(backbone=tiny, frozen_stages=-1, lr=0.1, weight_decay=5e-4))
    network = build(settings, "none")
    groups = {id(p): group for group in parameter_groups(network, settings) for p in group["params"]}
    assert sum(len(group["params"]) for group in parameter_groups(network, settings)) == len(groups)
    assert groups.keys() == {id(p) for p in network.parameters()}
    factors = {}
    for name, parameter in network.named_parameters():
        group, bias = groups[id(parameter)], name.endswith(".bias")
        assert group["weight_decay"] == (0 if bias else 5e-4), name
        factors[name] = round(group["lr"] / 0.1, 6)
    new = {"joined.weight", *(f"heads.{i}.0.weight" for i in range(3))}
    assert {name for name, factor in factors.items() if factor == 10} == new
    assert all(factors[name] == (2 if name.endswith(".bias") else 1) for name in factors.keys() - new)
    assert {factors[f"heads.{i}.1.{part}"] for i in range(3) for part in ("weight", "bias")} == {1, 2}


def test_rates_and_decay_of_biases_are_settings(tiny) -> None:
    training = AffinityNetTraining(backbone=tiny, bias_lr_factor=1, decay_biases=True, weight_decay=0.5)
    settings = AffinityNet(training=training)
    groups = parameter_groups(build(settings, "none"), settings)
    assert [round(group["lr"] / training.lr, 6) for group in groups] == [1, 10]
    assert {group["weight_decay"] for group in groups} == {0.5}


def test_photos_keep_their_scale_and_change_their_colours() -> None:
    changes, rng = augmentation(AffinityNet()), np.random.default_rng(0)
    assert changes.jitter == 0.3
    for size in ((375, 500), (500, 333), (600, 700)):
        window = draw_window(size, changes, rng)
        left, top, right, bottom = window.box
        assert window.size == (bottom - top, right - left) == tuple(min(side, 448) for side in size)


def test_new_convolutions_start_from_he_and_xavier(tiny) -> None:
    """He: standard deviation sqrt(2 / inputs). Xavier, gain 4: uniform within 4 sqrt(6 / (inputs + outputs))."""
    torch.manual_seed(0)
    network = build(AffinityNet(training=AffinityNetTraining(backbone="vgg16")), "none")
    for conv, _, _ in network.heads:
        assert conv.weight.std().item() == pytest.approx((2 / conv.in_channels) ** 0.5, rel=0.05)
        assert conv.weight.abs().max() > 3 * conv.weight.std()  # normal: not bounded as a uniform one is
    bound = 4 * (6 / (448 + 448)) ** 0.5
    weights = network.joined.weight
    assert weights.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert weights.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


def test_the_loss_compares_cells_by_the_label_of_most_of_their_pixels(tiny) -> None:
    torch.manual_seed(0)
    settings = AffinityNet(training=AffinityNetTraining(backbone=tiny, radius=3))
    network = build(settings, "none").eval()
    images = torch.rand(1, 3, 48, 48)
    cells = torch.randint(0, 3, (1, 6, 6)).to(torch.uint8)
    labels = cells.repeat_interleave(8, 1).repeat_interleave(8, 2)
    expected = affinity_loss(network(images), cells, 3)
    torch.testing.assert_close(loss(network, images, labels, settings), expected)
    labels[:, ::8, ::8] = IGNORE  # one pixel of 64
    torch.testing.assert_close(loss(network, images, labels, settings), expected)
