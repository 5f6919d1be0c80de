"""Segmentation metrics as pure functions of a confusion matrix."""

import numpy as np

from ppl.data.masks import IGNORE


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by truth (row) and prediction (column), (C+1, C+1) int64, without pixels of truth 255.

    Both maps are (h, w) with ids 0..C. ValueError for unequal shapes and for other ids, which would count as a class.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"shape mismatch: truth {truth.shape}, prediction {prediction.shape}")
    valid = truth != IGNORE
    t, p = truth[valid].astype(np.int64), prediction[valid].astype(np.int64)
    if t.size and (t.max() > classes or p.max() > classes):
        raise ValueError(f"class id {max(t.max(), p.max())}, but the highest is {classes}")
    return np.bincount(t * (classes + 1) + p, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


def iou(matrix: np.ndarray) -> np.ndarray:
    """Compute intersection over union, (..., C+1, C+1) to (..., C+1); NaN for a class without ground truth."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1).astype(float)
    truth, predicted = matrix.sum(-1), matrix.sum(-2)
    return np.where(truth > 0, hit / np.maximum(truth + predicted - hit, 1), np.nan)


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Compute mIoU over the classes with ground truth, background included; NaN if none but background has any.

    As in VOC's evaluation, classes without ground truth do not count. The IoU of background alone is no mIoU: it is
    high for predictions without any object.
    """
    values = iou(matrix)
    present = ~np.isnan(values)
    total = np.where(present, values, 0).sum(-1)
    return np.where(present[..., 1:].any(-1), total / np.maximum(present.sum(-1), 1), np.nan)


def precision_recall(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute precision and recall of (..., C+1, C+1), means over foreground classes with ground truth (Figure 7).

    NaN if there are none.
    A class that is never predicted has precision 1 by convention: it has no false positives.
    """
    hit = np.diagonal(matrix, axis1=-2, axis2=-1).astype(float)[..., 1:]
    truth, predicted = matrix.sum(-1)[..., 1:], matrix.sum(-2)[..., 1:]
    present = truth > 0
    precision = np.where(predicted > 0, hit / np.maximum(predicted, 1), 1.0)
    recall = hit / np.maximum(truth, 1)
    count = np.where(present.any(-1), present.sum(-1), np.nan)
    return (precision * present).sum(-1) / count, (recall * present).sum(-1) / count
