from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ppl.cam.maps import maps_of
from ppl.cam.prototypes import STAGE, features_of, refine
from ppl.cam.settings import Cam, Maps, Prototypes
from ppl.classify.network import PatchClassifier
from ppl.classify.variants import Grid
from ppl.networks import backbones

CLASSES = 3
ROUNDS = Prototypes(rounds=2)


def _directions(count: int, seed: int = 0) -> Tensor:
    """Return features (count, D) of unit length that are orthogonal, in a random basis."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q[:count]


def _photo(regions: np.ndarray, seed: int = 0) -> Tensor:
    """Return features (D, h, w): those of a region (0, 1, ...) are alike, those of two regions are orthogonal."""
    return _directions(int(regions.max()) + 1, seed)[torch.from_numpy(regions)].permute(2, 0, 1).contiguous()


def _scene() -> tuple[np.ndarray, Tensor]:
    """Return regions (12, 16), background 0 and two objects, and maps that know only a part of each object."""
    regions = np.zeros((12, 16), np.int64)
    regions[2:10, 1:7], regions[3:9, 9:15] = 1, 2
    maps = torch.zeros(2, 12, 16)
    maps[0, 3:5, 2:4], maps[1, 6:8, 12:14] = 1, 1
    return regions, maps


def test_a_map_of_a_part_becomes_one_of_the_whole_object() -> None:
    regions, maps = _scene()
    refined = refine(maps, _photo(regions), ROUNDS)
    for k, own in enumerate(refined):
        inside, outside = own[torch.from_numpy(regions == k + 1)], own[torch.from_numpy(regions != k + 1)]
        assert inside.min() > 0.75
        assert outside.max() < 0.2


def test_background_that_a_map_covers_is_given_back() -> None:
    regions, maps = _scene()
    maps[0, 10:, 1:7] = 0.4  # the ground below the object
    assert refine(maps, _photo(regions), ROUNDS)[0, 10:].max() < 0.2


def test_without_rounds_maps_stay_as_they_are() -> None:
    regions, maps = _scene()
    assert refine(maps, _photo(regions), Prototypes(rounds=0)) is maps


def test_the_share_of_the_map_decides_between_it_and_the_prototypes() -> None:
    regions, maps = _scene()
    whole = Prototypes(rounds=2, cam_share=1)
    torch.testing.assert_close(refine(maps, _photo(regions), whole), maps, rtol=0, atol=1e-4)


def test_neither_the_basis_of_features_nor_the_order_of_classes_matters() -> None:
    regions, maps = _scene()
    refined = refine(maps, _photo(regions), ROUNDS)
    torch.testing.assert_close(refine(maps, _photo(regions, seed=1), ROUNDS), refined, rtol=0, atol=1e-5)
    torch.testing.assert_close(refine(maps.flip(0), _photo(regions), ROUNDS).flip(0), refined, rtol=0, atol=1e-5)


def test_features_of_a_coarser_grid_give_maps_of_the_size_of_the_maps() -> None:
    regions, maps = _scene()
    coarse = regions[::2, ::2].copy()
    refined = refine(maps, _photo(coarse), ROUNDS)
    assert refined.shape == maps.shape
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)
    for k, own in enumerate(refined):
        assert ((own > 0.5).numpy() == (fine == k + 1)).mean() > 0.9


def test_a_class_whose_map_another_class_covers_keeps_it() -> None:
    regions, maps = _scene()
    weak = torch.stack([maps[0], 0.3 * maps[0]])  # nowhere the strongest
    refined = refine(weak, _photo(regions), ROUNDS)
    assert refined[1].argmax() == maps[0].argmax()
    assert (refined[1] > 0).equal(maps[0] > 0)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_map_without_contrast_stays_without(fill: float) -> None:
    regions, _ = _scene()
    refined = refine(torch.full((1, 12, 16), fill), _photo(regions), ROUNDS)
    assert refined.isfinite().all()
    assert fill or not refined.any()


def test_a_photo_without_classes_has_no_maps() -> None:
    regions, maps = _scene()
    assert refine(maps[:0], _photo(regions), ROUNDS).shape == (0, 12, 16)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_maps_stay_in_0_to_1_whatever_the_features(seed: int, classes: int, h: int, w: int, rounds: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(classes, h, w, generator=generator)
    features = torch.nn.functional.normalize(torch.randn(5, 2 * h, w, generator=generator), dim=0)
    refined = refine(maps, features, Prototypes(rounds=rounds))
    assert refined.shape == maps.shape
    assert refined.isfinite().all()
    assert (refined >= 0).all()
    assert (refined <= 1).all()


@pytest.fixture
def network(tiny: str) -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier(backbones.build(tiny), CLASSES, grids=[Grid(4, 2)], phi_init="identity").eval()


def _photos(count: int, h: int, w: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(32, 48), (41, 30), (3, 5)])
def test_features_are_directions_on_the_grid_of_the_largest_scale(
    network: PatchClassifier, size: tuple[int, int]
) -> None:
    features = features_of(network.backbone, _photos(2, *size), (1, 2), mirror=True)
    assert features.shape[2:] == tuple(-(-2 * side // 16) for side in size)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2, *features.shape[2:]))


def test_the_mirrored_photo_has_the_mirrored_features(network: PatchClassifier) -> None:
    photos = _photos(1, 41, 32)
    both = photos, photos[:, :, ::-1].copy()
    features, mirrored = (features_of(network.backbone, p, (1, 2), mirror=True) for p in both)
    torch.testing.assert_close(mirrored, features.flip(3), rtol=1e-3, atol=1e-4)


def test_maps_of_a_batch_equal_those_of_its_photos(network: PatchClassifier) -> None:
    photos, labels = _photos(3, 33, 40), [(1, 3), (), (2,)]
    cam = Cam(maps=Maps(scales=(1, 0.5)), prototypes=ROUNDS)
    together = maps_of(network, photos, labels, cam)
    for photo, ids, maps in zip(photos, labels, together, strict=True):
        (alone,) = maps_of(network, photo[None], [ids], cam)
        assert maps.shape == (len(ids), 9, 10)
        np.testing.assert_allclose(maps, alone, rtol=1e-3, atol=1e-3)


def test_without_mirror_images_only_the_photo_counts(network: PatchClassifier) -> None:
    photos = _photos(1, 32, 48)
    features = features_of(network.backbone, photos, (1,), mirror=False)
    with torch.no_grad():
        expected = network.backbone.features(network.backbone.prepare(photos))[STAGE]
    torch.testing.assert_close(features, torch.nn.functional.normalize(expected, dim=1))


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("method", ["cam", "gradcam_plus_plus", "scorecam"])
def test_scales_of_maps_and_prototypes_go_through_the_network_once(
    network: PatchClassifier, method: str, mirror: bool
) -> None:
    photos, views, counts = _photos(1, 32, 48), [], set()

    def see(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        views.append(tuple(inputs[0].shape[2:]))
        counts.add(len(inputs[0]))

    network.backbone.stages[0].register_forward_pre_hook(see)
    settings = Maps(scales=(1, 0.5), mirror=mirror)
    cam = Cam(method=method, maps=settings, prototypes=Prototypes(rounds=2, scales=(1, 2)))
    (maps,) = maps_of(network, photos, [(1, 3)], cam)
    assert sorted(set(views)) == [(16, 24), (32, 48), (64, 96)]
    assert views.count((64, 96)) == 1
    if method != "scorecam":  # its masked images have the size of the photo
        assert len(views) == 3
        assert counts == {2 if mirror else 1}

    plain = replace(cam, prototypes=Prototypes(rounds=0))
    (before,) = maps_of(network, photos, [(1, 3)], plain)
    (features,) = features_of(network.backbone, photos, (1, 2), mirror=mirror)
    np.testing.assert_array_equal(maps, refine(torch.from_numpy(before), features, cam.prototypes).numpy())
