"""Pseudo labels from scores after the walk."""

import numpy as np
import pytest

from ppl.crf.dense import from_labels
from ppl.crf.settings import IRNET
from ppl.refine.pseudo import WalkedScores, pseudo_label
from ppl.refine.settings import Walk

WALK = Walk(crf=False)


@pytest.fixture
def walked() -> WalkedScores:
    """Two classes over a photo of two colours, which does not have its edge where the scores have theirs."""
    scores, photo = np.zeros((2, 6, 8), np.float32), np.zeros((24, 32, 3), np.uint8)
    scores[0, :, 3:], scores[1, :2] = 0.6, 0.9
    photo[:, 16:] = 200
    return WalkedScores("a", photo, scores, (3, 7), threshold=0.5)


def test_the_strongest_class_above_background_is_the_label(walked: WalkedScores) -> None:
    labels = pseudo_label(walked, WALK, IRNET)
    assert (labels.shape, labels.dtype) == ((24, 32), np.uint8)
    assert (labels[:6] == 7).all()
    assert (labels[12:, 16:] == 3).all()
    assert (labels[12:, :8] == 0).all()


def test_a_plane_of_background_replaces_the_threshold(walked: WalkedScores) -> None:
    background = np.full((1, 6, 8), 0.5, np.float32)
    with_plane = walked._replace(scores=np.concatenate([background, walked.scores]), threshold=None)
    np.testing.assert_array_equal(pseudo_label(with_plane, WALK, IRNET), pseudo_label(walked, WALK, IRNET))


def test_the_crf_follows_the_photo(walked: WalkedScores) -> None:
    plain = pseudo_label(walked, WALK, IRNET)
    refined = pseudo_label(walked, Walk(crf=True), IRNET)
    assert (plain != refined).any()
    assert set(np.unique(refined)) <= {0, 3, 7}


def test_the_crf_has_the_settings_of_the_walk(walked: WalkedScores) -> None:
    plain = pseudo_label(walked, WALK, IRNET)
    values = {"confidence": 0.9, "iterations": 3}
    (expected,) = from_labels(walked.photo, [plain], [3, 7], pairwise=IRNET, **values)
    np.testing.assert_array_equal(pseudo_label(walked, Walk(crf=True, **values), IRNET), expected)
