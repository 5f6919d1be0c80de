import pytest
import torch
from torch import Tensor, nn

from ppl.networks.backbones import Backbone
from ppl.refine.irnet import IRNet, boundary_map
from ppl.refine.losses import pair_losses, total


def tiny_backbone(stem_stride: int = 2, *, last_stride: int = 2) -> Backbone:
    """Five convolutions with BatchNorm; the stem at stride 2 or 4, stage 1 at stride 4."""

    def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.Dropout(0.5), nn.Softplus()
        )

    stem = stage(3, 4, 2) if stem_stride == 2 else nn.Sequential(stage(3, 4, 2), nn.MaxPool2d(3, 2, 1))
    rest = [stage(4, 5, 4 // stem_stride), stage(5, 6, 2), stage(6, 7, 2), stage(7, 8, last_stride)]
    return Backbone([stem, *rest], (4, 5, 6, 7, 8))


@pytest.fixture
def model() -> IRNet:
    torch.manual_seed(0)
    return IRNet(tiny_backbone())


def photos(h: int, w: int) -> Tensor:
    return torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(64, 96), (33, 50), (31, 47), (5, 70), (1, 1)], ids=str)
@pytest.mark.parametrize("backbone", [{}, {"stem_stride": 4}, {"last_stride": 1}], ids=str)
def test_outputs_follow_the_stride_4_grid(backbone: dict[str, int], size: tuple[int, int]) -> None:
    h4, w4 = -(-size[0] // 4), -(-size[1] // 4)
    boundary, displacement = IRNet(tiny_backbone(**backbone))(photos(*size))
    assert boundary.shape == (2, h4, w4)
    assert displacement.shape == (2, 2, h4, w4)
    assert boundary.isfinite().all()
    assert displacement.isfinite().all()


def test_training_changes_the_branches_and_never_the_backbone(model: IRNet) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = photos(48, 64).requires_grad_()
    boundary, displacement = model(x)
    labels = torch.zeros(2, 12, 16, dtype=torch.uint8)
    labels[:, 3:, 4:] = 1
    total(pair_losses(boundary.sigmoid(), displacement, labels, 4)).backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert x.grad is None
    assert all(p.grad is None and not p.requires_grad for p in model.backbone.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(("backbone.", "mean_shift")), name


def test_the_backbone_ignores_the_training_mode(model: IRNet) -> None:
    x = photos(32, 32)
    evaluated = model.eval()(x)
    trained = model.train()(x)  # dropout would differ, as would the statistics of BatchNorm
    assert model.training
    assert not any(module.training for module in model.backbone.modules())
    torch.testing.assert_close(trained, evaluated)


def test_the_branches_share_out_all_trainable_weights(model: IRNet) -> None:
    branches = [set(map(id, model.boundary_parameters())), set(map(id, model.displacement_parameters()))]
    assert all(branches)
    assert not branches[0] & branches[1]
    assert branches[0] | branches[1] == {id(p) for p in model.parameters() if p.requires_grad}
    boundary, displacement = model(photos(16, 24))
    for output, parameters in (
        (boundary, model.boundary_parameters()),
        (displacement, model.displacement_parameters()),
    ):
        torch.autograd.grad(output.sum(), list(parameters))  # raises where a weight has no part in the output


@pytest.mark.parametrize("size", [(48, 64), (30, 45)], ids=str)
def test_boundaries_of_a_mirrored_photo_are_mirrored(model: IRNet, size: tuple[int, int]) -> None:
    x = photos(*size)
    boundary = boundary_map(model, x)
    assert boundary.min() >= 0
    assert boundary.max() <= 1
    assert not torch.allclose(boundary, boundary.flip(-1), atol=1e-3)
    torch.testing.assert_close(boundary_map(model, x.flip(-1)), boundary.flip(-1))


def test_the_boundary_map_averages_logits(model: IRNet) -> None:
    x = photos(24, 32)
    logits = model(x)[0], model(x.flip(-1))[0].flip(-1)
    torch.testing.assert_close(boundary_map(model, x), ((logits[0] + logits[1]) / 2).sigmoid())


def test_photos_of_a_batch_do_not_influence_each_other(model: IRNet) -> None:
    x = photos(24, 32)
    apart = torch.cat([boundary_map(model, x[:1]), boundary_map(model, x[1:])])
    torch.testing.assert_close(boundary_map(model, x), apart, rtol=1e-4, atol=1e-5)


def test_the_mean_shift_is_taken_off_in_evaluation_only_and_saved(model: IRNet) -> None:
    x = photos(24, 32)
    raw = model.eval()(x)[1]
    shift = raw.mean((0, 2, 3)).detach()
    model.mean_shift.copy_(shift)
    torch.testing.assert_close(model(x)[1], raw - shift.view(2, 1, 1))
    torch.testing.assert_close(model(x)[1].mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.train()(x)[1], raw)
    assert torch.equal(model.state_dict()["mean_shift"], shift)
