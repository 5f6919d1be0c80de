"""AffinityNet: affinities, loss and features by their definition."""

import pytest
import torch

from ppl.data.masks import IGNORE
from ppl.refine.affinitynet import EPSILON, Architecture, affinity_loss, build, pair_affinity
from ppl.refine.feature_walk import propagate_by_features
from ppl.refine.walk import propagate


def affinity_of(features: torch.Tensor, i: int, j: int) -> torch.Tensor:
    flat = features.flatten(-2)
    return torch.exp(-(flat[:, i] - flat[:, j]).abs().mean())


def near_pairs(h: int, w: int, radius: int):
    """All ordered pairs of different pixels nearer than the radius."""
    for i in range(h * w):
        for j in range(h * w):
            if i != j and (i // w - j // w) ** 2 + (i % w - j % w) ** 2 < radius**2:
                yield i, j


@pytest.mark.parametrize("size", [(7, 9), (1, 8), (2, 2), (1, 1)], ids=str)
def test_the_walk_is_that_of_the_dense_matrix(size) -> None:
    torch.manual_seed(0)
    (h, w), radius, beta, steps = size, 3, 4.0, 32
    features, scores = torch.randn(6, h, w), torch.rand(2, h, w)
    matrix = torch.eye(h * w, dtype=torch.float64)
    for i, j in near_pairs(h, w, radius):
        matrix[i, j] = affinity_of(features.double(), i, j) ** beta
    walked = scores.double().flatten(1) @ torch.linalg.matrix_power(matrix / matrix.sum(0), steps)
    ours = propagate_by_features(scores, features, radius=radius, beta=beta, steps=steps)
    torch.testing.assert_close(ours.double(), walked.view_as(scores), rtol=1e-5, atol=1e-6)


def test_equal_features_walk_as_without_boundaries() -> None:
    torch.manual_seed(0)
    scores = torch.rand(3, 8, 11)
    alike = propagate_by_features(scores, torch.ones(5, 8, 11), radius=5, beta=8, steps=64)
    torch.testing.assert_close(alike, propagate(scores, torch.zeros(8, 11), radius=5, beta=10, steps=64))


@pytest.mark.parametrize(
    ("features", "message"), [(torch.zeros(5, 4, 6), "shape"), (torch.full((5, 4, 5), float("nan")), "finite")]
)
def test_features_that_do_not_fit_are_refused(features, message) -> None:
    with pytest.raises(ValueError, match=message):
        propagate_by_features(torch.zeros(1, 4, 5), features)


def test_the_affinity_of_a_pair_has_no_direction() -> None:
    torch.manual_seed(0)
    features = torch.randn(4, 6, 7)
    one, mirrored = pair_affinity(features, (1, 2)), pair_affinity(features.flip(1, 2), (1, 2)).flip(0, 1)
    torch.testing.assert_close(one, mirrored)
    assert ((one > 0) & (one <= 1)).all()


def test_the_loss_is_the_mean_over_the_pairs_of_each_kind() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[torch.rand(2, 5, 6) < 0.2] = IGNORE
    terms = {"bg": [], "fg": [], "neg": []}
    for image, of_image in zip(features, labels.flatten(1), strict=True):
        for i, j in near_pairs(5, 6, 3):
            if IGNORE not in (of_image[i], of_image[j]):
                affinity = affinity_of(image, i, j)
                if of_image[i] == of_image[j]:
                    terms["fg" if of_image[i] else "bg"].append(-torch.log(affinity + EPSILON))
                else:
                    terms["neg"].append(-torch.log(1 + EPSILON - affinity))
    bg, fg, neg = (torch.stack(terms[kind]).mean() for kind in ("bg", "fg", "neg"))
    reference, ours = bg / 4 + fg / 4 + neg / 2, affinity_loss(features, labels, 3)
    torch.testing.assert_close(ours, reference)
    (expected,) = torch.autograd.grad(reference, features, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(ours, features)[0], expected)


def test_without_labels_there_is_no_loss() -> None:
    features = torch.randn(1, 4, 5, 6, requires_grad=True)
    loss = affinity_loss(features, torch.full((1, 5, 6), IGNORE), 3)
    loss.backward()
    assert loss == 0
    assert not features.grad.any()


def test_features_are_those_of_stride_eight(tiny) -> None:
    network = build(Architecture(tiny, 0), weights="none").eval()
    assert network(torch.zeros(1, 3, 41, 64)).shape == (1, 448, 6, 8)
