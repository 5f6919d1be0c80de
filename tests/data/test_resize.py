import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from ppl.data.resize import enlarge, upsample

SIDES = st.integers(1, 20)


@given(st.integers(1, 3), SIDES, SIDES, st.integers(0, 40), st.integers(0, 40))
def test_upsampling_equals_bilinear_interpolation_in_torch(count, h, w, more_h, more_w) -> None:
    maps = np.random.default_rng(0).random((count, h, w), dtype=np.float32)
    size = (h + more_h, w + more_w)
    expected = F.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(upsample(maps, size), expected, atol=1e-5)
    assert upsample(maps[:0], size).shape == (0, *size)


@given(arrays(np.uint8, (4, 5), elements=st.integers(0, 3)), st.integers(4, 40), st.integers(5, 40))
def test_an_enlarged_map_has_the_same_labels_only_and_is_unchanged_at_its_own_size(labels, h: int, w: int) -> None:
    large = enlarge(labels, (h, w))
    assert large.shape == (h, w)
    assert set(np.unique(large)) <= set(np.unique(labels))
    np.testing.assert_array_equal(enlarge(labels, labels.shape), labels)


@pytest.mark.parametrize("factor", [1, 3, 7])
def test_an_enlarged_map_keeps_the_labels_at_the_centres_of_its_pixels(factor: int) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (9, 13), dtype=np.uint8)
    large = enlarge(labels, (9 * factor, 13 * factor))
    assert np.array_equal(large[factor // 2 :: factor, factor // 2 :: factor], labels)


def test_an_enlarged_border_is_straight_and_stays_in_its_place() -> None:
    labels = np.repeat([[0, 0, 5, 5]], 4, axis=0).astype(np.uint8)
    assert np.array_equal(enlarge(labels, (40, 40)), np.repeat([[0] * 20 + [5] * 20], 40, axis=0))
