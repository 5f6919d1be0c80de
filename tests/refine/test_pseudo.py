"""Pseudo labels from scores after the walk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl.crf.dense import from_labels, on_cpu
from ppl.crf.settings import IRNET, Pairwise
from ppl.data.masks import IGNORE, read_mask
from ppl.jobs.errors import UserError
from ppl.refine.passes import NO_MARGINS, combine
from ppl.refine.pseudo import Labelling, WalkedScores, limits, of_equal_area, pseudo_labels, write_labels
from ppl.refine.settings import LabelMargins, Labels, Margins, Refine, Walk

WALK = Walk(crf=False)


def pseudo_label(walked: WalkedScores, walk: Walk, pairwise: Pairwise, thresholds=None) -> np.ndarray:
    return pseudo_labels([walked], walk, pairwise, thresholds=thresholds and [thresholds])[0]


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


def scores_of(classes: int) -> st.SearchStrategy[np.ndarray]:
    """Return scores (K, 4, 5) in 0..1, many of which are equal."""
    values = st.integers(0, 20).map(lambda i: i / 20)
    return arrays(np.float32, (classes, 4, 5), elements=values.map(lambda x: float(np.float32(x))))


@given(scores_of(2), scores_of(3), st.floats(-0.2, 1.2))
def test_the_threshold_of_equal_area_leaves_as_many_cells_to_classes_as_the_seed(scores, maps, threshold) -> None:
    limit = of_equal_area(scores, maps, threshold)
    wanted, strongest = (maps.max(0) > threshold).sum(), scores.max(0)
    assert (strongest > limit).sum() <= wanted <= (strongest >= limit).sum()  # equal scores stay below together
    distinct = strongest + np.arange(20).reshape(4, 5) / 1000
    assert (distinct > of_equal_area(distinct[None], maps, threshold)).sum() == wanted


def test_the_threshold_of_equal_area_does_not_depend_on_a_monotonic_change_of_the_scores(walked: WalkedScores) -> None:
    maps = np.random.default_rng(0).random((2, 6, 8)).astype(np.float32)
    for threshold in (0.2, 0.5, 0.8):
        limit, of_cubes = (of_equal_area(maps**n, maps, threshold) for n in (1, 3))
        np.testing.assert_array_equal(maps.max(0) > limit, maps.max(0) > threshold)
        np.testing.assert_array_equal((maps**3).max(0) > of_cubes, maps.max(0) > threshold)
    assert of_equal_area(maps[:0], maps[:0], 0.3) >= 0  # an image without classes has no foreground


def test_a_seed_sized_walk_has_the_size_of_the_seed_and_needs_its_threshold(walked: WalkedScores) -> None:
    maps = walked.scores**2  # 0.36 and 0.81
    seeded = walked._replace(threshold="seed")
    for threshold in (0.1, 0.5):
        labels = pseudo_label(seeded, WALK, IRNET, thresholds=limits(seeded, maps, threshold, NO_MARGINS))
        cells = labels[2::4, 2::4]  # their centres
        assert (cells > 0).sum() == pytest.approx((maps.max(0) > threshold).sum(), abs=8)
    with pytest.raises(UserError, match="seed"):
        limits(seeded, maps, None, NO_MARGINS)


@pytest.mark.parametrize("threshold", [0.5, None, "seed"])
def test_a_margin_leaves_the_band_unlabelled_and_the_rest_as_by_its_two_ends(walked, threshold) -> None:
    rng = np.random.default_rng(0)
    planes = 3 if threshold is None else 2
    walked = walked._replace(scores=rng.random((planes, 6, 8)).astype(np.float32), threshold=threshold)
    maps = rng.random((2, 6, 8)).astype(np.float32)
    one, two = (limits(walked, maps, 0.5, Margins(foreground=margin, background=margin)) for margin in (0, 0.2))
    assert (len(one), len(two)) == (1, 2)
    for walk in (WALK, Walk(crf=True)):
        strict, lenient = (pseudo_label(walked, walk, IRNET, thresholds=[limit]) for limit in two)
        labels = pseudo_label(walked, walk, IRNET, thresholds=two)
        np.testing.assert_array_equal(labels, combine(strict, lenient))
        assert (labels == IGNORE).any()
    full, partial = (pseudo_label(walked, WALK, IRNET, thresholds=t) for t in (one, two))
    np.testing.assert_array_equal(partial[partial != IGNORE], full[partial != IGNORE])


@pytest.mark.parametrize("threshold", [0.5, None])
def test_a_margin_of_zero_changes_nothing(walked: WalkedScores, threshold: float | None) -> None:
    if threshold is None:
        background = np.full((1, 6, 8), 0.5, np.float32)
        walked = walked._replace(scores=np.concatenate([background, walked.scores]), threshold=None)
    maps = np.zeros((2, 6, 8), np.float32)
    labels = pseudo_label(walked, WALK, IRNET, thresholds=limits(walked, maps, 0.9, NO_MARGINS))
    np.testing.assert_array_equal(labels, pseudo_label(walked, WALK, IRNET))


def test_the_file_of_a_label_has_the_margin_of_the_labels_and_keeps_classes_if_asked(walked, tmp_path: Path) -> None:
    scores = walked.scores.copy()
    scores[1] = 0
    scores[1, 0, 0] = 0.9  # one cell, which the CRF removes from a photo of one colour
    walked, refine = walked._replace(scores=scores, photo=np.zeros_like(walked.photo)), Refine()

    def labels(refine: Refine) -> np.ndarray:
        write_labels(tmp_path, Labelling(refine, Walk(crf=True), None, on_cpu), [(walked, scores)])
        return read_mask(tmp_path / "a.png")

    np.testing.assert_array_equal(labels(refine), pseudo_label(walked, Walk(crf=True), IRNET))
    assert 7 not in labels(refine)
    assert 7 in labels(replace(refine, keep_classes=True))
    assert IGNORE in labels(replace(refine, labels=Labels(margins=LabelMargins(foreground=0.2, background=0.2))))
