"""Seeds, and the label of the strongest class above a threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional as F

from ppl.cam.seeds import hard_labels, seed, strongest_class
from ppl.cam.store import Cam
from ppl.data.resize import upsample

SCORES = [0, 0.25, 0.5, 1]
MAPS = arrays(np.float32, (3, 4, 5), elements=st.sampled_from(SCORES))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2))
def test_upsampling_is_torch_bilinear(h: int, w: int, less_h: int, less_w: int, count: int) -> None:
    size = (max(1, 4 * h - less_h), max(1, 4 * w - less_w))
    maps = np.random.default_rng(h * w).random((count, h, w), dtype=np.float32)
    upsampled = upsample(maps, size)
    assert (upsampled.shape, upsampled.dtype) == ((count, *size), np.float32)
    if count:
        expected = F.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear", align_corners=False)[0]
        np.testing.assert_allclose(upsampled, expected, rtol=0, atol=1e-5)


@given(MAPS, st.sampled_from(SCORES))
def test_a_seed_is_the_strongest_class_above_the_threshold(maps: np.ndarray, threshold: float) -> None:
    cam = Cam(maps, np.array([2, 5, 200]), (4, 5))
    labels, (strongest, score) = seed(cam, threshold), strongest_class(cam)
    assert labels.dtype == strongest.dtype == np.uint8
    np.testing.assert_array_equal(labels, hard_labels(maps, cam.classes, threshold))
    np.testing.assert_array_equal(score, maps.max(axis=0))
    np.testing.assert_array_equal(labels, np.where(maps.max(axis=0) > threshold, strongest, 0))
    for plane, number in enumerate(cam.classes):
        assert (maps[plane] == maps.max(axis=0))[labels == number].all()
    assert set(np.unique(labels)) <= {0, 2, 5, 200}


def test_without_classes_all_is_background() -> None:
    labels = seed(Cam(np.zeros((0, 3, 5), np.float32), np.zeros(0, np.int64), (12, 20)), 0)
    assert (labels.shape, labels.dtype) == ((12, 20), np.uint8)
    assert not labels.any()


def test_the_order_of_the_classes_does_not_matter() -> None:
    maps = np.random.default_rng(0).random((3, 6, 7))
    np.testing.assert_array_equal(hard_labels(maps, [4, 9, 2], 0.4), hard_labels(maps[::-1], [2, 9, 4], 0.4))


@pytest.mark.parametrize("classes", [[1], [1, 2, 3], [0, 1], [1, 255]])
def test_classes_that_do_not_fit_are_refused(classes: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        hard_labels(np.zeros((2, 4, 5)), classes, 0.3)
