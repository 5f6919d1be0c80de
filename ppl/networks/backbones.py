"""ImageNet backbones as a list of stages, so that features can be cut between any two of them.

A backbone is a module with `build(name, weights) -> Backbone` at output stride 32: an entry of `BACKBONES`, or the
user's `own/` module. Its modules must be registered in the order in which data flows through them, a BatchNorm right
after its convolution, and stages 2 to 4 must have one layer larger than 1x1 with a stride. `build` checks what it can.

The demo trains on a CPU, in minutes, so the speed of CPU training is part of the product. `FrozenNormConv2d` here and
`networks/depthwise.py` exist only for this: both compute the result of the plain layers in a fraction of the time.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ppl.data.crops import normalise
from ppl.jobs import slots
from ppl.jobs.errors import UserError, reason
from ppl.networks import checkpoints
from ppl.networks.settings import BACKBONES

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum  # importing torchvision takes seconds: only for its own backbones

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRIDES = (4, 8, 16, 32)
"""Strides of stages 1 to 4 at output stride 32."""
PROBE = (33, 47)  # sides that neither 4 nor 8, 16, 32 divides
FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)
"""Exceptions of layers that do not fit together or do not accept the size of an image."""


class MisfitError(ValueError):
    """A network that does not have the form of a backbone; `build` tells the user."""


class Backbone(nn.Module):
    """Stem and stages 1 to 4 (index 0 to 4), stage 1 ending at stride 4.

    BatchNorm keeps its ImageNet statistics in training, as the whole IRNet and DeepLab family does: batches of crops
    padded with zeros would spoil them. Frozen, it becomes part of the convolution before it (`FrozenNormConv2d`)
    unless `join_norms` is False, as it must be where a BatchNorm does not directly follow a convolution.
    `channels` are those of each stage's output; `mean` and `std` normalise RGB in 0..1. MisfitError if norms cannot be
    joined.
    """

    def __init__(
        self,
        stages: list[nn.Module],
        channels: tuple[int, ...],
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        join_norms: bool = True,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = channels
        self.output_stride = 32
        self.mean, self.std = mean, std
        if join_norms:
            _join_norms(self.stages)
        self.train()

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; BatchNorm stays in evaluation mode, its weights are trained unless frozen."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.training = False
        return self

    def set_output_stride(self, output_stride: int, *, dilated: bool) -> None:
        """Remove strides of stages 3 and 4, as `build` describes; MisfitError if a stage has no stride to remove."""
        dilation = 1
        for stage, stride in ((3, 16), (4, 32)):
            if output_stride < stride:
                widened = dilation * 2 if dilated else 1
                _drop_stride(self.stages[stage], before=dilation, after=widened, pooled=stage < 4)
                dilation = widened
        self.output_stride = output_stride

    def prepare(self, photos: np.ndarray) -> Tensor:
        """Return photos (B, h, w, 3) uint8 RGB as normalised images (B, 3, h, w) float32 on the backbone's device."""
        images = normalise(photos, self.mean, self.std, next(self.parameters()).device)
        return images.permute(0, 3, 1, 2)  # channels last in memory

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

    Below 32 the last stages lose their stride; `dilated` widens their filters in exchange (DeepLab, AffinityNet), the
    paper's ResNet-50 leaves them as they are (Section IV-B). UserError for an unknown name, for weights that cannot be
    loaded, and for a network whose stages do not have the sizes and channels that users of a `Backbone` rely on.
    """
    if output_stride not in (8, 16, 32):
        raise UserError(f"output stride {output_stride}", "not possible", "choose 8, 16 or 32")
    module = slots.load(BACKBONES, name)
    if not hasattr(module, "build"):
        raise UserError(f"backbone {name!r}", "its module has no function build", "see docs/extending.md")
    try:
        backbone = module.build(name, weights)
        _check_stages(backbone)
        backbone.set_output_stride(output_stride, dilated=dilated)
        _check_features(backbone)
    except MisfitError as error:
        raise UserError(f"backbone {name!r}", str(error), "see docs/extending.md, or choose another one") from error
    return backbone


def _check_stages(backbone: Backbone) -> None:
    """Raise MisfitError unless a backbone has five stages, and channels for each of them."""
    if not isinstance(backbone, Backbone):
        raise MisfitError(f"build returns {type(backbone).__name__}, not a ppl.networks.backbones.Backbone")
    if len(backbone.stages) != 5:
        raise MisfitError(f"it has {len(backbone.stages)} stages, not 5: a stem and stages 1 to 4")
    if len(backbone.channels) != 5:
        raise MisfitError(f"it names the channels of {len(backbone.channels)} stages, not of 5")


def _check_features(backbone: Backbone) -> None:
    """Raise MisfitError unless each stage, on a small image, has the size of its stride and its channels.

    The image has odd sides, and no random numbers are drawn. The backbone is in training mode afterwards.
    """
    backbone.eval()
    with torch.inference_mode(False), _checking_order(backbone):  # inference tensors have no versions
        _check_sizes(backbone)
    backbone.train()


def _check_sizes(backbone: Backbone) -> None:
    """Raise MisfitError for the first stage of another size, or of other channels, or that changes its input."""
    x = probe(backbone, 3, *PROBE)
    strides = [(1, 2, 4), *((min(stride, backbone.output_stride),) for stride in STRIDES)]
    for i, (stage, channels, possible) in enumerate(zip(backbone.stages, backbone.channels, strides, strict=True)):
        version = x._version
        y = run_stage(stage, x, i)
        if x._version != version:
            raise MisfitError(f"stage {i} changes its input in place, which is the output of the stage before")
        if y.shape[1] != channels:
            raise MisfitError(f"stage {i} has {y.shape[1]} channels, not {channels}")
        if tuple(y.shape[2:]) not in [ceil_sides(PROBE, stride) for stride in possible]:
            sides, image = ("x".join(map(str, size)) for size in (y.shape[2:], PROBE))
            expected = " or ".join(map(str, possible))
            raise MisfitError(f"stage {i} has size {sides} for an image of {image}, not ceil(side / {expected})")
        x = y


@contextmanager
def _checking_order(network: nn.Module) -> Iterator[None]:
    """Raise MisfitError unless the enclosed forward pass hands joined convolutions' outputs, unchanged, to their norms.

    The order of registration, by which they were joined, need not be the order of computation: a norm before its
    convolution, or after an activation, would give wrong numbers.
    """
    outputs: dict[nn.Module, tuple[Tensor, int]] = {}
    joined: dict[nn.Module, bool] = {}
    hooks = []
    for parent in network.modules():
        for conv, norm in pairwise(parent.children()):
            if isinstance(conv, FrozenNormConv2d) and isinstance(norm, nn.Identity):

                def leave(conv: nn.Module, _: Any, y: Tensor) -> None:
                    outputs[conv] = (y, y._version)

                def enter(norm: nn.Module, inputs: tuple[Tensor], conv: nn.Module = conv) -> None:
                    y, version = outputs.get(conv, (None, 0))
                    joined[norm] = inputs[0] is y and y._version == version

                joined[norm] = False
                hooks += [conv.register_forward_hook(leave), norm.register_forward_pre_hook(enter)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if not all(joined.values()):
        what = "a BatchNorm does not follow the convolution that is registered right before it"
        raise MisfitError(f"{what} (Backbone(..., join_norms=False) leaves norms as they are)")


def run_stage(stage: nn.Module, x: Tensor, index: int) -> Tensor:
    """Return the output (B, C, h, w) of a stage for a probe; MisfitError if it fails or returns something else."""
    sides = "x".join(map(str, x.shape[1:]))
    try:
        with torch.no_grad():
            y = stage(x)
    except FAILURES as error:
        raise MisfitError(f"stage {index} cannot process an input of {sides} ({reason(error)})") from error
    if not isinstance(y, Tensor) or y.ndim != 4:
        raise MisfitError(f"stage {index} does not return one tensor (B, C, h, w)")
    return y


def probe(network: nn.Module, channels: int, height: int, width: int) -> Tensor:
    """Return an input (1, channels, height, width) without use of random numbers, on the device of a network."""
    device = next(network.parameters()).device
    return torch.arange(channels * height * width, device=device).float().sin().view(1, channels, height, width)


def ceil_sides(sides: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Return the sides of a map at a stride."""
    return tuple(-(-side // stride) for side in sides)


class FrozenNormConv2d(nn.Module):
    """A convolution and the BatchNorm after it, of frozen statistics, as one convolution; both can still be trained.

    Normalising by constants is an affine map of each channel: applied to the few weights instead of to the maps, it
    saves a pass over memory forwards and two backwards. Equal to the two in evaluation mode up to rounding.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and (shared := _SHARED.get().get(self)):
            return self.conv._conv_forward(x, *shared)
        conv, norm = self.conv, self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # (C,)
        centre = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
        return conv._conv_forward(x, conv.weight * scale[:, None, None, None], norm.bias - centre * scale)


_SHARED: ContextVar[Mapping[FrozenNormConv2d, tuple[Tensor, Tensor]]] = ContextVar(
    "shared", default=MappingProxyType({})
)
"""Scaled weights and biases of joined convolutions within `scaled_once`."""


@contextmanager
def scaled_once(backbone: Backbone) -> Iterator[None]:
    """Scale (and, under autocast, cast) the weights of a backbone's joined convolutions once for all enclosed calls.

    It encloses one forward pass of the calling thread, in which the stages may be called several times. On a GPU,
    starting these small operations takes longer than computing them, so those on channels are also joined into one per
    stage. Outputs stay the same bit for bit; gradients of several calls are added before they are scaled back, under
    autocast in its type, as for plain convolutions. While torch compiles, nothing is shared: the compiler itself joins
    equal operations.
    """
    if torch.compiler.is_compiling():
        yield
        return
    shared: dict[FrozenNormConv2d, tuple[Tensor, Tensor]] = {}
    for stage in backbone.stages:
        joined = [module for module in stage.modules() if isinstance(module, FrozenNormConv2d)]
        for trained in (False, True):  # apart, as gradients of one of several joined tensors are computed for all
            if group := [module for module in joined if _trains_channels(module) == trained]:
                shared |= zip(group, _scale(group), strict=True)
    token = _SHARED.set(shared)
    try:
        yield
    finally:
        _SHARED.reset(token)


def _trains_channels(module: FrozenNormConv2d) -> bool:
    values = (module.norm.weight, module.norm.bias, module.conv.bias)
    return any(x is not None and x.requires_grad for x in values)


def _scale(joined: Sequence[FrozenNormConv2d]) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of each joined convolution, in the type of autocast if it is enabled."""
    convs, norms = [module.conv for module in joined], [module.norm for module in joined]
    variance = torch.cat(torch._foreach_add([norm.running_var for norm in norms], [norm.eps for norm in norms]))
    centres = [
        norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
        for conv, norm in zip(convs, norms, strict=True)
    ]
    scale = torch.cat([norm.weight for norm in norms]) * variance.rsqrt()  # of all channels
    bias = torch.cat([norm.bias for norm in norms]) - torch.cat(centres) * scale
    channels = [norm.num_features for norm in norms]
    scales = scale[:, None, None, None].split(channels)
    weights = [conv.weight * scale for conv, scale in zip(convs, scales, strict=True)]
    if torch.is_autocast_enabled(scale.device.type):
        dtype = torch.get_autocast_dtype(scale.device.type)
        weights, bias = [weight.to(dtype) for weight in weights], bias.to(dtype)
    return list(zip(weights, bias.split(channels), strict=True))


def _join_norms(network: nn.Module) -> None:
    """Join each BatchNorm, in place, with the convolution registered right before it; MisfitError if there is none.

    A subclass of BatchNorm2d may do more than normalise (timm's applies an activation) and cannot be joined.
    """
    for parent in list(network.modules()):
        for (name, conv), (following, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
                setattr(parent, name, FrozenNormConv2d(conv, norm))
                setattr(parent, following, nn.Identity())
    norms, joined = (
        sum(isinstance(module, kind) for module in network.modules()) for kind in (_BatchNorm, FrozenNormConv2d)
    )
    if norms != joined:
        what = "a BatchNorm is not registered right after its convolution, or is a subclass of BatchNorm2d"
        raise MisfitError(f"{what} (Backbone(..., join_norms=False) leaves norms as they are)")


def freeze_batchnorm(network: nn.Module) -> None:
    """Exclude the weights and biases of a network's BatchNorms from training, in place, joined ones too."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)


def fold_batchnorm(network: nn.Module) -> None:
    """Replace a network's `FrozenNormConv2d` by plain convolutions, in place, for inference; outputs stay the same."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrozenNormConv2d):
                setattr(parent, name, fuse_conv_bn_eval(child.conv.eval(), child.norm.eval()))


def _drop_stride(stage: nn.Module, *, before: int, after: int, pooled: bool) -> None:
    """Remove the stride of a stage; filters after the removed stride get dilation `after`, those up to it `before`.

    The strided layer is the first MaxPool2d, or the first strided convolution larger than 1x1, in registration order.
    A MaxPool2d becomes a maximum over 3x3 without stride if `pooled`, as in AffinityNet's VGG16, whose next stage was
    trained on maxima; otherwise it is removed. MisfitError if there is no strided layer.
    """
    passed = False
    for parent in list(stage.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, key, nn.MaxPool2d(3, stride=1, padding=1) if pooled else nn.Identity())
                passed = True
            elif isinstance(child, nn.Conv2d):
                strided = child.stride[0] > 1
                child.stride = (1, 1)
                if child.kernel_size[0] > 1:
                    dilate(child, before if strided or not passed else after)
                passed |= strided and child.kernel_size[0] > 1
    if not passed:
        raise MisfitError("stage 3 or 4 has no stride to remove: no max-pooling and no strided convolution above 1x1")


def dilate(conv: nn.Conv2d, dilation: int) -> None:
    """Set the dilation of a convolution with odd filters, and the padding that keeps the size."""
    conv.dilation = (dilation, dilation)
    conv.padding = tuple(dilation * (k - 1) // 2 for k in conv.kernel_size)


def load_weights(net: nn.Module, weights: str, torchvision_weights: "WeightsEnum | None" = None) -> None:
    """Load `weights` = none, the path of a state dict of `net`, or imagenet (those of torchvision) into a network.

    UserError if they cannot be read or are those of another network.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        if torchvision_weights is None:
            raise UserError("weights imagenet", "this backbone has none", "set weights: none, or a state dict's path")
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
