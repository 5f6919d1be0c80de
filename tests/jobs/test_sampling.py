"""Samples of a list."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ppl.jobs.sampling import evenly


@given(st.integers(1, 300), st.integers(2, 20))
def test_a_sample_is_spread_evenly(length, count):
    items = list(range(length))
    sample = evenly(items, count)
    assert len(sample) == min(length, count)
    assert (sample[0], sample[-1]) == (0, length - 1)
    gaps = np.diff(sample)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
