"""Weights of joined convolutions that are scaled once per forward pass: results, gradients, threads, operations."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

import ppl.classify.network
from ppl.classify.build import build
from ppl.classify.settings import Architecture
from ppl.networks import backbones
from ppl.networks.backbones import FrozenNormConv2d, scaled_once
from ppl.refine import affinitynet
from ppl.refine.affinitynet import AffinityNet
from ppl.segment import deeplab_v2
from ppl.segment.settings import DeepLabV2

CALLERS = (deeplab_v2, ppl.classify.network, affinitynet)


def deeplab(backbone: str = "resnet18", scales: tuple[float, ...] = (1, 0.75, 0.5)) -> nn.Module:
    settings = DeepLabV2(backbone=backbone, scales=scales, rates=(1, 2))
    return deeplab_v2.build("deeplab_v2", settings, 3, weights="none", frozen_stages=1)


def explicit(backbone: str) -> nn.Module:
    return build("explicit", "s2k2-s4k2", 3, Architecture(backbone=backbone), weights="none")


def affinity(backbone: str) -> nn.Module:
    return AffinityNet(backbones.build(backbone, output_stride=8, dilated=True), frozen_stages=1)


def with_statistics(network: nn.Module) -> nn.Module:
    """Return a network in training mode whose norms matter; the first convolution has a bias that is trained."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, FrozenNormConv2d):
            norm = module.norm
            for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                values.uniform_(0.5, 1.5)
    first = next(module.conv for module in network.modules() if isinstance(module, FrozenNormConv2d))
    first.bias = nn.Parameter(torch.rand(len(first.weight), device=first.weight.device))
    return network.train()


def step(network: nn.Module, images: Tensor, autocasts: bool) -> tuple[list[Tensor], dict[str, Tensor | None]]:
    """Return outputs and gradients."""
    network.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocasts):
        outputs = network(images)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum(output.float().square().mean() for output in outputs).backward()
    return [output.detach() for output in outputs], {name: p.grad for name, p in network.named_parameters()}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("autocasts", [False, True])
@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("make", [deeplab, explicit, affinity])
def test_outputs_are_the_same_and_gradients_up_to_rounding(
    make: Callable, backbone: str, autocasts: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = with_statistics(make(backbone)).to(device, memory_format=torch.channels_last)
    images = torch.randn(2, 3, 47, 65, device=device)
    outputs, gradients = step(network, images, autocasts)
    for caller in CALLERS:
        monkeypatch.setattr(caller, "scaled_once", lambda _: nullcontext())
    expected, of_each_call = step(network, images, autocasts)
    assert all(map(torch.equal, outputs, expected))
    for name, gradient in of_each_call.items():
        assert (gradients[name] is None) == (gradient is None), name
        if gradient is not None:
            difference = (gradients[name] - gradient).norm() / gradient.norm().clamp(min=1e-12)
            assert difference < (2e-2 if autocasts else 1e-5), name


@pytest.mark.parametrize("autocasts", [False, True])
def test_no_gradient_enters_frozen_stages(autocasts: bool) -> None:
    """A stage in which only some norms are trained has gradients for these alone."""
    backbone = backbones.build("resnet18")
    backbone.stages[:2].requires_grad_(False)
    for module in backbone.stages[2].modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    first, *others = (module for module in backbone.stages[2].modules() if isinstance(module, FrozenNormConv2d))
    first.norm.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocasts), scaled_once(backbone):
        features = backbone.features(torch.randn(1, 3, 33, 33))
        shared = backbones._SHARED.get()
    assert [f.requires_grad for f in features] == [False, False, True, True, True]
    assert shared[first][1].requires_grad
    assert not any(shared[module][1].requires_grad for module in others)
    sum(f.float().mean() for f in features).backward()
    assert first.norm.weight.grad is not None
    assert all(p.grad is None for module in others for p in module.norm.parameters())


def test_each_thread_has_its_own_and_none_is_left_after_an_error() -> None:
    backbone, images = deeplab().backbone.eval(), torch.randn(1, 3, 33, 33)
    outputs = {}

    def change_and_fail(thread: ThreadPoolExecutor) -> None:
        with scaled_once(backbone):
            backbone.stages[0][0].conv.weight.mul_(2)
            outputs["here"] = backbone(images)
            outputs["in a thread"] = thread.submit(torch.no_grad()(backbone), images).result()
            raise ValueError("wrong")

    with torch.no_grad(), ThreadPoolExecutor(1) as thread:
        before = backbone(images)
        with pytest.raises(ValueError, match="wrong"):
            change_and_fail(thread)
        after = backbone(images)
    assert not torch.equal(after, before)
    assert torch.equal(outputs["here"], before)  # scaled before the change
    torch.testing.assert_close(outputs["in a thread"], after)  # a thread may have other cores, which round differently
    assert not backbones._SHARED.get()


def test_threads_side_by_side_have_the_gradients_of_one() -> None:
    network = with_statistics(deeplab())
    trained = [p for p in network.parameters() if p.requires_grad]
    batches = torch.randn(4, 1, 3, 33, 33)

    def gradients(images: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(sum(out.square().mean() for out in network(images)), trained)

    expected = list(map(gradients, batches))
    with ThreadPoolExecutor(4) as threads:
        for ours, one in zip(threads.map(gradients, batches), expected, strict=True):
            torch.testing.assert_close(ours, one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("autocasts", [False, True])
def test_operations_on_weights_do_not_depend_on_the_number_of_scales(operations: Callable, autocasts: bool) -> None:
    images, of_weights, scales = torch.randn(1, 3, 64, 64), ("mul", "sub", "cat"), (1, 0.75, 0.5)
    networks = [with_statistics(deeplab(scales=scales[:count])) for count in (1, 3)]
    one, three = (operations(lambda network=network: step(network, images, autocasts)) for network in networks)
    assert one["rsqrt"] == three["rsqrt"] == 5  # one per stage
    for name in of_weights:
        assert three[name] - one[name] <= 4 * 3, name  # losses and gradients of scales
    assert three["convolution"] == 3 * one["convolution"]


def test_it_is_compiled_without_a_break() -> None:
    torch._dynamo.reset()
    network, images = with_statistics(deeplab(scales=(1, 0.5))), torch.randn(2, 3, 33, 33)
    outputs, gradients = step(network, images, False)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    ours, of_compiled = step(compiled, images, False)
    torch.testing.assert_close(ours, outputs, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(of_compiled[f"_orig_mod.{name}"], gradient, rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()
