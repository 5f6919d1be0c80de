"""Networks of timm as backbones: their features are timm's, and what does not fit is refused."""

import pytest
import timm
import torch
from torch import Tensor, nn

from ppl.jobs.errors import UserError
from ppl.networks import backbones, timm_backbone
from ppl.networks.backbones import MisfitError

MODELS = (
    "convnext_atto",
    "convnextv2_atto",
    "efficientnet_lite0",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "regnetx_002",
    "resnet18d",
    "resnetv2_18",
    "tf_efficientnet_lite0",
)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_equal_timms_bit_for_bit_where_strides_divide_the_sides(model: str, output_stride: int) -> None:
    torch.manual_seed(0)
    backbone = backbones.build(f"timm/{model}", output_stride=output_stride, dilated=True).eval()
    for norm in (module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    theirs = timm.create_model(model, features_only=True, output_stride=output_stride).eval()
    for ours, copied in zip(backbone.state_dict().values(), theirs.state_dict().values(), strict=True):
        copied.copy_(ours)
    x = torch.randn(2, 3, 96, 64)
    with torch.inference_mode():
        pairs = list(zip(backbone.features(x)[1:], theirs(x)[-4:], strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("model", ["convnext_atto", "vgg11"])
def test_networks_that_round_down_see_zeros_beyond_the_border(model: str) -> None:
    with torch.device("meta"):
        backbone = backbones.build(f"timm/{model}", output_stride=32)
    stem = backbone.stages[0].to_empty(device="cpu").eval()
    for parameter in stem.parameters():
        parameter.data.uniform_()
    x = torch.randn(1, 3, 33, 47)
    padded = nn.functional.pad(x, (0, 1, 0, -33 % stem.multiple))
    with torch.inference_mode():
        assert stem.multiple > 1
        assert torch.equal(stem(x), stem(padded))


def test_mean_and_deviation_are_those_of_the_weights() -> None:
    with torch.device("meta"):
        backbone = backbones.build("timm/tf_efficientnet_lite0.in1k")
    assert (backbone.mean, backbone.std) == ((0.5,) * 3, (0.5,) * 3)


def test_filters_that_are_dilated_in_the_strided_network_stay_dilated() -> None:
    with torch.device("meta"):
        strided, dense = (backbones.build("timm/skresnet18", output_stride=stride) for stride in (32, 8))
    dilations = [[m.dilation for m in b.modules() if isinstance(m, nn.Conv2d)] for b in (strided, dense)]
    assert dilations[0] == dilations[1]
    assert (2, 2) in dilations[0]


@pytest.mark.parametrize(
    ("model", "output_stride", "message"),
    [
        ("resnet5d", 32, r"timm/resnet5d: timm \S+ has no model 'resnet5d'; choose one such as resnet50d"),
        ("qqqqqqqqqqqq", 32, "has no model 'qqqqqqqqqqqq'; choose one such as resnet50d"),
        ("hf-hub:timm/resnet18", 32, "has no model 'hf-hub:timm/resnet18'"),
        ("resnet18d.nope", 32, "has no weights 'nope' of resnet18d; choose one of resnet18d, resnet18d.ra2_in1k"),
        ("vit_tiny_patch16_224", 32, "it has no features at stride 4, 8, 32, as a convolutional network has"),
        ("swin_tiny_patch4_window7_224", 32, "it does not accept images of any size"),
        ("mambaout_femto", 32, r"its feature 'stages.0' is not a map \(B, 48, h, w\)"),
        ("hrnet_w18_small", 32, "its feature 'stem' is not the output of a module in a sequence"),
        ("ghostnet_050", 16, "timm builds it at output stride 32 only, not 16"),
        ("ghostnet_050", 8, "timm builds it at output stride 32 only, not 8"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(model: str, output_stride: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused, torch.device("meta"):
        backbones.build(f"timm/{model}", output_stride=output_stride)
    assert "\n" not in str(refused.value)


def test_a_failed_download_is_a_line_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_: object, **__: object) -> nn.Module:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(timm_backbone.timm, "create_model", create)
    with pytest.raises(UserError, match=r"its weights cannot be loaded \(no network\); build it once .* or to none"):
        backbones.build("timm/resnet18d", weights="imagenet")


def test_weights_of_timms_loader_arrive_in_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    create, pretrained = timm.create_model, timm.create_model("resnet18d")

    def load(model: str, *, pretrained: bool = False, **options: object) -> nn.Module:
        return weights if pretrained else create(model, **options)

    weights = pretrained
    monkeypatch.setattr(timm_backbone.timm, "create_model", load)
    backbone = backbones.build("timm/resnet18d", weights="imagenet", output_stride=8)
    assert all(map(torch.equal, backbone.parameters(), pretrained.parameters()))


class Reordered(nn.Module):
    """A network whose forward pass does not follow the order of its modules: it multiplies by 2 between two of them."""

    def __init__(self, factor: float = 1.0, first: str = "a") -> None:
        super().__init__()
        self.factor = factor
        for name in sorted("abcd", key=lambda name: name != first):
            self.add_module(name, nn.Conv2d(3, 3, 4 if name == "a" else 2, 4 if name == "a" else 2))
        self.feature_info = [{"reduction": 4 * 2**i, "module": name, "num_chs": 3} for i, name in enumerate("abcd")]

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.factor * self.a(x))))


def test_stages_that_do_not_compute_the_networks_features_are_refused() -> None:
    ends = [None, "a", "b", "c", "d"]
    with pytest.raises(MisfitError, match="its features are not in the order of its modules"):
        timm_backbone._cut(Reordered(first="b"), ends)
    ends = ["a", "b", "c", "d"]
    network = Reordered()
    stages = [nn.Sequential(getattr(network, name)) for name in ends]
    assert timm_backbone._compare(network, stages, ends) == (3, 3, 3, 3)
    network.factor = 2
    with pytest.raises(MisfitError, match="its modules up to 'b' are not a sequence"):
        timm_backbone._compare(network, stages, ends)
