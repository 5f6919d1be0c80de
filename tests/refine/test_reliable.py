import numpy as np
import pytest

from ppl.refine.reliable import combine, confident_labels, hard_labels

H, W = 20, 30


def square_cam(peak: float = 1.0, halo: float = 0.15) -> np.ndarray:
    """One class: a square of activation `peak` on the right, a column of `halo` in the middle, nothing on the left."""
    cam = np.zeros((1, H, W), np.float32)
    cam[0, :, 10:20] = halo
    cam[0, :, 20:] = peak
    return cam


def three_coloured_photo() -> np.ndarray:
    photo = np.zeros((H, W, 3), np.uint8)
    photo[:, 10:20], photo[:, 20:] = 120, 240
    return photo


def test_the_strongest_class_above_the_threshold_wins() -> None:
    cam = np.array([[[0.1, 0.5, 0.6, 0.3]], [[0.2, 0.9, 0.4, 0.3]]], np.float32)
    labels = hard_labels(cam, [7, 12], 0.25)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, [[0, 12, 7, 7]])


def test_an_activation_at_the_threshold_is_background() -> None:
    np.testing.assert_array_equal(hard_labels(np.full((1, 2, 2), 0.25), np.array([3]), 0.25), np.zeros((2, 2)))
    np.testing.assert_array_equal(hard_labels(np.full((1, 2, 2), 0.26), np.array([3]), 0.25), np.full((2, 2), 3))


def test_the_order_of_the_classes_does_not_matter() -> None:
    cam = np.random.default_rng(0).random((3, 6, 7))
    np.testing.assert_array_equal(hard_labels(cam, [4, 9, 2], 0.4), hard_labels(cam[::-1], [2, 9, 4], 0.4))


def test_foreground_grows_as_the_threshold_falls() -> None:
    cam = np.random.default_rng(0).random((3, 6, 7))
    strict, lenient = hard_labels(cam, [1, 2, 3], 0.6), hard_labels(cam, [1, 2, 3], 0.2)
    assert (lenient[strict > 0] == strict[strict > 0]).all()
    assert (lenient > 0).sum() > (strict > 0).sum() > 0


def test_no_classes_are_background() -> None:
    labels = hard_labels(np.zeros((0, 4, 5), np.float32), [], 0.3)
    assert labels.shape == (4, 5)
    assert labels.dtype == np.uint8
    assert not labels.any()


@pytest.mark.parametrize("classes", [[1], [1, 2, 3], [0, 1], [1, 255]])
def test_classes_that_do_not_fit_are_refused(classes: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        hard_labels(np.zeros((2, 4, 5)), classes, 0.3)


def test_combine_trusts_what_both_passes_agree_on() -> None:
    foreground, background = np.array([[0, 0, 3, 3]], np.uint8), np.array([[0, 3, 3, 0]], np.uint8)
    combined = combine(foreground, background)
    assert combined.dtype == np.uint8
    np.testing.assert_array_equal(combined, [[0, 255, 3, 3]])


def test_strong_weak_and_missing_activation_become_foreground_ignored_background() -> None:
    labels = confident_labels(three_coloured_photo(), square_cam(), [6])
    np.testing.assert_array_equal(labels, np.repeat([[0] * 10 + [255] * 10 + [6] * 10], H, axis=0))


def test_equal_thresholds_leave_no_doubt() -> None:
    labels = confident_labels(three_coloured_photo(), square_cam(), [6], fg_threshold=0.1, bg_threshold=0.1)
    np.testing.assert_array_equal(labels, np.repeat([[0] * 10 + [6] * 20], H, axis=0))


def test_an_image_without_classes_is_confident_background() -> None:
    assert not confident_labels(three_coloured_photo(), np.zeros((0, H, W), np.float32), []).any()


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="above"):
        confident_labels(three_coloured_photo(), square_cam(), [6], fg_threshold=0.1, bg_threshold=0.2)


def test_a_cam_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        confident_labels(three_coloured_photo(), square_cam()[:, ::2], [6])
