"""Average precision against its definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ppl.classify.average_precision import average_precision, mean_average_precision

scored = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=12)


@given(scored)
def test_it_is_the_sum_of_precision_over_the_steps_of_recall(pairs: list[tuple[float, bool]]) -> None:
    positives = sum(target for _, target in pairs)
    expected, recall = 0.0, 0.0
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        above = [target for score, target in pairs if score >= threshold]
        if positives:
            expected += (sum(above) / positives - recall) * sum(above) / len(above)
            recall = sum(above) / positives
    scores, targets = (torch.tensor(values, dtype=torch.float32) for values in zip(*pairs, strict=True))
    if positives:
        assert average_precision(scores, targets) == pytest.approx(expected, rel=1e-5)
    mean = mean_average_precision(scores[:, None].repeat(1, 2), torch.stack([targets, 0 * targets], dim=1))
    assert mean == pytest.approx(expected, rel=1e-5) if positives else math.isnan(mean)


def test_known_figures() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, torch.tensor([1, 1, 0, 0])) == 1
    assert average_precision(scores, torch.tensor([0, 0, 1, 1])) == pytest.approx((1 / 3 + 1 / 2) / 2)
