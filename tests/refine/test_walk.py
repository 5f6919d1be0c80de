"""The sparse Chebyshev walk against the dense matrix power, and the invariants of a random walk."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ppl.refine.walk import power_coefficients, propagate, propagate_batch


def dense_transition(boundary: Tensor, radius: int, beta: float) -> Tensor:
    """(h w, h w) transition matrix from its definition, pixel pair by pixel pair, in float64."""
    h, w = boundary.shape
    affinity = torch.eye(h * w, dtype=torch.float64)
    for i in range(h * w):
        for j in range(h * w):
            dy, dx = j // w - i // w, j % w - i % w
            if 0 < dy * dy + dx * dx < radius * radius:
                rows = range(min(dy, 0), max(dy, 0) + 1)
                columns = range(min(dx, 0), max(dx, 0) + 1)
                line = [(y, x) for y in rows for x in columns if (dy * x - dx * y) ** 2 / (dy * dy + dx * dx) < 1]
                highest = max(float(boundary[i // w + y, i % w + x]) for y, x in line)
                affinity[i, j] = (1 - highest) ** beta
    return affinity / affinity.sum(0, keepdim=True)


def dense_walk(scores: Tensor, boundary: Tensor, radius: int, beta: float, steps: int) -> Tensor:
    start = (scores.double() * (1 - boundary.double())).flatten(1)
    transition = dense_transition(boundary, radius, beta)
    return (start @ torch.linalg.matrix_power(transition, steps)).reshape(scores.shape)


def random_inputs(classes: int, h: int, w: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(classes, h, w, generator=generator), torch.rand(h, w, generator=generator) ** 3


def assert_equals_dense(scores: Tensor, boundary: Tensor, radius: int, beta: float, steps: int) -> None:
    out, expected = (walk(scores, boundary, radius, beta, steps) for walk in (propagate, dense_walk))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize("size", [(9, 14), (11, 7), (1, 13), (13, 1), (2, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("steps", [0, 1, 2, 7, 256])
def test_equals_the_dense_power(size: tuple[int, int], steps: int) -> None:
    assert_equals_dense(*random_inputs(3, *size), 5, 10.0, steps)


sides, radii, betas = st.integers(1, 8), st.integers(1, 6), st.sampled_from([1.0, 8.0, 10.0])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), sides, sides, st.integers(0, 99), radii, betas, st.integers(0, 40))
def test_equals_the_dense_power_for_any_setting(classes, h, w, seed, radius, beta, steps) -> None:
    assert_equals_dense(*random_inputs(classes, h, w, seed), radius, beta, steps)


def test_a_point_source_is_as_exact_as_a_full_map() -> None:
    scores = torch.zeros(1, 12, 12)
    scores[0, 6, 6] = 1
    assert_equals_dense(scores, torch.zeros(12, 12), 5, 10.0, 256)


def test_a_constant_stays_constant_away_from_any_boundary() -> None:
    torch.testing.assert_close(propagate(torch.ones(2, 30, 41), torch.zeros(30, 41)), torch.ones(2, 30, 41))


def test_nothing_crosses_a_closed_boundary() -> None:
    scores, boundary = torch.zeros(1, 20, 21), torch.zeros(20, 21)
    scores[:, :, :10] = 1
    boundary[:, 10] = 1  # a column wide: no line of sight past it
    out = propagate(scores, boundary)
    torch.testing.assert_close(out[..., :10], torch.ones(1, 20, 10))
    torch.testing.assert_close(out[..., 10:], torch.zeros(1, 20, 11))


def test_classes_do_not_influence_each_other_and_scores_enter_linearly() -> None:
    scores, boundary = random_inputs(4, 15, 17)
    together = propagate(scores, boundary, steps=33)
    apart = torch.cat([propagate(scores[i : i + 1], boundary, steps=33) for i in range(4)])
    torch.testing.assert_close(together, apart)
    summed = propagate(scores.sum(0, keepdim=True), boundary, steps=33)
    torch.testing.assert_close(summed, together.sum(0, keepdim=True))


def test_mirrored_inputs_give_mirrored_scores() -> None:
    scores, boundary = random_inputs(2, 12, 17)
    out = propagate(scores, boundary)
    for axis in (-1, -2):
        torch.testing.assert_close(propagate(scores.flip(axis), boundary.flip(axis)), out.flip(axis))


@pytest.mark.parametrize("size", [(12, 17), (3, 4), (1, 1)], ids=str)
@pytest.mark.parametrize("images_at_once", [None, 1, 2, 3])
def test_images_of_a_batch_walk_as_each_alone(images_at_once: int | None, size: tuple[int, int]) -> None:
    inputs = [random_inputs(classes, *size, seed=classes) for classes in (3, 1, 0, 2)]
    scores, boundaries = [x for x, _ in inputs], torch.stack([b for _, b in inputs])
    together = propagate_batch(scores, boundaries, steps=33, images_at_once=images_at_once)
    for out, alone in zip(together, (propagate(*x, steps=33) for x in inputs), strict=True):
        torch.testing.assert_close(out, alone)


def test_images_in_one_matrix_do_not_reach_each_other() -> None:
    scores, boundaries = [torch.zeros(1, 6, 7), torch.ones(1, 6, 7), torch.zeros(1, 6, 7)], torch.zeros(3, 6, 7)
    before, ones, after = propagate_batch(scores, boundaries, images_at_once=3)
    torch.testing.assert_close(ones, torch.ones(1, 6, 7))
    assert not before.any()
    assert not after.any()


def test_a_batch_without_images_gives_none() -> None:
    assert propagate_batch([], torch.zeros(0, 6, 7)) == []


def test_operations_depend_on_no_value_and_none_is_read_back_after_the_check(operations) -> None:
    """A CUDA graph requires this of a walk."""
    counted = []
    for classes, h, w in ((3, 12, 17), (2, 12, 17), (3, 40, 23)):
        x = random_inputs(classes, h, w)
        counted.append(operations(lambda x=x: propagate(*x)))
        assert sum(counted[-1][name] for name in ("_local_scalar_dense", "nonzero", "masked_select")) <= 2
    assert counted[0] == counted[1] == counted[2]
    assert "lift_fresh" not in counted[0]  # tables go to the device once per size
    assert counted[0]["addmm_"] == len(power_coefficients(256, 1e-7)) - 1
    scores, boundary = random_inputs(2, 12, 17)
    eight = operations(lambda: propagate_batch([scores] * 8, boundary.expand(8, -1, -1), images_at_once=8))
    assert eight["addmm_"] == counted[0]["addmm_"]


def test_an_image_without_classes_gives_no_scores() -> None:
    assert propagate(torch.zeros(0, 6, 5), torch.zeros(6, 5)).shape == (0, 6, 5)


def test_mixed_precision_changes_nothing_and_inputs_stay_as_they_are() -> None:
    scores, boundary = random_inputs(2, 12, 17)
    expected = propagate(scores, boundary)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(propagate(scores, boundary), expected)
    assert all(map(torch.equal, (scores, boundary), random_inputs(2, 12, 17)))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 40, 255, 256, 4096])
def test_coefficients_give_the_power(steps: int) -> None:
    coefficients = power_coefficients(steps, 1e-7)
    t = torch.linspace(-1, 1, 401, dtype=torch.float64)
    series = sum(c * torch.cos(k * torch.acos(t)) for k, c in enumerate(coefficients))
    assert (series - t**steps).abs().max() < 1.1e-7
    assert len(coefficients) <= min(steps, 5.5 * steps**0.5) + 1  # few of them: that is the point of the series


@pytest.mark.parametrize(("change", "message"), [
    ({"scores": torch.zeros(4, 5)}, "shape mismatch"),
    ({"boundary": torch.zeros(5, 4)}, "shape mismatch"),
    ({"scores": torch.zeros(1, 0, 5), "boundary": torch.zeros(0, 5)}, "shape mismatch"),
    ({"scores": torch.zeros(1, 4, 5, dtype=torch.long)}, "floating"),
    *(({"boundary": torch.full((4, 5), value)}, "0..1") for value in (1.01, -0.01, float("nan"))),
    ({"scores": torch.full((1, 4, 5), float("inf"))}, "finite"),
    ({"steps": -1}, "steps"), ({"beta": 0.0}, "beta"), ({"radius": 0}, "radius"),
])  # fmt: skip
def test_wrong_inputs_are_refused(change: dict, message: str) -> None:
    arguments = {"scores": torch.zeros(1, 4, 5), "boundary": torch.zeros(4, 5)} | change
    with pytest.raises(ValueError, match=message):
        propagate(**arguments)
