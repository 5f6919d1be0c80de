"""Classes of an image's labels stay in its label map."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl.cam.seeds import hard_labels
from ppl.data.masks import IGNORE
from ppl.refine.presence import LOST_SHARE, keep_classes

CLASSES = (7, 2, 254, 5, 9)


class Case(NamedTuple):
    """Arguments of `keep_classes`."""

    labels: np.ndarray
    seed: np.ndarray
    maps: np.ndarray
    classes: list[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Label maps of tiny photos, on which classes contend for pixels, and maps with many equal values."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    classes = draw(st.permutations(CLASSES))[: draw(st.integers(0, len(CLASSES)))]
    levels = st.sampled_from([0.0, 0.2, 0.5, 0.95, 1.0])
    maps = draw(arrays(np.float32, (len(classes), *shape), elements=levels))
    seed = hard_labels(maps, classes, draw(st.sampled_from([0.1, 0.3, 0.9])))
    labels = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, IGNORE, *classes])))
    return Case(labels, seed, maps, list(classes))


def pixels(labels: np.ndarray, c: int) -> int:
    return int((labels == c).sum())


def is_left(case: Case, c: int) -> bool:
    """Whether a class has a pixel, and a tenth of its seed."""
    return pixels(case.labels, c) >= max(1, LOST_SHARE * pixels(case.seed, c))


@given(cases())
def test_every_class_with_a_map_has_a_pixel_that_another_can_spare(case: Case) -> None:
    kept = keep_classes(*case)
    assert (kept.dtype, kept.shape) == (np.uint8, case.labels.shape)
    for c, plane in zip(case.classes, case.maps, strict=True):
        holders = {int(holder) for holder in kept[plane > 0]} - {0, IGNORE}
        crowded = all(pixels(kept, holder) == 1 for holder in holders)
        event(f"crowded: {not pixels(kept, c)}")
        assert pixels(kept, c) or not plane.any() or (crowded and (kept[plane > 0] % IGNORE).all())


@given(cases())
def test_with_room_for_all_no_class_loses_its_last_pixel(case: Case) -> None:
    maps = np.maximum(case.maps, 0.01)
    kept = keep_classes(*case._replace(maps=maps))
    if case.labels.size >= len(case.classes):
        assert [c for c in case.classes if not pixels(kept, c)] == []


@given(cases())
def test_a_label_map_with_all_classes_is_unchanged(case: Case) -> None:
    before = case.labels.copy()
    kept = keep_classes(*case)
    if all(is_left(case, c) for c in case.classes):
        np.testing.assert_array_equal(kept, before)
    np.testing.assert_array_equal(case.labels, before)  # not changed in place


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_classes_does_not_matter(case: Case, random) -> None:
    order = list(range(len(case.classes)))
    random.shuffle(order)
    shuffled = case._replace(maps=case.maps[order], classes=[case.classes[i] for i in order])
    np.testing.assert_array_equal(keep_classes(*shuffled), keep_classes(*case))


@given(cases())
def test_a_pixel_that_changes_gets_the_class_of_its_seed_or_one_without_seed(case: Case) -> None:
    kept = keep_classes(*case)
    changed = kept != case.labels
    seeded = np.isin(kept, np.unique(case.seed[case.seed > 0]))
    np.testing.assert_array_equal(kept[changed & seeded], case.seed[changed & seeded])
    assert set(kept[changed].tolist()) <= set(case.classes)


def test_the_seed_of_a_removed_class_returns() -> None:
    seed = np.array([[3, 3, 3, 4, 4, 0, 0]], np.uint8)
    labels = np.array([[3, 3, 3, 3, IGNORE, IGNORE, 0]], np.uint8)  # 4 was smoothed away
    kept = keep_classes(labels, seed, np.ones((2, 1, 7), np.float32), [3, 4])
    np.testing.assert_array_equal(kept, [[3, 3, 3, 4, 4, IGNORE, 0]])


@pytest.mark.parametrize(("left", "returns"), [(1, True), (2, False)])
def test_less_than_a_tenth_of_a_seed_counts_as_removed(left: int, returns: bool) -> None:
    seed = np.ones((1, 20), np.uint8)
    labels = (np.arange(20)[None] < left).astype(np.uint8)
    kept = keep_classes(labels, seed, np.ones((1, 1, 20), np.float32), [1])
    np.testing.assert_array_equal(kept, seed if returns else labels)


def test_a_class_that_another_dominates_everywhere_gets_the_peak_of_its_map() -> None:
    maps = np.array([[[0.9, 1, 1, 1, 0.9, 0]], [[0, 0.2, 0.5, 0.48, 0.3, 0]]], np.float32)
    seed = hard_labels(maps, [6, 8], 0.3)
    np.testing.assert_array_equal(keep_classes(seed, seed, maps, [6, 8]), [[6, 6, 8, 8, 6, 0]])


def test_two_classes_with_the_same_map_share_it() -> None:
    maps = np.ones((2, 2, 4), np.float32)
    seed = hard_labels(maps, [6, 8], 0.3)  # 6 alone
    kept = keep_classes(seed, seed, maps, [6, 8])
    assert (pixels(kept, 6), pixels(kept, 8)) == (4, 4)


def test_a_class_whose_map_is_zero_stays_lost() -> None:
    labels = np.zeros((2, 3), np.uint8)
    assert not keep_classes(labels, labels, np.zeros((1, 2, 3), np.float32), [1]).any()


def test_shapes_that_do_not_fit_are_refused() -> None:
    labels = np.zeros((2, 3), np.uint8)
    for seed, maps in ((labels[:1], np.zeros((1, 2, 3))), (labels, np.zeros((2, 2, 3))), (labels, np.zeros((1, 3, 3)))):
        with pytest.raises(ValueError, match="labels"):
            keep_classes(labels, seed, maps, [1])
