"""Label maps from one pass, or from a strict and a lenient one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.cam.seeds import hard_labels
from ppl.crf.dense import from_labels
from ppl.crf.settings import IRNET
from ppl.data.masks import IGNORE
from ppl.refine.passes import LEAST_OF_BACKGROUND, LEAST_OF_CLASSES, Crf, Passes, band, combine, label_maps
from ppl.refine.settings import LabelMargins, Margins

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
MAPS = np.random.default_rng(1).random((2, 12, 16)).astype(np.float32)
CLASSES = [3, 7]


def label_map(*image, crf: Crf | None = None, keep: bool = False) -> np.ndarray:
    return label_maps([Passes(*image)], crf=crf, keep=keep)[0]


def around(margin: float) -> Margins:
    return Margins(foreground=margin, background=margin)


def passes(threshold: float, margin: float) -> list[np.ndarray]:
    return [hard_labels(MAPS, CLASSES, limit) for limit in band(threshold, around(margin))]


def test_without_a_margin_the_one_pass_is_the_label_map_after_its_crf() -> None:
    (seed,) = passes(0.4, 0)
    np.testing.assert_array_equal(label_map(PHOTO, [seed], MAPS, CLASSES), seed)
    (expected,) = from_labels(PHOTO, [seed], CLASSES, confidence=0.8, iterations=3, pairwise=IRNET)
    np.testing.assert_array_equal(label_map(PHOTO, [seed], MAPS, CLASSES, crf=Crf(0.8, 3)), expected)


@pytest.mark.parametrize("crf", [None, Crf(0.8, 3)], ids=["without CRF", "with CRF"])
def test_classes_are_those_of_the_strict_pass_and_background_that_of_the_lenient(crf: Crf | None) -> None:
    both = passes(0.5, 0.3)
    strict, lenient = (label_map(PHOTO, [one], MAPS, CLASSES, crf=crf) for one in both)
    labels = label_map(PHOTO, both, MAPS, CLASSES, crf=crf)
    np.testing.assert_array_equal(labels[strict > 0], strict[strict > 0])
    np.testing.assert_array_equal(labels == 0, (strict == 0) & (lenient == 0))
    assert (labels[(strict == 0) & (lenient > 0)] == IGNORE).all()


@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_larger_margin_labels_fewer_pixels_each_as_before(threshold: float, margin: float, more: float) -> None:
    narrow, wide = (label_map(PHOTO, passes(threshold, m), MAPS, CLASSES) for m in (margin, margin + more))
    labelled = wide != IGNORE
    np.testing.assert_array_equal(wide[labelled], narrow[labelled])


def test_the_background_of_a_strict_pass_alone_stays_unlabelled() -> None:
    foreground, background = np.array([[0, 0, 3, 3]], np.uint8), np.array([[0, 3, 3, 0]], np.uint8)
    combined = combine(foreground, background)
    assert combined.dtype == np.uint8
    np.testing.assert_array_equal(combined, [[0, IGNORE, 3, 3]])


def test_a_class_that_the_strict_pass_loses_returns_only_if_kept() -> None:
    """A single pixel on a photo of one colour: the CRF removes it."""
    maps = np.zeros((2, 12, 16), np.float32)
    maps[0, :, 8:], maps[1, 3, 3] = 0.9, 0.9
    photo = np.zeros((12, 16, 3), np.uint8)
    photo[:, 8:] = 200
    for margin in (0, 0.2):
        both = [hard_labels(maps, CLASSES, limit) for limit in band(0.5, around(margin))]
        lost = label_map(photo, both, maps, CLASSES, crf=Crf())
        kept = label_map(photo, both, maps, CLASSES, crf=Crf(), keep=True)
        assert not (lost == 7).any()
        assert kept[3, 3] == 7
        np.testing.assert_array_equal(kept[:, 8:], lost[:, 8:])


def test_margins_may_differ_and_one_alone_makes_two_passes() -> None:
    assert band(0.5, Margins(foreground=0, background=0.25)) == (0.5, 0.25)
    assert band(0.5, Margins(foreground=0.25, background=0)) == (0.75, 0.5)
    assert band(0.5, around(0)) == (0.5,)


def test_classes_may_begin_below_the_threshold_but_not_near_zero() -> None:
    below = LabelMargins(foreground=-0.05, background=0.15)
    assert band(0.5, below) == (pytest.approx(0.45), pytest.approx(0.35))
    for threshold in (0.01, 0.05, 0.1, 0.2, 0.5):
        strict, lenient = band(threshold, below)
        assert LEAST_OF_CLASSES * threshold <= strict < threshold
        assert LEAST_OF_BACKGROUND * strict <= lenient < strict


def test_a_margin_wider_than_the_threshold_keeps_background_of_low_scores() -> None:
    strict, lenient = band(0.3, Margins(foreground=0, background=0.4))
    assert (strict, lenient) == (0.3, pytest.approx(0.3 * LEAST_OF_BACKGROUND))
    both = [hard_labels(MAPS, CLASSES, limit) for limit in (strict, lenient)]
    np.testing.assert_array_equal(label_map(PHOTO, both, MAPS, CLASSES) == 0, MAPS.max(0) <= np.float32(lenient))
