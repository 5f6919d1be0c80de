"""Figures of the report page."""

import numpy as np
import pytest

from ppl.cam.separation import THRESHOLDS
from ppl.cam.threshold import Threshold
from ppl.report.figures import bars, draw_thresholds_of_photos, svg


def test_every_threshold_of_a_photo_is_in_one_bar() -> None:
    heights, edges = bars(THRESHOLDS, len(THRESHOLDS))
    assert len(edges) == len(heights) + 1
    assert heights.sum() == pytest.approx(100)
    for threshold in THRESHOLDS:
        assert bars([threshold], 1)[0].sum() == 100
    assert np.ptp(np.diff(edges)) == pytest.approx(0)


def test_a_variant_is_drawn_with_a_stage_in_which_no_photo_has_a_threshold() -> None:
    threshold = Threshold(threshold=0.3, rule="auto", photos=4, shallow=(), deep=(0.2, 0.3, 0.4))
    element = svg(lambda: draw_thresholds_of_photos({"baseline/plain": threshold}), "of-photos", "thresholds")
    assert "baseline/plain: 0.30" in element
