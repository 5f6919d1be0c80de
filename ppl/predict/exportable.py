"""Trained networks as one module from photo to result, in a form that torch.export traces for photos of any size.

Tracing replaces the sides of a photo by symbols. Code that rounds them up in floating point, or that branches on them,
is traced very slowly or for one case alone: `SameConv2d`, timm's stages, smp's padding and the patched branches are
replaced by code of the same result on integers, without branches.
"""

import copy
import math
import sys
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.cam.maps import EPSILON
from ppl.cam.settings import Maps
from ppl.cam.store import STRIDE
from ppl.classify.network import PatchClassifier
from ppl.classify.patches import merge, without_rim
from ppl.classify.variants import Grid
from ppl.networks.backbones import fold_batchnorm
from ppl.networks.efficientnet_lite0 import SameConv2d
from ppl.segment.deeplab_v2 import DeepLab
from ppl.segment.logits import resize

CUBIC = -0.5  # coefficient of Pillow's bicubic filter, and of torch's with antialiasing


class SegmenterFromPhoto(nn.Module):
    """Normalisation, scales of the photo, network and upsampling: photos (B, h, w, 3) uint8 RGB to two outputs.

    These are the labels (B, h, w) uint8 and the probabilities (B, C+1, h, w) float32, as of
    `ppl.segment.inference.predict_batch`, without CRF.
    """

    def __init__(self, network: nn.Module, scales: Sequence[float], *, mirror: bool) -> None:
        super().__init__()
        self.normalise = Normalise(network.backbone.mean, network.backbone.std)
        self.network = exportable(network)
        self.scales, self.mirror = tuple(sorted(scales, reverse=True)), mirror

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels and probabilities."""
        images = self.normalise(photo)  # (B, 3, h, w)
        logits: list[Tensor] = []  # each (B, C+1, h', w')
        for scale in self.scales:
            x = rescale(images, scale)
            scores = self.network(torch.cat([x, x.flip(3)]) if self.mirror else x)
            views = scores.chunk(2) if self.mirror else (scores,)
            for scores, flipped in zip(views, (False, True), strict=False):
                scores = scores.flip(3) if flipped else scores
                logits.append(resize(scores, logits[0].shape[2:]) if logits else scores)
        # As of one scale the log-softmax of the logits themselves.
        mean = torch.stack([scores.log_softmax(dim=1) for scores in logits]).logsumexp(dim=0) - math.log(len(logits))
        scores = resize(mean, images.shape[2:])  # (B, C+1, h, w)
        return scores.argmax(dim=1).to(torch.uint8), scores.softmax(dim=1)


class ClassifierFromPhoto(nn.Module):
    """Photos (B, h, w, 3) uint8 RGB to the scores and the class activation maps of all classes.

    Scores are probabilities (B, C) float32 of the photo resized to `crop`, maps are (B, C, ceil(h / 4), ceil(w / 4))
    float32 in 0..1, as of `ppl.predict.api.Classifier`.
    """

    def __init__(self, network: PatchClassifier, crop: int, settings: Maps) -> None:
        super().__init__()
        self.normalise = Normalise(network.backbone.mean, network.backbone.std)
        self.network = ExportablePatchClassifier(network)
        self.crop, self.settings = crop, settings

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and maps."""
        return self.scores(photo), self.maps(self.normalise(photo))

    def scores(self, photo: Tensor) -> Tensor:
        """Return the probabilities (B, C) of photos, resized to whole grey levels as `Classifier.classify` does."""
        sides = torch.stack([_as_tensor(side) for side in photo.shape[1:3]])  # (2,)
        resized = _at_least_1((sides * self.crop / sides.max()).round())
        rows, columns = (_bicubic(side, new, self.crop) for side, new in zip(photo.shape[1:3], resized, strict=True))
        x = photo.permute(0, 3, 1, 2).float()
        x = (x @ columns.T).round().clamp(0, 255)  # horizontally first, as Pillow does
        x = (rows @ x).round().clamp(0, 255)  # (B, 3, crop, crop)
        places = torch.arange(self.crop)
        inside = (places[:, None] < resized[0]) & (places < resized[1])
        x = self.normalise(x.permute(0, 2, 3, 1)) * inside  # the rest of the crop is 0
        return self.network.logits(x).sigmoid()

    def maps(self, images: Tensor) -> Tensor:
        """Return the maps (B, C, h4, w4) of normalised images (B, 3, h, w): `branch_maps` and `fuse` of all classes."""
        h, w = images.shape[2:]
        grid = (_ceil(h, STRIDE), _ceil(w, STRIDE))
        total = torch.zeros(())
        for scale in self.settings.scales:
            x = images
            if scale != 1:
                size = [scaled(side, scale) for side in (h, w)]
                rows, columns = (_bicubic(a, _as_tensor(b), b) for a, b in zip((h, w), size, strict=True))
                x = rows @ (x @ columns.T)
            x = torch.cat([x, x.flip(3)]) if self.settings.mirror else x
            maps = self.network.maps(x, self.settings.rim).relu()  # (B or 2B, branches, C, h', w')
            maps = maps if self.settings.cam_exponent == 1 else maps.pow(self.settings.cam_exponent)
            if self.settings.mirror:
                maps, mirrored = maps.chunk(2)
                maps = maps + mirrored.flip(4)
            total = total + F.interpolate(maps.flatten(1, 2), grid, mode="bilinear", align_corners=False)
        total = total.unflatten(1, (self.network.branches, -1))  # (B, branches, C, h4, w4)
        if self.settings.fusion == "sum":
            total = total.sum(dim=1, keepdim=True)
        return (total / (total.amax(dim=(3, 4), keepdim=True) + EPSILON)).mean(dim=1)


class Normalise(nn.Module):
    """Normalisation of a backbone: (B, h, w, 3) RGB in 0..255 to (B, 3, h, w) float32."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("factor", 1 / (255 * torch.tensor(std, dtype=torch.float32)))
        self.register_buffer("shift", torch.tensor(mean, dtype=torch.float32) / torch.tensor(std, dtype=torch.float32))

    def forward(self, photo: Tensor) -> Tensor:
        """Return normalised images."""
        return (photo.float() * self.factor - self.shift).permute(0, 3, 1, 2).contiguous()


class ExportablePatchClassifier(nn.Module):
    """The maps and logits of a `PatchClassifier`."""

    def __init__(self, network: PatchClassifier) -> None:
        super().__init__()
        self.stages = nn.ModuleList(exportable(stage) for stage in network.backbone.stages)
        self.phi1, self.phi2 = exportable(network.phi1), exportable(network.phi2)
        self.classifier = exportable(network.classifier)
        self.grids, self.global_branch, self.branches = network.grids, network.global_branch, network.branches
        self.stride = network.backbone.output_stride

    def maps(self, x: Tensor, rim: int) -> Tensor:
        """Return the maps (B, branches, C, h, w) of normalised images (B, 3, H, W), before ReLU."""
        weights = self.classifier.weight.chunk(self.branches, dim=1)
        features = self.features(x, rim)
        return torch.stack([F.conv2d(f, w) for f, w in zip(features, weights, strict=True)], dim=1)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (B, C) of normalised images (B, 3, H, W)."""
        weights = self.classifier.weight.flatten(1).chunk(self.branches, dim=1)
        return sum(f.mean(dim=(2, 3)) @ w.T for f, w in zip(self.features(x, 0), weights, strict=True))

    def features(self, x: Tensor, rim: int) -> list[Tensor]:
        """Return the features of each branch, as `PatchClassifier.features`."""
        inputs = [x]  # of each stage
        for stage in self.stages[: None if self.global_branch else max(grid.stage for grid in self.grids)]:
            inputs.append(stage(inputs[-1]))
        outputs = inputs[-1:] if self.global_branch else []
        for grid, phi1, phi2 in zip(self.grids, self.phi1, self.phi2, strict=True):
            outputs.append(self._patched(inputs[grid.stage], grid, phi1, phi2, rim))
        return outputs

    def _patched(self, x: Tensor, grid: Grid, phi1: nn.Module, phi2: nn.Module, rim: int) -> Tensor:
        stride = self.stride // min(2**grid.stage, self.stride)
        patches = phi1(split(x, grid.k, rim * stride))
        side = [length - 2 * rim * stride for length in patches.shape[-2:]]
        for stage in self.stages[grid.stage :]:
            patches = stage(patches)
        patches = without_rim(phi2(patches), rim)
        merged = merge(patches, grid.k, tuple(grid.k * s for s in patches.shape[-2:]))
        # The original resizes only maps of another size than the patches cover; to the same size it changes nothing.
        covered = [_ceil(grid.k * s, stride) for s in side]
        merged = F.interpolate(merged, covered, mode="bilinear", align_corners=False)
        return merged[:, :, : _ceil(x.shape[2], stride), : _ceil(x.shape[3], stride)]


def split(x: Tensor, k: int, rim: int) -> Tensor:
    """Split (B, C, H, W) into patches as `ppl.classify.patches.split` does, by slices."""
    b, c, height, width = x.shape
    h, w = _ceil(height, k), _ceil(width, k)
    x = F.pad(x, (rim, k * w - width + rim, rim, k * h - height + rim))
    x = torch.stack([x[:, :, i * h : i * h + h + 2 * rim] for i in range(k)], dim=1)  # (B, k, C, h + 2 rim, W)
    x = torch.stack([x[..., j * w : j * w + w + 2 * rim] for j in range(k)], dim=2)  # (B, k, k, C, h', w')
    return x.reshape(b * k * k, c, h + 2 * rim, w + 2 * rim)


class ExportableSameConv2d(nn.Module):
    """A strided `SameConv2d`."""

    def __init__(self, conv: SameConv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution, padded at the end first."""
        conv, pads = self.conv, []
        for size, kernel, stride in zip(x.shape[:1:-1], conv.kernel_size[::-1], conv.stride[::-1], strict=True):
            total = (_ceil(size, stride) - 1) * stride + kernel - size  # not negative: no kernel is below its stride
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


class ExportableStage(nn.Module):
    """A stage of a timm backbone that pads its input."""

    def __init__(self, stage: nn.Sequential, multiple: int) -> None:
        super().__init__()
        self.layers, self.multiple = nn.Sequential(*stage), multiple

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for the padded input."""
        below, right = (_ceil(side, self.multiple) * self.multiple - side for side in x.shape[-2:])
        return self.layers(F.pad(x, (0, right, 0, below)))


class ExportableDeepLab(nn.Module):
    """A `DeepLab`."""

    def __init__(self, network: DeepLab) -> None:
        super().__init__()
        self.network, self.scales = network, network.scales

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, the maximum over the scales."""
        logits = [self.network.single_scale(rescale(x, scale)) for scale in self.scales]
        resized = [logits[0], *(resize(smaller, logits[0].shape[2:]) for smaller in logits[1:])]
        return torch.stack(resized).amax(dim=0) if len(resized) > 1 else resized[0]


class ExportableSmp(nn.Module):
    """A network of segmentation_models.pytorch, `ppl.segment.smp.SmpNetwork`."""

    def __init__(self, network: nn.Module, least_side: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = network.backbone.encoder, network.decoder, network.head
        self.multiple, self.least_side = self.encoder.output_stride, least_side
        self.stride = least_side // network(torch.zeros(1, 3, least_side, least_side)).shape[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits at the decoder's stride."""
        h, w = x.shape[-2:]
        least = _ceil(self.least_side, self.multiple)
        bottom, right = (torch.sym_max(_ceil(side, self.multiple), least) * self.multiple - side for side in (h, w))
        logits = self.head(self.decoder(self.encoder(F.pad(x, (0, right, 0, bottom)))))
        return logits[..., : _ceil(h, self.stride), : _ceil(w, self.stride)]


def exportable(network: nn.Module) -> nn.Module:
    """Return a copy of a network for inference that torch.export traces: same outputs, on the CPU."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    # In channels-last memory, tracing would compare the strides of each map, which are products of symbols.
    network = network.to("cpu", memory_format=torch.contiguous_format)
    fold_batchnorm(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            setattr(parent, name, _replaced(child))
    return _replaced(network)


def _replaced(module: nn.Module) -> nn.Module:
    kind = f"{type(module).__module__}.{type(module).__name__}"  # not imported: timm and smp take seconds
    if isinstance(module, SameConv2d) and max(module.stride) > 1:
        return ExportableSameConv2d(module)
    if kind == "ppl.networks.timm_backbone.Stage" and module.multiple > 1:
        return ExportableStage(module, module.multiple)
    if isinstance(module, DeepLab):
        return ExportableDeepLab(module)
    if kind == "ppl.segment.smp.SmpNetwork":
        return ExportableSmp(module, sys.modules[type(module).__module__].LEAST_SIDE)
    return module


def rescale(x: Tensor, scale: float) -> Tensor:
    """Multiply the sides of (B, C, h, w) by `scale`, bilinear, as `ppl.segment.logits.rescale`."""
    return x if scale == 1 else resize(x, [scaled(side, scale) for side in x.shape[2:]])


def scaled(length: int, scale: float) -> int:
    """Return round(length * scale), to even numbers at halves, in integers: neither format can store symbolic floats.

    Exact for scales of few binary digits such as 0.75. Of another such as 0.7, halves can be rounded to the other side,
    as the product in floating point is not exactly a half.
    """
    factor = Fraction(scale).limit_denominator(10_000)
    product, divisor = length * factor.numerator, factor.denominator
    odd = product // divisor % 2 if divisor % 2 == 0 else 0  # an odd divisor leaves no halves
    return (2 * product - divisor - 1 + odd) // (2 * divisor) + 1  # the form of `_ceil`


def _ceil(length: int, divisor: int) -> int:
    """Return the quotient, rounded up; of all forms, tracing simplifies quotients of quotients of this one alone."""
    return (length - 1) // divisor + 1


def _as_tensor(length: int) -> Tensor:
    """Return a length, which may be a symbol, as a tensor () float64."""
    return torch.scalar_tensor(length, dtype=torch.float64)


def _at_least_1(x: Tensor) -> Tensor:
    """Return x.clamp(min=1), of which ONNX Runtime would warn in float64."""
    return torch.maximum(x, torch.ones_like(x))


def _bicubic(length: int, resized: Tensor, rows: int) -> Tensor:
    """Return the matrix (rows, length) float32 that resizes `length` pixels to `resized` () float64, bicubic.

    As Pillow's, and torch's with antialiasing; ONNX has no such operator of the same values everywhere. `rows` may be
    more than `resized`; those beyond it are arbitrary.
    """
    scale = _as_tensor(length) / resized
    centres = (torch.arange(rows, dtype=torch.float64) + 0.5) * scale
    places = torch.arange(length, dtype=torch.float64) + 0.5
    x = (places - centres[:, None]).abs() / _at_least_1(scale)  # (rows, length)
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = CUBIC * (((x - 5) * x + 8) * x - 4)
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    total = weights.sum(dim=1, keepdim=True)
    return (weights / torch.where(total == 0, torch.ones_like(total), total)).float()
