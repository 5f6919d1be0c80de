import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ppl.classify import build as checkpoint
from ppl.classify.network import PatchClassifier
from ppl.classify.settings import Architecture
from ppl.classify.variants import Grid
from ppl.networks import backbones
from ppl.networks.backbones import Backbone

ALL = (Grid(2, 2), Grid(3, 3), Grid(4, 4))
CLASSES = 3


def _classifier(name: str, grids: Sequence[Grid] = (), *, output_stride: int = 16, **options) -> PatchClassifier:
    torch.manual_seed(0)
    backbone = backbones.build(name, output_stride=output_stride)
    return PatchClassifier(backbone, CLASSES, grids=grids, **options).eval()


def _blockwise(patched: int) -> Backbone:
    """Strides 4, 1, 2, 2, 1; below stage `patched` a cell sees one block of the image, from there on its neighbours."""
    torch.manual_seed(0)
    stages, channels = [], (3, 8, 8, 8, 8, 8)
    for index, stride in enumerate((4, 1, 2, 2, 1)):
        kernel = stride if index < patched else 3
        stages.append(nn.Conv2d(*channels[index : index + 2], kernel, stride, kernel // 2 if index >= patched else 0))
    backbone = Backbone(stages, channels[1:])
    backbone.output_stride = 16
    return backbone


class _Position(Backbone):
    """Averages over cells: of an image that holds its own coordinates, the place that a cell of the features covers."""

    def __init__(self) -> None:
        pools = [nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity() for stride in (4, 1, 2, 2, 1)]
        super().__init__(pools, (3,) * 5)
        self.output_stride = 16


@pytest.mark.parametrize(
    ("stage", "k", "size"), [(2, 2, (64, 96)), (3, 2, (64, 96)), (4, 2, (64, 64)), (2, 3, (96, 48)), (4, 1, (40, 56))]
)
def test_the_patched_branch_equals_a_loop_over_its_patches(stage: int, k: int, size: tuple[int, int]) -> None:
    network = _classifier("resnet18", [Grid(stage, k)])
    x = torch.randn(2, 3, *size)
    with torch.inference_mode():
        below = x
        for s in network.backbone.stages[:stage]:
            below = s(below)
        h, w = (math.ceil(side / k) for side in below.shape[2:])
        rows = []
        for row in below.split(h, dim=2):
            patches = []
            for patch in row.split(w, dim=3):
                patch = network.phi1[0](patch)
                for s in network.backbone.stages[stage:]:
                    patch = s(patch)
                patches.append(network.phi2[0](patch))
            rows.append(torch.cat(patches, dim=3))
        torch.testing.assert_close(network.features(x)[1], torch.cat(rows, dim=2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_a_patch_of_the_image_changes_its_place_in_the_features_only(stage: int) -> None:
    network = PatchClassifier(_blockwise(stage), CLASSES, grids=[Grid(stage, 2)])
    x = torch.randn(2, 3, 64, 96)
    changed = x.clone()
    changed[1, :, 32:, :48] += 1  # the patch at the bottom left of the second image
    with torch.inference_mode():
        before, after = network.features(x), network.features(changed)
        whole, patched = ((a - b).abs().amax(dim=1) > 1e-6 for a, b in zip(before, after, strict=True))
    place = torch.zeros(2, 4, 6, dtype=torch.bool)
    place[1, 2:, :3] = True
    assert torch.equal(patched, place)
    assert whole[1, 1].any()  # the global branch looks across
    assert not whole[0].any()


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_with_a_rim_of_all_that_a_cell_sees_the_sides_of_patches_vanish(stage: int) -> None:
    network = PatchClassifier(_blockwise(stage), CLASSES, grids=[Grid(stage, 2)])
    x = torch.randn(1, 3, 256, 288)
    with torch.inference_mode():
        without = network.features(x)[1]
        patched = network.with_rim(3).features(x)[1]
        whole = x
        for index, layer in enumerate(network.backbone.stages):
            whole = layer(network.phi1[0](whole) if index == stage else whole)
        whole = network.phi2[0](whole)
    inside = (..., slice(3, -3), slice(3, -3))  # at the sides of the image layers see zeros
    torch.testing.assert_close(patched[inside], whole[inside], rtol=1e-4, atol=1e-5)
    assert (without[inside] - whole[inside]).abs().max() > 1e-2
    torch.testing.assert_close(network.features(x)[1].detach(), without)


@pytest.mark.parametrize(("name", "stride"), [
    ("resnet18", 8), ("resnet18", 16), ("resnet18", 32), ("efficientnet_lite0", 16),
])  # fmt: skip
@pytest.mark.parametrize("ks", [(2, 2, 2), (3, 4, 6), (7, 5, 3)])
def test_all_branches_have_the_size_of_the_global_one(name: str, stride: int, ks: tuple[int, int, int]) -> None:
    grids = [Grid(stage, k) for stage, k in zip((2, 3, 4), ks, strict=True)]
    network = _classifier(name, grids, output_stride=stride, phi_init="identity")
    for h, w in [(64, 48), (33, 47), (70, 31), (9, 17)]:
        with torch.inference_mode():
            features = network.features(torch.randn(1, 3, h, w))
        expected = (1, network.backbone.channels[-1], math.ceil(h / stride), math.ceil(w / stride))
        assert [f.shape for f in features] == [expected] * 4
        assert all(f.isfinite().all() for f in features)


@pytest.mark.parametrize("grid", [Grid(2, 2), Grid(2, 6), Grid(3, 3), Grid(3, 5), Grid(4, 4)])
@pytest.mark.parametrize("side", [96, 144, 200])
def test_patches_keep_their_place_where_a_stride_does_not_divide_them(grid: Grid, side: int) -> None:
    network = PatchClassifier(_Position(), CLASSES, grids=[grid])
    for phi in (network.phi1[0], network.phi2[0]):
        nn.init.dirac_(phi.weight)
        nn.init.zeros_(phi.bias)
    places = torch.arange(side) + 0.5
    x = torch.stack([*torch.meshgrid(places, places, indexing="ij"), torch.zeros(side, side)])[None]
    with torch.inference_mode():
        whole, patched = network.features(x)
    inner = slice(0, whole.shape[2] - 1)  # the last cells may cover zeros beyond the border
    drift = (whole - patched)[:, :, inner, inner].abs().max()
    assert drift < 16  # pixels: one cell


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("global_branch", [False, True])
def test_logits_are_those_of_a_classifier_on_pooled_features_and_the_mean_of_the_maps(
    name: str, global_branch: bool
) -> None:
    network = _classifier(name, ALL, global_branch=global_branch, phi_init="identity")
    x = torch.randn(2, 3, 65, 50)
    with torch.inference_mode():
        features, logits, maps = network.features(x), network(x), network.maps(x)
        pooled = F.adaptive_avg_pool2d(torch.cat(features, dim=1), 1)
        expected = network.classifier(pooled).flatten(1)
    assert len(features) == network.branches == 3 + global_branch
    assert logits.shape == (2, network.branches, CLASSES)
    assert maps.shape == (2, network.branches, CLASSES, 5, 4)
    scale = expected.abs().max()
    torch.testing.assert_close(logits.sum(dim=1) / scale, expected / scale, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps.mean(dim=(3, 4)) / scale, logits / scale, rtol=1e-4, atol=1e-5)


def _reached_by_branch(network: PatchClassifier) -> list[list[int]]:
    """Return the stages of the backbone that the gradient of the logits of each branch reaches."""
    logits, reached = network.train()(torch.randn(2, 3, 64, 64)), []
    for branch in range(network.branches):
        network.zero_grad()
        logits[:, branch].sum().backward(retain_graph=True)
        gradients = [[p.grad for p in stage.parameters()] for stage in network.backbone.stages]
        reached.append([i for i, stage in enumerate(gradients) if any(g is not None and g.any() for g in stage)])
    return reached


def _build(method: str, variant: str, *, frozen_stages: int = 2) -> PatchClassifier:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="own/tiny_backbone", output_stride=16, frozen_stages=frozen_stages, phi_init="identity"
    )  # fmt: skip
    return checkpoint.build(method, variant, CLASSES, architecture, weights="none")


@pytest.mark.parametrize(("method", "grids", "frozen", "branches"), [
    *(("baseline", "plain", frozen, [range(frozen + 1, 5)]) for frozen in range(-1, 4)),
    *(("explicit", "s2k2-s3k2-s4k2", n, [range(n + 1, 5), range(2, 5), range(3, 5), [4]]) for n in (-1, 0, 1, 2, 3)),
    # The first step trains what the baseline trains, and its patched stage; later ones freeze (Algorithm 1, line 10).
    ("implicit", "s2k2", 2, [range(2, 5)] * 2), ("implicit", "s3k2", 2, [range(3, 5)] * 2),
    *(("implicit", "s4k2", frozen, [range(frozen + 1, 5)] * 2) for frozen in range(-1, 4)),
    *(("implicit", "s2k2-s3k2", frozen, [range(3, 5)] * 2) for frozen in (-1, 2, 3)),
    *(("implicit", "s2k2-s4k2", frozen, [[4]] * 2) for frozen in (-1, 2)),
    ("local", "s2k2-s4k2", 2, [range(2, 5), [4]]),  # no global branch
])  # fmt: skip
def test_gradients_reach_stages_above_the_frozen_ones_and_from_the_patched_one_on(
    tiny: str, method: str, grids: str, frozen: int, branches: list
) -> None:
    network = _build(method, grids, frozen_stages=frozen)
    reached = [list(stages) for stages in branches]
    assert _reached_by_branch(network) == reached
    trained = [i for i, stage in enumerate(network.backbone.stages) if all(p.requires_grad for p in stage.parameters())]
    assert trained == sorted(set().union(*reached))
    assert network.classifier.in_channels == len(branches) * 32


def test_branches_share_one_backbone(tiny: str) -> None:
    """The local features of explicit fusion are those of its local-only ablation with the same weights."""
    fusion, local = _build("explicit", "s2k2-s4k2").eval(), _build("local", "s2k2-s4k2").eval()
    state = fusion.state_dict() | {"classifier.weight": fusion.classifier.weight[:, 32:]}
    local.load_state_dict(state)
    x = torch.randn(1, 3, 50, 70)
    with torch.inference_mode():
        for a, b in zip(fusion.features(x)[1:], local.features(x), strict=True):
            assert torch.equal(a, b)
        torch.testing.assert_close(fusion(x)[:, 1:], local(x))


def test_statistics_of_batch_norm_never_change(tiny: str) -> None:
    network = _build("explicit", "s2k2-s3k2").train()
    kept = {key: value.clone() for key, value in network.named_buffers()}
    assert kept
    network(torch.randn(4, 3, 48, 48) * 3 + 5).sum().backward()
    assert all(torch.equal(value, kept[key]) for key, value in network.named_buffers())


def test_parameters_belong_to_the_backbone_to_phi_or_to_the_classifier(tiny: str) -> None:
    network = _build("explicit", "s2k2-s3k2")
    parts = (network.backbone.parameters(), network.phi_parameters(), network.classifier.parameters())
    held = [id(p) for part in parts for p in part]
    assert sorted(held) == sorted(id(p) for p in network.parameters())


@pytest.mark.parametrize(("init", "near"), [("identity", True), ("kaiming", False)])
def test_initial_phi(tiny: str, init: str, near: bool) -> None:
    torch.manual_seed(0)
    network = PatchClassifier(backbones.build(tiny), CLASSES, grids=[Grid(4, 2)], phi_init=init)
    x = torch.randn(1, 16, 12, 12)
    assert (F.cosine_similarity(network.phi1[0](x), x).mean() > 0.9) == near


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_kaiming_phi_is_hes_uniform_distribution_and_keeps_the_size_of_rectified_features(stage: int) -> None:
    """He et al. 2015: variance 2 / fan-in, so that the layer keeps the mean square of features behind a ReLU."""
    torch.manual_seed(0)
    network = PatchClassifier(backbones.build("resnet18"), CLASSES, grids=[Grid(stage, 2)])
    for phi in (network.phi1[0], network.phi2[0]):
        fan_in = phi.in_channels * 9
        bound = math.sqrt(6 / fan_in)
        assert 0.99 * bound < phi.weight.abs().max() <= bound
        assert phi.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
        assert not phi.bias.any()
        x = torch.randn(8, phi.in_channels, 24, 24).relu()
        with torch.inference_mode():
            y = phi(x).relu()[:, :, 1:-1, 1:-1]
        assert y.square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.25)


@pytest.mark.parametrize(("dilated", "dilations"), [(False, [1, 1, 1]), (True, [2, 2, 2])])
def test_conv5_of_vgg16_is_dilated_on_demand(dilated: bool, dilations: list[int]) -> None:
    """At output stride 8 the last stage of AffinityNet's VGG16 sees cells of twice the size that it was trained on."""
    architecture = Architecture(backbone="vgg16", output_stride=8, dilated=dilated)
    network = checkpoint.build("baseline", "plain", CLASSES, architecture, weights="none")
    convolutions = [m for m in network.backbone.stages[4].modules() if isinstance(m, nn.Conv2d)]
    assert [conv.dilation[0] for conv in convolutions] == dilations
    assert all(conv.padding == conv.dilation for conv in convolutions)
    pools = [m for m in network.backbone.stages[3].modules() if isinstance(m, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride, pool.padding) for pool in pools] == [(3, 1, 1)]


def test_impossible_classifiers_are_refused(tiny: str) -> None:
    with pytest.raises(ValueError, match="at least one branch"):
        PatchClassifier(backbones.build(tiny), CLASSES, global_branch=False)
