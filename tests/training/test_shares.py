"""Training steps in which each of some threads processes a share of the batch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ppl.classify.build import build
from ppl.classify.settings import Architecture
from ppl.classify.train import classification_loss
from ppl.segment import deeplab_v2
from ppl.segment.settings import DeepLabV2
from ppl.training.shares import InShares, in_shares


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Branches(nn.Module):
    """Three outputs: by one layer, by another one or the same, depending on the images, and without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        other = self.second(x) if bool((x > 0).all()) else x[:, :2] * self.first.weight.sum()
        return [self.first(x), other, x]


@pytest.fixture(autouse=True)
def three_cores(set_cores: Callable[[int], None]) -> None:
    set_cores(3)


def classifier() -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    network = build("explicit", "s4k2", 4, Architecture(backbone="resnet18"), weights="none")
    targets = torch.arange(20).reshape(5, 4).remainder(3).clamp(max=1).float()
    return network, lambda network, images: classification_loss(network(images), targets, 0.5)


def deeplab() -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    settings = DeepLabV2(backbone="resnet18", scales=(1, 0.5), rates=(1, 2))
    network = deeplab_v2.build("deeplab_v2", settings, 3, weights="none", frozen_stages=1)
    labels = torch.randint(0, 4, (5, 64, 64), dtype=torch.uint8)
    labels[0], labels[3, :20] = 255, 255  # shares have different numbers of labelled pixels
    return network, lambda network, images: deeplab_v2.loss(network, images, labels)


@pytest.mark.parametrize("case", [classifier, deeplab])
def test_losses_and_gradients_are_those_of_the_whole_batch(case: Callable) -> None:
    torch.manual_seed(0)
    network, loss = case()
    images = torch.randn(5, 3, 64, 64)
    shared = in_shares(network, images)
    assert isinstance(shared, InShares)

    def step(called: nn.Module) -> tuple[Tensor, dict[str, Tensor | None]]:
        network.zero_grad(set_to_none=True)
        value = loss(called, images)
        value.backward()
        return value.detach(), {name: p.grad for name, p in network.named_parameters()}

    (whole, expected), (value, gradients), (again, repeated) = step(network), step(shared), step(shared)
    torch.testing.assert_close(value, whole)
    assert {name for name, g in gradients.items() if g is None} == {name for name, g in expected.items() if g is None}
    for name, gradient in gradients.items():
        if gradient is not None:
            torch.testing.assert_close(
                gradient, expected[name], rtol=1e-3, atol=1e-5 * float(expected[name].abs().max())
            )
            assert torch.equal(gradient, repeated[name]), name  # whichever thread is faster
    assert torch.equal(value, again)


def test_gradients_add_to_those_that_are_there_and_a_loss_may_call_the_network_twice() -> None:
    network = nn.Conv2d(3, 2, 1)
    images = torch.randn(4, 3, 5, 5)
    shared = in_shares(network, images)
    for called in (network, shared):
        (called(images).mean() + called(images.flip(3)).square().mean() + network.weight.square().sum()).backward()
    twice = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    (network(images).mean() + network(images.flip(3)).square().mean() + network.weight.square().sum()).backward()
    torch.testing.assert_close(twice, [2 * p.grad for p in network.parameters()])


@pytest.mark.parametrize("network", [
    nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(0.5)), nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)),
    nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(0, 1)), nn.Sequential(nn.Conv2d(3, 2, 1), Centred()),
    nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
])  # fmt: skip
def test_a_network_whose_images_depend_on_each_other_or_on_chance_sees_the_whole_batch(network: nn.Module) -> None:
    images, buffers = torch.randn(4, 3, 5, 5), [b.clone() for b in network.buffers()]
    assert in_shares(network.train(), images) is network
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))


@pytest.mark.parametrize("positive", [slice(0, 2), slice(2, 4), slice(0, 0)])
@pytest.mark.parametrize("outputs", [(0,), (1,), (0, 1, 2), (2,)])
def test_parameters_that_a_share_does_not_use_have_the_gradients_of_the_others(
    positive: slice, outputs: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    network, images = Branches(), -torch.rand(4, 3, 2, 2)
    images[positive] *= -1
    shared = InShares(network, 2)

    def gradients(calls: list[list[Tensor]]) -> list[Tensor | None]:
        network.zero_grad(set_to_none=True)
        joined = [torch.cat(parts) for parts in zip(*calls, strict=True)]
        loss = sum(joined[i].square().mean() for i in outputs)
        if loss.requires_grad:
            loss.backward()
        return [parameter.grad for parameter in network.parameters()]

    expected, actual = gradients([network(images[:2]), network(images[2:])]), gradients([shared(images)])
    assert [g is None for g in actual] == [g is None for g in expected]
    for gradient, other in zip(actual, expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(gradient, other)


def test_the_trial_draws_no_random_numbers() -> None:
    images, network = torch.randn(4, 3, 5, 5), nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(0.5))
    before = torch.get_rng_state()
    in_shares(network, images)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_reaches_attributes_of_the_network() -> None:
    network = nn.Conv2d(3, 2, 1)
    assert in_shares(network, torch.randn(2, 3, 5, 5)).out_channels == 2


def test_an_error_of_a_network_is_its_own() -> None:
    shared = in_shares(nn.Conv2d(3, 2, 1), torch.randn(2, 3, 5, 5))
    with pytest.raises(RuntimeError, match="channels"):
        shared(torch.randn(2, 4, 5, 5))


def test_with_one_core_or_one_image_a_network_stays_as_it_is() -> None:
    network = nn.Conv2d(3, 2, 1)
    assert in_shares(network, torch.randn(1, 3, 5, 5)) is network
    torch.set_num_threads(1)
    assert in_shares(network, torch.randn(4, 3, 5, 5)) is network
