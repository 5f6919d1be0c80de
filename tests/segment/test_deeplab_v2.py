import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ppl.segment.deeplab_v2 import DeepLab, build, loss, parameter_groups
from ppl.segment.logits import resize, segmentation_loss
from ppl.segment.settings import DeepLabV2, Training
from ppl.training.optimizers import optimizer

# With joined norms, depthwise convolutions, biases instead of norms, and timm's norms, which apply an activation too.
BACKBONES = ("resnet18", "efficientnet_lite0", "vgg16", "timm/resnet10t", "timm/regnetx_002")


@pytest.fixture
def network() -> DeepLab:
    torch.manual_seed(0)
    settings = DeepLabV2(backbone="resnet18", output_stride=8, rates=(1, 3), scales=(1, 0.75, 0.5))
    return build("deeplab_v2", settings, 2, weights="none", frozen_stages=-1).eval()


@pytest.mark.parametrize("size", [(33, 47), (40, 24), (7, 65)])
def test_the_prediction_is_the_maximum_over_the_scales(network: DeepLab, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        prediction = network(x)
        *scales, maximum = network.train()(x)
    assert prediction.shape == (2, 3, math.ceil(size[0] / 8), math.ceil(size[1] / 8))
    assert len(scales) == 3
    assert torch.equal(prediction, maximum)
    resized = [resize(logits, maximum.shape[-2:]) for logits in scales]
    assert all((maximum >= logits).all() for logits in resized)
    assert (torch.stack([maximum == logits for logits in resized]).any(dim=0)).all()


def test_in_training_each_scale_has_logits_of_its_own_size(network: DeepLab) -> None:
    with torch.no_grad():
        sizes = [tuple(logits.shape[-2:]) for logits in network.train()(torch.randn(1, 3, 64, 96))]
    assert sizes == [(8, 12), (6, 9), (4, 6), (8, 12)]  # scales 1, 0.75, 0.5 and the maximum, at stride 8


def test_the_loss_is_the_sum_over_scales_with_labels_at_the_centres_of_their_cells(network: DeepLab) -> None:
    """The cells of scale 0.5 are 16 pixels wide, those of 0.75 are 32/3, those of 1 and of the maximum 8."""
    x, labels = torch.randn(1, 3, 32, 32), torch.randint(0, 3, (1, 32, 32), dtype=torch.uint8)
    labels[:, :, 20] = 255
    centres = {1: (4, 12, 20, 28), 0.75: (5, 16, 26), 0.5: (8, 24)}
    with torch.no_grad():
        of_scales = {scale: network.single_scale(x if scale == 1 else _rescaled(x, scale)) for scale in centres}
        enlarged = [resize(logits, (4, 4)) for logits in of_scales.values()]
        of_scales["maximum"], centres["maximum"] = torch.stack(enlarged).amax(dim=0), centres[1]
        expected = 0
        for scale, logits in of_scales.items():
            targets = labels[:, centres[scale]][:, :, centres[scale]].long()
            expected += nn.functional.cross_entropy(logits, targets, ignore_index=255)
        assert loss(network.train(), x, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def _rescaled(x: Tensor, scale: float) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=scale, mode="bilinear")


def test_a_single_scale_is_the_prediction(network: DeepLab) -> None:
    network.scales = (1.0,)
    x = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        (trained,) = network.train()(x)
        assert torch.equal(network.eval()(x), trained)
        assert torch.equal(trained, network.single_scale(x))


def test_the_head_sums_its_rates(network: DeepLab) -> None:
    features = network.backbone(x := torch.randn(1, 3, 40, 40))
    assert torch.allclose(network.single_scale(x), network.aspp[0](features) + network.aspp[1](features))
    assert [conv.dilation for conv in network.aspp] == [(1, 1), (3, 3)]


@pytest.mark.parametrize(
    ("name", "stride"), [("resnet18", 8), ("resnet18", 16), ("vgg16", 8), ("efficientnet_lite0", 16)]
)
def test_every_backbone_gives_logits_at_its_output_stride(name: str, stride: int) -> None:
    settings = DeepLabV2(backbone=name, output_stride=stride, rates=(2,), scales=(1,))
    network = build("deeplab_v2", settings, 1, weights="none", frozen_stages=-1)
    with torch.no_grad():
        logits = network.single_scale(torch.zeros(1, 3, 33, 48))
    assert logits.shape == (1, 2, math.ceil(33 / stride), 48 // stride)


@pytest.mark.parametrize(("values", "deviation"), [({}, 0.01), ({"aspp_std": 0.001}, 0.001)])
def test_the_weights_of_the_head_start_at_a_deviation_of_a_hundredth_or_of_the_setting(
    values: dict[str, float], deviation: float
) -> None:
    torch.manual_seed(0)
    settings = DeepLabV2(backbone="resnet18", output_stride=16, rates=(1, 2), scales=(1,), **values)
    head = build("deeplab_v2", settings, 20, weights="none", frozen_stages=-1).aspp
    for conv in head:
        assert conv.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert abs(conv.weight.mean().item()) < 0.02 * deviation
        assert not conv.bias.any()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_step_changes_convolutions_and_no_norm(name: str) -> None:
    torch.manual_seed(0)
    settings = DeepLabV2(backbone=name, output_stride=16, rates=(1,), scales=(1,))
    network = build("deeplab_v2", settings, 1, weights="none", frozen_stages=-1).train()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    convolutions = [module for module in network.backbone.modules() if isinstance(module, nn.Conv2d)]
    of_norms = {p for norm in norms for p in norm.parameters()}
    assert bool(norms) == (name != "vgg16")
    assert {p for conv in convolutions for p in conv.parameters()} | of_norms == {*network.backbone.parameters()}
    before = {p: p.detach().clone() for p in network.parameters()}

    groups = parameter_groups(network, Training(weight_decay=0.1))
    updates = optimizer("adamw", groups)
    updated = [p for group in updates.param_groups for p in group["params"]]
    assert sorted(map(id, updated)) == sorted(map(id, {*network.parameters()} - of_norms))
    loss(network, torch.randn(2, 3, 64, 64), torch.ones(2, 64, 64, dtype=torch.uint8)).backward()
    updates.step()
    assert all(p.grad is None and torch.equal(p, before[p]) for p in of_norms)
    assert all(not torch.equal(conv.weight, before[conv.weight]) for conv in convolutions)


def test_ignored_pixels_cost_nothing_and_give_no_gradient() -> None:
    outputs = [torch.randn(2, 3, 5, 6, requires_grad=True) for _ in range(4)]
    loss = segmentation_loss(outputs, torch.full((2, 40, 48), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert all(not logits.grad.any() for logits in outputs)


def test_the_loss_is_the_mean_over_the_pixels_that_count() -> None:
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4), dtype=torch.uint8)
    labels[:, 2:] = 255
    expected = torch.nn.functional.cross_entropy(logits[:, :, :2], labels[:, :2].long())
    assert segmentation_loss([logits], labels).item() == pytest.approx(expected.item(), rel=1e-5)
    assert segmentation_loss([logits, logits], labels).item() == pytest.approx(2 * expected.item(), rel=1e-5)


def test_biases_of_the_head_learn_twice_as_fast_without_decay(network: DeepLab) -> None:
    groups = parameter_groups(network, Training(lr=0.1, head_lr_factor=10, weight_decay=0.5))
    rate = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        expected = (0.1, 0.5) if name.startswith("backbone") else (1, 0.5) if name.endswith("weight") else (2, 0)
        assert rate[id(parameter)] == pytest.approx(expected)


def test_the_exponent_weighs_the_gradient_of_a_label_by_its_probability() -> None:
    logits = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.randint(0, 4, (1, 3, 5), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    labels[0, 0, :2] = 255
    gradients = [torch.autograd.grad(segmentation_loss([logits], labels, q), logits)[0] for q in (0, 0.7)]
    known = labels.long().clamp(max=3)
    probability = logits.softmax(1).gather(1, known[:, None]).detach()  # (1, 1, 3, 5)
    torch.testing.assert_close(gradients[1], gradients[0] * probability**0.7)


def test_a_small_exponent_is_nearly_cross_entropy() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(2, 4, 4, dtype=torch.uint8)
    plain, nearly = (segmentation_loss([logits], labels, q).item() for q in (0, 1e-4))
    assert nearly == pytest.approx(plain, rel=1e-3)
