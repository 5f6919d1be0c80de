import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ppl.networks.backbones import dilate
from ppl.networks.depthwise import depthwise, is_faster
from ppl.networks.efficientnet_lite0 import SameConv2d

sides = st.integers(1, 13)


@given(
    st.integers(1, 5), st.integers(1, 4), sides, sides, st.sampled_from([1, 3, 5]), st.integers(1, 3), st.booleans(),
    st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_outputs_and_gradients_are_those_of_torch(images, channels, h, w, k, dilation, bias, last, seed) -> None:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, weight, shift = random(images, channels, h, w), random(channels, 1, k, k), random(channels) if bias else None
    x = x.to(memory_format=torch.channels_last) if last else x
    leaves = [t.requires_grad_() for t in (x, weight, shift) if t is not None]
    ours = depthwise(x, weight, shift, dilation)
    theirs = F.conv2d(*leaves, padding=dilation * (k // 2), dilation=dilation, groups=channels)
    torch.testing.assert_close(ours, theirs)
    upstream = random(images, channels, h, w)
    torch.testing.assert_close(*(torch.autograd.grad(y, leaves, upstream) for y in (ours, theirs)))


@pytest.mark.parametrize("trained", [(True, False), (False, True)])
def test_only_what_wants_a_gradient_gets_one(trained: tuple[bool, bool]) -> None:
    x, weight = torch.randn(2, 3, 6, 6, requires_grad=trained[0]), torch.randn(3, 1, 3, 3, requires_grad=trained[1])
    depthwise(x, weight, torch.zeros(3) if trained[0] else None, 1).sum().backward()
    assert (x.grad is not None, weight.grad is not None) == trained


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_network_trains_alike_on_either_way(kernel: int, dilation: int, precision: str) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(8, 8, kernel, groups=8)
    dilate(conv, dilation)
    x = torch.randn(2, 8, 25, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        y = conv(x)
        assert is_faster(x, conv.weight, dilation) == ((kernel, dilation) != (3, 1) and precision == "32-true")
        padding = dilation * (kernel // 2)
        expected = F.conv2d(x, conv.weight, conv.bias, padding=padding, dilation=dilation, groups=8)
    assert y.dtype == expected.dtype
    gradients = [torch.autograd.grad(out.float().square().sum(), [x, conv.weight, conv.bias]) for out in (y, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)
