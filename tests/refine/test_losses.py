"""The streaming pair losses against a pair-by-pair formulation under autograd."""

import pytest
import torch
from torch import Tensor

from ppl.refine.lines import search_paths
from ppl.refine.losses import PairLosses, pair_losses, total


def naive_losses(boundary: Tensor, displacement: Tensor, labels: Tensor, radius: int) -> PairLosses:
    """The definition, one pair at a time; differentiable, in the precision of its inputs."""
    terms: dict[str, list[Tensor]] = {name: [] for name in PairLosses._fields}
    batch, h, w = boundary.shape
    for b in range(batch):
        for y in range(h - radius + 1):
            for x in range(radius - 1, w - radius + 1):
                for (dy, dx), line in search_paths(radius):
                    one, other = int(labels[b, y, x]), int(labels[b, y + dy, x + dx])
                    if 255 in (one, other):
                        continue
                    affinity = 1 - torch.stack([boundary[b, y + py, x + px] for py, px in line]).max()
                    moved = displacement[b, :, y, x] - displacement[b, :, y + dy, x + dx]
                    if one != other:
                        terms["neg"].append(-torch.log(1 + 1e-5 - affinity))
                    elif one == 0:
                        terms["bg_pos"].append(-torch.log(affinity + 1e-5))
                        terms["dp_bg"].append(moved.abs())
                    else:
                        terms["fg_pos"].append(-torch.log(affinity + 1e-5))
                        terms["dp_fg"].append((moved - torch.tensor([dy, dx])).abs())
    return PairLosses(
        *(torch.stack(terms[n]).mean() if terms[n] else boundary.new_zeros(()) for n in PairLosses._fields)
    )


def random_inputs(batch: int, h: int, w: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boundary = torch.rand(batch, h, w, generator=generator)
    displacement = 3 * torch.randn(batch, 2, h, w, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 7, 255])[torch.randint(6, (batch, h, w), generator=generator)]
    return boundary.requires_grad_(), displacement.requires_grad_(), labels.to(torch.uint8)


@pytest.mark.parametrize(("size", "radius"), [((8, 12), 4), ((4, 9), 3), ((5, 6), 2)], ids=str)
@pytest.mark.parametrize("name", PairLosses._fields)
def test_each_loss_and_its_gradients_equal_the_pairwise_definition(
    name: str, size: tuple[int, int], radius: int
) -> None:
    boundary, displacement, labels = random_inputs(2, *size)
    loss = getattr(pair_losses(boundary, displacement, labels, radius), name)
    doubles = [boundary.detach().double().requires_grad_(), displacement.detach().double().requires_grad_()]
    expected = getattr(naive_losses(*doubles, labels, radius), name)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert loss > 0
    ours = torch.autograd.grad(loss, (boundary, displacement))
    theirs = torch.autograd.grad(expected, doubles, materialize_grads=True)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.double(), their, rtol=1e-4, atol=1e-5)


def test_the_total_weighs_each_gradient() -> None:
    inputs = random_inputs(2, 7, 11)
    losses = pair_losses(*inputs, 3)
    gradients = [torch.autograd.grad(loss, inputs[:2], retain_graph=True) for loss in losses]
    combined = torch.autograd.grad(total(losses), inputs[:2])
    for i in range(2):
        weighted = sum(g[i] * weight for g, weight in zip(gradients, (0.25, 0.25, 0.5, 0.5, 0.5), strict=True))
        torch.testing.assert_close(combined[i], weighted)
    assert total(PairLosses(*map(torch.tensor, (4.0, 8.0, 3.0, 1.0, 5.0)))) == 7.5


def test_perfect_predictions_cost_nothing() -> None:
    """Two halves with a boundary between them; displacements that point to the centre of the foreground half."""
    labels = torch.zeros(1, 12, 16, dtype=torch.long)
    labels[..., 8:] = 3
    boundary = torch.zeros(1, 12, 16)
    boundary[..., 7] = boundary[..., 8] = 1
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    displacement = torch.stack((5 - rows, 12 - columns))[None] * (labels > 0)[:, None]
    losses = pair_losses(boundary, displacement, labels, 4)
    assert losses.neg.abs() < 1e-4
    assert losses.dp_fg == losses.dp_bg == 0
    outward = pair_losses(boundary, -displacement, labels, 4)
    assert outward.dp_fg > 1  # (dy, dx) points towards the centre, not away from it
    swapped = pair_losses(boundary, displacement.flip(1), labels, 4)
    assert swapped.dp_fg > 1  # dy comes first


def test_a_flat_boundary_map_costs_nothing_inside_a_region() -> None:
    boundary, displacement = torch.zeros(1, 8, 11), torch.zeros(1, 2, 8, 11)
    for label, name in ((0, "bg_pos"), (2, "fg_pos")):
        losses = pair_losses(boundary, displacement, torch.full((1, 8, 11), label), 4)
        assert getattr(losses, name).abs() < 1e-4
        assert getattr(pair_losses(boundary + 1, displacement, torch.full((1, 8, 11), label), 4), name) > 10


def test_ignored_pixels_get_no_gradient_from_their_own_labels() -> None:
    boundary, displacement, labels = random_inputs(1, 9, 11)
    labels[:] = 255
    losses = pair_losses(boundary, displacement, labels, 4)
    total(losses).backward()
    assert all(loss == 0 for loss in losses)
    assert not boundary.grad.any()
    assert not displacement.grad.any()


def test_displacement_of_an_ignored_pixel_gets_no_gradient() -> None:
    boundary, displacement, labels = random_inputs(1, 9, 11)
    total(pair_losses(boundary, displacement, labels, 4)).backward()
    ignored = (labels == 255)[:, None].expand_as(displacement)
    assert not displacement.grad[ignored].any()
    assert displacement.grad[~ignored].any()


def test_means_are_over_the_pairs_of_the_whole_batch() -> None:
    boundary, displacement, labels = random_inputs(1, 8, 11)
    single = pair_losses(boundary, displacement, labels, 4)
    unlabelled = torch.full_like(labels, 255)
    for second in (labels, unlabelled):  # a copy and an image without pairs both leave every mean as it is
        inputs = [
            torch.cat((tensor, other)) for tensor, other in ((boundary,) * 2, (displacement,) * 2, (labels, second))
        ]
        torch.testing.assert_close(pair_losses(*inputs, 4), single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 20), (20, 9), (1, 1)], ids=str)
def test_images_smaller_than_the_radius_cost_nothing(size: tuple[int, int]) -> None:
    boundary, displacement, labels = random_inputs(2, *size)
    losses = pair_losses(boundary, displacement, labels, 6)
    total(losses).backward()
    assert all(loss == 0 for loss in losses)
    assert not boundary.grad.any()
    assert not displacement.grad.any()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saturated_boundaries_give_finite_gradients(value: float) -> None:
    boundary, displacement, labels = random_inputs(1, 8, 11)
    saturated = torch.full_like(boundary, value, requires_grad=True)
    loss = total(pair_losses(saturated, displacement, labels, 4))
    loss.backward()
    assert loss.isfinite()
    assert saturated.grad.isfinite().all()


def test_mixed_precision_computes_in_float32() -> None:
    boundary, displacement, labels = random_inputs(1, 8, 11)
    expected = total(pair_losses(boundary, displacement, labels, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(total(pair_losses(boundary, displacement, labels, 4)), expected)
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in (boundary, displacement)]
    loss = total(pair_losses(*halves, labels, 4))
    loss.backward()
    assert loss.dtype == torch.float32
    assert halves[0].grad.dtype == halves[1].grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("boundary", "displacement", "labels", "message"),
    [
        ((4, 5), (1, 2, 4, 5), torch.zeros(4, 5, dtype=torch.uint8), "boundary and labels"),
        ((1, 4, 5), (1, 2, 4, 5), torch.zeros(1, 5, 4, dtype=torch.uint8), "boundary and labels"),
        ((1, 4, 5), (1, 1, 4, 5), torch.zeros(1, 4, 5, dtype=torch.uint8), "displacement"),
        ((1, 4, 5), (1, 2, 4, 5), torch.zeros(1, 4, 5), "uint8 or int64"),
    ],
)
def test_wrong_inputs_are_refused(boundary: tuple, displacement: tuple, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair_losses(torch.zeros(boundary), torch.zeros(displacement), labels, 3)
