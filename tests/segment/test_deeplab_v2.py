import math

import pytest
import torch

from ppl.segment.deeplab_v2 import DeepLab, build, parameter_groups
from ppl.segment.logits import segmentation_loss
from ppl.segment.settings import DeepLabV2, Training


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
    assert all((maximum >= logits).all() for logits in scales)
    assert (torch.stack([maximum == logits for logits in scales]).any(dim=0)).all()


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
