"""IRNet's boundary branch."""

import pytest
import torch
from torch import Tensor, nn

from ppl.networks.backbones import Backbone
from ppl.refine.irnet import IRNet, boundary_map, loss
from ppl.refine.settings import IRNet as Settings
from ppl.refine.settings import IRNetTraining


def small_backbone(stem_stride: int = 2, *, last_stride: int = 2) -> Backbone:
    """Five convolutions with BatchNorm; the stem at stride 2 or 4, stage 1 at stride 4."""

    def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.Dropout(0.5), nn.Softplus())

    stem = stage(3, 4, 2) if stem_stride == 2 else nn.Sequential(stage(3, 4, 2), nn.MaxPool2d(3, 2, 1))
    rest = [stage(4, 5, 4 // stem_stride), stage(5, 6, 2), stage(6, 7, 2), stage(7, 8, last_stride)]
    return Backbone([stem, *rest], (4, 5, 6, 7, 8))


@pytest.fixture
def model() -> IRNet:
    torch.manual_seed(0)
    return IRNet(small_backbone())


def photos(h: int, w: int) -> Tensor:
    return torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(64, 96), (33, 50), (31, 47), (5, 70), (1, 1)], ids=str)
@pytest.mark.parametrize("backbone", [{}, {"stem_stride": 4}, {"last_stride": 1}], ids=str)
def test_outputs_follow_the_stride_4_grid(backbone: dict[str, int], size: tuple[int, int]) -> None:
    boundary = IRNet(small_backbone(**backbone))(photos(*size))
    assert boundary.shape == (2, -(-size[0] // 4), -(-size[1] // 4))
    assert boundary.isfinite().all()


def test_training_changes_the_branch_and_never_the_backbone(model: IRNet) -> None:
    assert {id(p) for p in model.boundary_parameters()} == {id(p) for p in model.parameters() if p.requires_grad}
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = photos(48, 64).requires_grad_()
    labels = torch.zeros(2, 48, 64, dtype=torch.uint8)
    labels[:, 12:, 16:] = 1
    loss(model, x, labels, Settings(training=IRNetTraining(radius=4))).backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert x.grad is None
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("backbone."), name


def test_the_backbone_ignores_the_training_mode(model: IRNet) -> None:
    x = photos(32, 32)
    evaluated = model.eval()(x)
    trained = model.train()(x)  # dropout would differ, as would the statistics of BatchNorm
    assert model.training
    torch.testing.assert_close(trained, evaluated)


@pytest.mark.parametrize("size", [(48, 64), (30, 45)], ids=str)
def test_boundaries_of_a_mirrored_photo_are_mirrored(model: IRNet, size: tuple[int, int]) -> None:
    x = photos(*size)
    boundary = boundary_map(model, x)
    assert 0 <= boundary.min() < boundary.max() <= 1
    assert not torch.allclose(boundary, boundary.flip(-1), atol=1e-3)
    torch.testing.assert_close(boundary_map(model, x.flip(-1)), boundary.flip(-1))


@pytest.mark.parametrize("size", [(48, 64), (45, 62), (64, 40), (1, 1)], ids=str)
def test_a_photo_is_padded_with_zeros_to_the_crop_and_its_boundary_cut(model: IRNet, size: tuple[int, int]) -> None:
    x, (height, width) = photos(*size), size

    def logits(view: Tensor) -> Tensor:
        padded = torch.zeros(2, 3, 64, 64)
        padded[..., :height, :width] = view
        return model(padded)[:, : -(-height // 4), : -(-width // 4)]

    expected = torch.sigmoid((logits(x) + logits(x.flip(-1)).flip(-1)) / 2)
    padded = boundary_map(model, x, 64)
    torch.testing.assert_close(padded, expected)
    assert not torch.allclose(padded, boundary_map(model, x), atol=1e-3)
    # Both views are padded at their right: which of them is the photo does not matter.
    torch.testing.assert_close(boundary_map(model, x.flip(-1), 64), padded.flip(-1))


@pytest.mark.parametrize("size", [(64, 64), (70, 96)], ids=str)
def test_a_photo_as_large_as_the_crop_is_not_padded(model: IRNet, size: tuple[int, int]) -> None:
    x = photos(*size)
    assert torch.equal(boundary_map(model, x, 64), boundary_map(model, x))


def test_only_a_side_shorter_than_the_crop_is_padded(model: IRNet) -> None:
    x = photos(40, 96)
    by_hand = boundary_map(model, nn.functional.pad(x, (0, 0, 0, 24)))[:, :10]
    torch.testing.assert_close(boundary_map(model, x, 64), by_hand)


def test_the_loss_compares_labels_at_the_centres_of_cells(model: IRNet) -> None:
    settings = Settings(training=IRNetTraining(radius=4))
    cells = torch.randint(0, 3, (2, 12, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.full((2, 48, 64), 255, dtype=torch.uint8)
    labels[:, 2::4, 2::4] = cells
    everywhere = cells.repeat_interleave(4, 1).repeat_interleave(4, 2)
    x = photos(48, 64)
    expected = loss(model, x, everywhere, settings)
    assert expected > 0
    torch.testing.assert_close(loss(model, x, labels, settings), expected)


def test_photos_of_a_batch_do_not_influence_each_other(model: IRNet) -> None:
    x = photos(24, 32)
    apart = torch.cat([boundary_map(model, x[:1]), boundary_map(model, x[1:])])
    torch.testing.assert_close(boundary_map(model, x), apart, rtol=1e-4, atol=1e-5)
