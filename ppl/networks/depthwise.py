"""Depthwise convolution with gradients several times faster than torch's, on a CPU and small maps.

For the filters of a depthwise convolution the gradient is a depthwise convolution too, of the input with the gradient
of the output as its filter: oneDNN computes that at the speed of its forward pass, but its own gradients of 5x5 filters
take a third of a training step of EfficientNet-Lite0, those of dilated ones half of it. (Why CPU training matters:
`networks/backbones.py`.)
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LARGEST = 24  # side of a map up to which this is faster
ROWS = 24  # height up to which small maps are stacked: launching the kernel takes longer than its work


def is_faster(x: Tensor, weight: Tensor) -> bool:
    """Return whether `depthwise` applies: on a CPU, with gradients, one floating-point type, and maps small enough."""
    return (
        x.device.type == "cpu"
        and x.requires_grad
        and max(x.shape[2:]) <= LARGEST
        and not torch.is_autocast_enabled("cpu")
        and x.dtype == weight.dtype
    )


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Return `conv2d` of x (B, C, h, w), padded to the same size, with odd square filters (C, 1, k, k), bias (C,)."""
    return _Depthwise.apply(x, weight, bias, dilation)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return F.conv2d(x, weight, bias, padding=_padding(weight, dilation), dilation=dilation, groups=x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), dilation = ctx.saved_tensors, ctx.dilation
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        padding, channels = _padding(weight, dilation), x.shape[1]
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = of_bias = None
        if needs_x:
            turned = weight.flip(2, 3)
            of_x = F.conv2d(grad, turned, padding=padding, dilation=dilation, groups=channels)
        if needs_weight:
            of_weight = _filter_gradient(x, grad, padding, dilation)
        if needs_bias:
            of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None


def _padding(weight: Tensor, dilation: int) -> int:
    return dilation * (weight.shape[-1] // 2)


def _filter_gradient(x: Tensor, grad: Tensor, padding: int, dilation: int) -> Tensor:
    """Return the sum over images b of x[b] convolved with grad[b]: (B, C, h, w) twice -> (C, 1, k, k).

    Dilation of the filter becomes the stride of this convolution. Small maps are stacked, separated by empty rows.
    """
    images, channels, height, width = x.shape
    stacked = max(1, ROWS // (height + padding))
    rows = height + padding if stacked > 1 else height
    x, grad = (F.pad(maps, (0, 0, 0, rows - height)).permute(0, 2, 3, 1).contiguous() for maps in (x, grad))
    total = x.new_zeros(())
    for first in range(0, images, stacked):
        tall, kernel = (
            maps[first : first + stacked].view(-1, width, channels).permute(2, 0, 1) for maps in (x, grad)
        )  # (C, rows, w) each, channels last in memory
        total = total + F.conv2d(tall[None], kernel[:, None], stride=dilation, padding=padding, groups=channels)
    return total[0][:, None]
