"""Convolutional networks of timm: `timm/resnet50d`, `timm/convnext_tiny.fb_in1k`, and so on.

timm tells by `feature_info` which of a network's modules end at which stride; the stages are the modules between
these. What is assumed of a network is checked when it is built: the stages, one after another, compute what its own
forward pass computes, for images of any size. Norms and activations stay as they are, so features equal timm's.
"""

import difflib
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.jobs.errors import UserError, reason
from ppl.networks.backbones import FAILURES, STRIDES, Backbone, MisfitError, ceil_sides, load_weights, probe, run_stage

STEM_STRIDE = 2
SIDE = 64  # of the image on which stages are compared with timm's forward pass; 2 cells at stride 32
warnings.filterwarnings("ignore", "Using padding='same' with even kernel")  # of `_undo_dilation`: a copy of the maps


def build(name: str, weights: str) -> Backbone:
    """Return the network `timm/NAME`; `weights` as of `backbones.build`, a state dict being that of timm's classifier.

    UserError for a name that timm does not know, and for a failed download; MisfitError for a network that has no
    features at strides 4, 8, 16 and 32, or that needs images of a certain size.
    """
    check(name, None)
    model = name.partition("/")[2]
    network = _create(name, model, pretrained=weights == "imagenet")
    if weights != "imagenet":
        load_weights(network, weights)
    return TimmBackbone(model, network, _ends(network))


class TimmBackbone(Backbone):
    """A network of timm, cut into stages at the modules `ends`, of stages 0 (None: all before stage 1) to 4."""

    def __init__(self, model: str, network: nn.Module, ends: list[str | None]) -> None:
        stages = _cut(network, ends)
        channels = _compare(network, stages, ends)
        config = network.pretrained_cfg
        super().__init__(stages, channels, mean=config["mean"], std=config["std"], join_norms=False)
        self.model, self.ends = model, ends
        _pad_stages(self)

    def set_output_stride(self, output_stride: int, *, dilated: bool) -> None:
        """Replace the stages by those of timm's network at this output stride, of the same weights."""
        if output_stride == self.output_stride:
            return
        with torch.random.fork_rng(devices=[]):  # its initial weights are replaced
            network = _create_at_stride(self.model, output_stride)
        other = TimmBackbone(self.model, network, self.ends)
        try:
            other.stages.load_state_dict(self.stages.state_dict())
        except RuntimeError as error:
            what = f"timm builds another network at output stride {output_stride}"
            raise MisfitError(f"{what} ({reason(error)})") from error
        if not dilated:
            _undo_dilation(other.stages, self.stages)
        self.stages, self.output_stride = other.stages, output_stride


class Stage(nn.Sequential):
    """Modules of a network; inputs are padded with zeros, below and to the right, to multiples of `multiple`."""

    multiple = 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, C', h', w') for x (B, C, h, w)."""
        below, right = (-side % self.multiple for side in x.shape[-2:])
        return super().forward(F.pad(x, (0, right, 0, below)) if below or right else x)


def check(name: str, settings: None) -> None:
    """Raise UserError unless timm has `timm/resnet50d` or, with its weights, `timm/resnet50d.a1_in1k`.

    The names most similar to an unknown one are listed.
    """
    model = name.partition("/")[2]
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        similar = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        remedy = f"choose one such as {', '.join(similar or ['resnet50d', 'convnext_tiny'])}"
        raise UserError(name, f"timm {timm.__version__} has no model {architecture!r}", remedy)
    weights = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and model not in weights:
        remedy = f"choose one of {', '.join([architecture, *weights])}"
        raise UserError(name, f"timm {timm.__version__} has no weights {tag!r} of {architecture}", remedy)


def _create(name: str, model: str, *, pretrained: bool) -> nn.Module:
    try:
        return timm.create_model(model, pretrained=pretrained)
    except Exception as error:  # the loader raises what requests, Hugging Face's client, or a bad tag raise
        if not pretrained:
            raise UserError(name, f"timm cannot build it ({reason(error)})", "choose another network") from error
        what = f"its weights cannot be loaded ({reason(error)})"
        remedy = "build it once on a machine with a network and copy its cache (~/.cache/huggingface), or set weights"
        raise UserError(name, what, f"{remedy} to the path of its state dict, or to none") from error


def _create_at_stride(model: str, output_stride: int) -> nn.Module:
    """Return timm's network at output stride 8 or 16, of random weights; MisfitError if timm has no such network."""
    try:
        return timm.create_model(model, output_stride=output_stride)
    except FAILURES:
        pass
    try:  # MobileNetV3's classifier has one stride; its feature extractor has the same blocks at any stride
        network = timm.create_model(model)
        network.blocks = timm.create_model(model, features_only=True, output_stride=output_stride).blocks
    except (*FAILURES, AttributeError) as error:
        raise MisfitError(f"timm builds it at output stride 32 only, not {output_stride}") from error
    return network


def _ends(network: nn.Module) -> list[str | None]:
    """Return the names of the modules that end stages 0 to 4; None for the stem of a network without stride 2."""
    modules = {info["reduction"]: info["module"] for info in _feature_info(network)}  # the last one of each stride
    if missing := [str(stride) for stride in STRIDES if stride not in modules]:
        raise MisfitError(f"it has no features at stride {', '.join(missing)}, as a convolutional network has")
    return [modules.get(STEM_STRIDE), *(modules[stride] for stride in STRIDES)]


def _feature_info(network: nn.Module) -> list[dict[str, Any]]:
    return list(getattr(network, "feature_info", []))


def _cut(network: nn.Module, ends: list[str | None]) -> list[nn.Module]:
    """Return the modules of a network as stages; MisfitError if a stage ends within a module, or is empty."""
    modules = dict(_flatten(network, ends))
    names = list(modules)
    if absent := [end for end in ends if end is not None and end not in modules]:
        raise MisfitError(f"its feature {absent[0]!r} is not the output of a module in a sequence")
    stops = [names.index(end) + 1 if end else names.index(ends[1]) for end in ends]
    starts = [0, *stops[:-1]]
    if any(start >= stop for start, stop in zip(starts, stops, strict=True)):
        raise MisfitError("its features are not in the order of its modules")
    parts = [names[start:stop] for start, stop in zip(starts, stops, strict=True)]
    return [Stage(OrderedDict((name.replace(".", "_"), modules[name]) for name in part)) for part in parts]


def _flatten(network: nn.Module, ends: list[str | None], prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a network by name; a sequence within which a stage ends is replaced by its modules."""
    for name, module in network.named_children():
        path = prefix + name
        if isinstance(module, nn.Sequential) and any((end or "").startswith(f"{path}.") for end in ends):
            yield from _flatten(module, ends, f"{path}.")
        else:
            yield path, module


def _compare(network: nn.Module, stages: list[nn.Module], ends: list[str | None]) -> tuple[int, ...]:
    """Return the channels of each stage; MisfitError unless stages give, bit for bit, what timm's forward pass gives.

    Leaves the network in evaluation mode.
    """
    features: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, y: features.update({name: y.clone() if isinstance(y, Tensor) else y})

    hooks = [network.get_submodule(end).register_forward_hook(keep(end)) for end in ends if end]
    x = probe(network.eval(), 3, SIDE, SIDE)
    try:
        with torch.no_grad():
            getattr(network, "forward_features", network)(x)
    except FAILURES as error:
        raise MisfitError(f"it does not accept images of any size ({reason(error)})") from error
    finally:
        for hook in hooks:
            hook.remove()
    channels = []
    for i, (stage, end) in enumerate(zip(stages, ends, strict=True)):
        x = run_stage(stage, x, i)
        if end and not _equal(x, features.get(end)):
            raise MisfitError(f"its modules up to {end!r} are not a sequence")
        channels.append(x.shape[1])
    declared = {info["module"]: info["num_chs"] for info in _feature_info(network)}
    for i, end in enumerate(ends):
        if end and declared[end] != channels[i]:
            raise MisfitError(f"its feature {end!r} is not a map (B, {declared[end]}, h, w)")
    return tuple(channels)


def _equal(a: Tensor, b: Any) -> bool:
    if not isinstance(b, Tensor) or a.shape != b.shape:
        return False
    return a.is_meta or torch.equal(a, b)


def _pad_stages(backbone: Backbone) -> None:
    """Set `multiple` of the stages that would not give ceil(side / stride): those without padding round down.

    Leaves the backbone in training mode.
    """
    backbone.eval()
    x = probe(backbone, 3, SIDE, SIDE)
    for i, stage in enumerate(backbone.stages):
        y = run_stage(stage, x, i)
        stride = x.shape[-1] // y.shape[-1]
        odd = range(4 * stride + 1, 5 * stride)  # sides that the stride does not divide
        if not all(_rounds_up(stage, probe(backbone, x.shape[1], side, side), stride) for side in odd):
            stage.multiple = stride
        x = y
    backbone.train()


def _rounds_up(stage: nn.Module, x: Tensor, stride: int) -> bool:
    try:
        with torch.no_grad():
            return stage(x).shape[2:] == ceil_sides(tuple(x.shape[2:]), stride)
    except FAILURES:  # branches of different sizes
        return False


def _undo_dilation(stages: nn.Module, strided: nn.Module) -> None:
    """Set dilations back to those of the strided network, in place; maps keep their sides."""
    original = dict(strided.named_modules())
    for name, module in stages.named_modules():
        if isinstance(module, nn.Conv2d) and module.dilation != original[name].dilation:
            module.dilation = original[name].dilation
            if module.padding != (0, 0):  # 0: of a 1x1 convolution, or of one that pads by itself
                module.padding = "same"  # of even filters, too, which need one row more below than above
