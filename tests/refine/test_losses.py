"""The pair losses against a pair-by-pair formulation under autograd."""

import pytest
import torch
from torch import Tensor

from ppl.refine.lines import lines_within
from ppl.refine.losses import PairLosses, pair_losses, total


def naive_losses(boundary: Tensor, labels: Tensor, radius: int) -> PairLosses:
    """The definition, one pair at a time; differentiable, in the precision of its inputs."""
    terms: dict[str, list[Tensor]] = {name: [] for name in PairLosses._fields}
    batch, h, w = boundary.shape
    for b in range(batch):
        for y in range(h - radius + 1):
            for x in range(radius - 1, w - radius + 1):
                for (dy, dx), line in lines_within(radius):
                    one, other = int(labels[b, y, x]), int(labels[b, y + dy, x + dx])
                    if 255 in (one, other):
                        continue
                    affinity = 1 - torch.stack([boundary[b, y + py, x + px] for py, px in line]).max()
                    if one != other:
                        terms["neg"].append(-torch.log(1 + 1e-5 - affinity))
                    else:
                        terms["fg_pos" if one else "bg_pos"].append(-torch.log(affinity + 1e-5))
    sums = {name: torch.stack(values).sum() if values else boundary.new_zeros(()) for name, values in terms.items()}
    return PairLosses(*(sums[name] / (len(terms[name]) + 1e-5) for name in PairLosses._fields))


def random_inputs(batch: int, h: int, w: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    boundary = torch.rand(batch, h, w, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 7, 255])[torch.randint(6, (batch, h, w), generator=generator)]
    return boundary.requires_grad_(), labels.to(torch.uint8)


@pytest.mark.parametrize(("size", "radius"), [((8, 12), 4), ((4, 9), 3), ((5, 6), 2)], ids=str)
@pytest.mark.parametrize("name", PairLosses._fields)
def test_each_loss_and_its_gradient_equal_the_pairwise_definition(name: str, size, radius: int) -> None:
    boundary, labels = random_inputs(2, *size)
    loss = getattr(pair_losses(boundary, labels, radius), name)
    double = boundary.detach().double().requires_grad_()
    expected = getattr(naive_losses(double, labels, radius), name)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert loss > 0
    (ours,), (theirs,) = torch.autograd.grad(loss, boundary), torch.autograd.grad(expected, double)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pairs_at_once", [1, 300, 10**6])
@pytest.mark.parametrize(("size", "radius"), [((8, 12), 4), ((5, 6), 2)], ids=str)
def test_in_float64_losses_and_gradients_are_exact_for_any_block(size, radius: int, pairs_at_once: int) -> None:
    boundary, labels = random_inputs(2, *size)
    boundary = boundary.detach().double().requires_grad_()
    ours, expected = (
        pair_losses(boundary, labels, radius, pairs_at_once=pairs_at_once),
        naive_losses(boundary, labels, radius),
    )
    for loss, reference in zip(ours, expected, strict=True):
        assert loss.dtype == torch.float64
        torch.testing.assert_close(loss, reference, rtol=1e-12, atol=1e-12)
        (one,), (other,) = (torch.autograd.grad(x, boundary, retain_graph=True) for x in (loss, reference))
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_the_total_weighs_the_losses_and_their_gradients() -> None:
    boundary, labels = random_inputs(2, 7, 11)
    losses = pair_losses(boundary, labels, 3)
    gradients = [torch.autograd.grad(loss, boundary, retain_graph=True)[0] for loss in losses]
    (combined,) = torch.autograd.grad(total(losses), boundary)
    torch.testing.assert_close(combined, sum(g * w for g, w in zip(gradients, (0.25, 0.25, 0.5), strict=True)))
    assert total(PairLosses(*map(torch.tensor, (4.0, 8.0, 3.0)))) == 4.5


def test_of_equal_maxima_one_pixel_gets_the_gradient() -> None:
    labels, boundary = torch.zeros(1, 2, 3, dtype=torch.uint8), torch.full((1, 2, 3), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(pair_losses(boundary, labels, 2).bg_pos, boundary)
    expected = torch.tensor([[[0, 0, 1.0], [0, 2, 1]]]) / 0.50001 / 4.00001  # four pairs: the last pixel of each line
    torch.testing.assert_close(gradient, expected)


def test_the_number_of_operations_depends_on_the_number_of_blocks_only(operations) -> None:
    """No operation per line, and none that reads a value back, as a CUDA graph requires."""
    inputs = [(*random_inputs(*size), radius) for size, radius in (((1, 30, 30), 4), ((3, 50, 40), 10))]
    counts = [operations(lambda x=x: pair_losses(*x, pairs_at_once=10**9)) for x in inputs]
    for counted in counts:
        assert not any(counted[name] for name in ("_local_scalar_dense", "nonzero", "masked_select", "bincount"))
    kernels = [n["index"] + n["maximum"] + n["index_add_"] for n in counts]
    assert kernels[0] <= kernels[1] < 50  # 12 and 152 lines
    two = operations(lambda: pair_losses(*inputs[1], pairs_at_once=3 * 152 * 1000))  # 1622 sources, 1000 at once
    assert two["index_add_"] == 2 * counts[1]["index_add_"]


def test_a_boundary_between_two_regions_costs_nothing() -> None:
    labels, boundary = torch.zeros(1, 12, 16, dtype=torch.long), torch.zeros(1, 12, 16)
    labels[..., 8:] = 3
    boundary[..., 7] = boundary[..., 8] = 1
    assert pair_losses(boundary, labels, 4).neg.abs() < 1e-4


@pytest.mark.parametrize(("label", "name"), [(0, "bg_pos"), (2, "fg_pos")])
def test_inside_a_region_no_boundary_costs_nothing_and_a_boundary_much(label: int, name: str) -> None:
    labels, boundary = torch.full((1, 8, 11), label), torch.zeros(1, 8, 11)
    assert getattr(pair_losses(boundary, labels, 4), name).abs() < 1e-4
    assert getattr(pair_losses(boundary + 1, labels, 4), name) > 10


@pytest.mark.parametrize(("size", "ignored"), [((9, 11), True), ((3, 20), False), ((20, 9), False), ((1, 1), False)])
def test_without_pairs_there_is_no_loss_and_no_gradient(size: tuple[int, int], ignored: bool) -> None:
    boundary, labels = random_inputs(2, *size)
    losses = pair_losses(boundary, torch.full_like(labels, 255) if ignored else labels, 6)
    total(losses).backward()
    assert all(loss == 0 for loss in losses)
    assert not boundary.grad.any()


def test_means_are_over_the_pairs_of_the_whole_batch() -> None:
    boundary, labels = random_inputs(1, 8, 11)
    single = pair_losses(boundary, labels, 4)
    for second in (labels, torch.full_like(labels, 255)):  # a copy, and an image without pairs: the means stay
        batch = torch.cat((boundary, boundary)), torch.cat((labels, second))
        torch.testing.assert_close(pair_losses(*batch, 4), single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saturated_boundaries_give_finite_gradients(value: float) -> None:
    boundary, labels = random_inputs(1, 8, 11)
    saturated = torch.full_like(boundary, value, requires_grad=True)
    loss = total(pair_losses(saturated, labels, 4))
    loss.backward()
    assert loss.isfinite()
    assert saturated.grad.isfinite().all()


def test_mixed_precision_computes_in_float32() -> None:
    boundary, labels = random_inputs(1, 8, 11)
    expected = total(pair_losses(boundary, labels, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(total(pair_losses(boundary, labels, 4)), expected)
    half = boundary.detach().bfloat16().requires_grad_()
    loss = total(pair_losses(half, labels, 4))
    loss.backward()
    assert (loss.dtype, half.grad.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(("boundary", "labels", "message"), [
    ((4, 5), torch.zeros(4, 5, dtype=torch.uint8), "shape mismatch"),
    ((1, 4, 5), torch.zeros(1, 5, 4, dtype=torch.uint8), "shape mismatch"),
    ((1, 4, 5), torch.zeros(1, 4, 5), "uint8 or int64"),
])  # fmt: skip
def test_wrong_inputs_are_refused(boundary: tuple, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair_losses(torch.zeros(boundary), labels, 3)
