import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ppl.cam.maps import branch_maps, fuse
from ppl.cam.settings import Maps
from ppl.classify.network import PatchClassifier
from ppl.classify.variants import Grid
from ppl.networks import backbones

CLASSES = 3
raw = arrays(np.float32, array_shapes(min_dims=4, max_dims=4, max_side=4), elements=st.floats(0, 1e6, width=32))


@pytest.fixture
def network(tiny: str) -> PatchClassifier:
    torch.manual_seed(0)
    grids = [Grid(2, 2), Grid(4, 3)]
    return PatchClassifier(backbones.build(tiny), CLASSES, grids=grids, phi_init="identity").eval()


def _maps(
    network: PatchClassifier, photos: np.ndarray, scales: tuple[float, ...], exponent: float = 1, mirror: bool = True
) -> torch.Tensor:
    """Return the maps of all classes by Equation 2."""
    labels = torch.ones(len(photos), CLASSES, dtype=torch.bool)
    settings = Maps(scales=scales, cam_exponent=exponent, mirror=mirror)
    return branch_maps(network, photos, labels, lambda network, images, _: network.maps(images), settings)


def _photos(count: int, h: int, w: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(32, 48), (41, 30), (3, 5)])
def test_maps_are_at_stride_4_and_not_negative(network: PatchClassifier, size: tuple[int, int]) -> None:
    maps = _maps(network, _photos(2, *size), (1, 0.5))
    assert maps.shape == (2, 3, CLASSES, *(math.ceil(side / 4) for side in size))
    assert maps.dtype == torch.float32
    assert (maps >= 0).all()
    assert (maps > 0).any()


@pytest.mark.parametrize("scales", [(1,), (0.5, 1.5)])
@pytest.mark.parametrize("size", [(32, 48), (41, 30)])
def test_the_mirrored_photo_has_the_mirrored_maps(
    network: PatchClassifier, size: tuple[int, int], scales: tuple[float, ...]
) -> None:
    photos = _photos(1, *size)
    maps, mirrored = (_maps(network, p, scales) for p in (photos, photos[:, :, ::-1].copy()))
    torch.testing.assert_close(mirrored, maps.flip(4), rtol=1e-3, atol=1e-5 * maps.max().item())
    assert not torch.allclose(maps, maps.flip(4), rtol=0.1)


def test_a_batch_equals_its_photos_one_by_one(network: PatchClassifier) -> None:
    photos = _photos(3, 33, 26)
    single = torch.cat([_maps(network, photo[None], (1, 1.5)) for photo in photos])
    torch.testing.assert_close(_maps(network, photos, (1, 1.5)), single, rtol=1e-4, atol=1e-5)


def test_scales_are_added(network: PatchClassifier) -> None:
    photos = _photos(1, 33, 26)
    each = [_maps(network, photos, (scale,)) for scale in (1, 0.5, 2)]
    torch.testing.assert_close(_maps(network, photos, (1, 0.5, 2)), sum(each))


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("exponent", [1, 0.5])
def test_a_map_is_the_sum_of_the_rectified_powers_of_its_views(
    network: PatchClassifier, exponent: float, mirror: bool
) -> None:
    photos = _photos(1, 64, 64)
    x = network.backbone.prepare(photos)
    with torch.inference_mode():
        straight, mirrored = network.maps(x).relu() ** exponent, network.maps(x.flip(3)).relu().flip(4) ** exponent
    expected = (straight + mirrored if mirror else straight).flatten(1, 2)  # (1, branches * classes, h, w)
    expected = torch.nn.functional.interpolate(expected, (16, 16), mode="bilinear", align_corners=False)
    maps = _maps(network, photos, (1,), exponent, mirror).flatten(1, 2)
    torch.testing.assert_close(maps, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("mirror", [True, False])
def test_a_method_that_changes_its_images_changes_no_other_scale(network: PatchClassifier, mirror: bool) -> None:
    photos, labels = _photos(2, 32, 48), torch.ones(2, CLASSES, dtype=torch.bool)

    def maps_of(network: PatchClassifier, images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        maps = network.maps(images)
        images.zero_()
        return maps

    for scales in ((1, 0.5), (1, 1)):
        changed = branch_maps(network, photos, labels, maps_of, Maps(scales=scales, mirror=mirror))
        torch.testing.assert_close(changed, _maps(network, photos, scales, mirror=mirror))


@given(raw, st.sampled_from(["mean", "sum"]))
def test_fused_maps_are_in_0_to_1(maps: np.ndarray, fusion: str) -> None:
    fused = fuse(torch.from_numpy(maps), fusion)
    assert fused.shape == maps.shape[1:]
    assert fuse(torch.from_numpy(maps[:, :0]), fusion).shape == (0, *maps.shape[2:])
    assert ((fused >= 0) & (fused <= 1)).all()


@given(raw)
def test_mean_and_sum_agree_for_one_branch(maps: np.ndarray) -> None:
    maps = torch.from_numpy(maps[:1])
    assert torch.equal(fuse(maps, "mean"), fuse(maps, "sum"))


def test_fusion_by_hand() -> None:
    strong, weak = torch.tensor([[4.0, 8, 0]]), torch.tensor([[0.0, 0.5, 1]])
    maps = torch.stack([strong, weak])[:, None]  # (2 branches, 1 class, 1, 3)
    torch.testing.assert_close(fuse(maps, "mean"), torch.tensor([[[0.25, 0.75, 0.5]]]), rtol=0, atol=1e-4)
    torch.testing.assert_close(fuse(maps, "sum"), torch.tensor([[[4.0, 8.5, 1]]]) / 8.5, rtol=0, atol=1e-4)


def test_classes_are_normalised_one_by_one_and_an_empty_map_stays_empty() -> None:
    maps = torch.tensor([[3.0, 1], [0, 0], [100, 50]])[None, :, None]  # (1, 3 classes, 1, 2)
    expected = torch.tensor([[1, 1 / 3], [0, 0], [1, 0.5]])[:, None]
    torch.testing.assert_close(fuse(maps, "mean"), expected, rtol=0, atol=1e-4)
