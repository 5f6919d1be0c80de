import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl.measure.metrics import confusion, iou, mean_iou, precision_recall

TRUTH = np.array([[0, 0, 1, 1], [2, 2, 255, 255]], dtype=np.uint8)
PREDICTION = np.array([[0, 1, 1, 1], [2, 0, 1, 2]], dtype=np.uint8)
MATRIX = np.array([[1, 1, 0], [0, 2, 0], [1, 0, 1]])  # row: truth, column: prediction


def test_a_confusion_by_hand() -> None:
    matrix = confusion(TRUTH, PREDICTION, 2)
    np.testing.assert_array_equal(matrix, MATRIX)
    np.testing.assert_allclose(iou(matrix), [1 / 3, 2 / 3, 1 / 2])
    assert mean_iou(matrix) == pytest.approx(0.5)
    precision, recall = precision_recall(matrix)
    assert precision == pytest.approx((2 / 3 + 1) / 2)
    assert recall == pytest.approx((1 + 1 / 2) / 2)


def test_a_class_without_ground_truth_is_left_out_of_the_mean() -> None:
    matrix = confusion(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]), 3)
    np.testing.assert_array_equal(iou(matrix), [0.5, 1, np.nan, np.nan])
    assert mean_iou(matrix) == 0.75
    assert precision_recall(matrix) == (1, 1)


def test_without_ground_truth_there_is_no_mean() -> None:
    matrix = confusion(np.full((2, 2), 255), np.ones((2, 2), dtype=int), 1)
    assert not matrix.any()
    assert np.isnan(mean_iou(matrix))


def test_a_class_that_is_never_predicted_claims_nothing_wrong() -> None:
    assert precision_recall(np.array([[3, 0], [2, 0]])) == (1, 0)


def test_many_matrices_at_once_equal_one_by_one() -> None:
    matrices = np.random.default_rng(0).integers(0, 9, (2, 5, 4, 4))
    matrices[0, 0, 1] = 0  # class 1 without ground truth
    matrices[1, 2, :, 2] = 0  # class 2 never predicted
    for function in (iou, mean_iou, lambda m: precision_recall(m)[0], lambda m: precision_recall(m)[1]):
        together = function(matrices)
        for place in np.ndindex(2, 5):
            np.testing.assert_array_equal(together[place], function(matrices[place]))


@pytest.mark.parametrize(("truth", "prediction"), [([[3]], [[0]]), ([[0]], [[3]]), ([[0]], [[255]])])
def test_ids_that_are_no_class_are_refused(truth: list, prediction: list) -> None:
    with pytest.raises(ValueError, match="class id"):
        confusion(np.array(truth), np.array(prediction), 2)


def test_maps_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="shape mismatch"):
        confusion(np.zeros((2, 3)), np.zeros((3, 2)), 1)


@given(arrays(np.uint8, (2, 7), elements=st.sampled_from([0, 1, 2, 255])))
def test_the_truth_predicts_itself(truth: np.ndarray) -> None:
    matrix = confusion(truth, np.where(truth == 255, 0, truth), 2)
    assert matrix.sum() == (truth != 255).sum()
    np.testing.assert_array_equal(iou(matrix), [1 if (truth == i).any() else np.nan for i in range(3)])
