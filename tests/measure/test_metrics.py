import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl.measure.metrics import confusion, iou, mean_iou, precision_recall


def test_a_confusion_by_hand() -> None:
    matrix = confusion(np.array([[0, 0, 1, 1], [2, 2, 255, 255]]), np.array([[0, 1, 1, 1], [2, 0, 1, 2]]), 2)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 2, 0], [1, 0, 1]])  # row: truth, column: prediction
    np.testing.assert_allclose(iou(matrix), [1 / 3, 2 / 3, 1 / 2])
    assert mean_iou(matrix) == pytest.approx(0.5)
    assert precision_recall(matrix) == pytest.approx(((2 / 3 + 1) / 2, (1 + 1 / 2) / 2))


def test_classes_without_ground_truth_or_prediction_are_left_out() -> None:
    matrix = confusion(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 1]]), 3)
    np.testing.assert_array_equal(iou(matrix), [0.5, 1, np.nan, np.nan])
    assert mean_iou(matrix) == 0.75
    assert precision_recall(matrix) == (1, 1)
    assert precision_recall(np.array([[3, 0], [2, 0]])) == (1, 0)  # never predicted
    without_truth = confusion(np.full((2, 2), 255), np.ones((2, 2), dtype=int), 1)
    assert not without_truth.any()
    assert np.isnan(mean_iou(without_truth))


def test_many_matrices_at_once_equal_one_by_one() -> None:
    matrices = np.random.default_rng(0).integers(0, 9, (2, 5, 4, 4))
    matrices[0, 0, 1] = 0  # class 1 without ground truth
    matrices[1, 2, :, 2] = 0  # class 2 never predicted
    for function in (iou, mean_iou, lambda m: precision_recall(m)[0], lambda m: precision_recall(m)[1]):
        together = function(matrices)
        for place in np.ndindex(2, 5):
            np.testing.assert_array_equal(together[place], function(matrices[place]))


@pytest.mark.parametrize(("truth", "predicted"), [([[3]], [[0]]), ([[0]], [[3]]), ([[0]], [[255]]), ([[0]], [[0, 0]])])
def test_ids_that_are_no_class_and_maps_of_another_size_are_refused(truth: list, predicted: list) -> None:
    with pytest.raises(ValueError, match="class id" if len(truth[0]) == len(predicted[0]) else "shape mismatch"):
        confusion(np.array(truth), np.array(predicted), 2)


@given(arrays(np.uint8, (2, 7), elements=st.sampled_from([0, 1, 2, 255])))
def test_the_truth_predicts_itself(truth: np.ndarray) -> None:
    matrix = confusion(truth, np.where(truth == 255, 0, truth), 2)
    assert matrix.sum() == (truth != 255).sum()
    np.testing.assert_array_equal(iou(matrix), [1 if (truth == i).any() else np.nan for i in range(3)])
