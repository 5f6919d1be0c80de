"""Edges of labels and the balanced loss by their definition."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from ppl.data.masks import IGNORE
from ppl.refine.edges import balanced_loss, edges_of


@pytest.mark.parametrize("size", [(7, 9), (1, 8), (1, 1)], ids=str)
def test_an_edge_has_two_labels_in_its_neighbourhood_and_counts_if_none_is_ignored(size: tuple[int, int]) -> None:
    (h, w), generator = size, torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, IGNORE], dtype=torch.uint8)[torch.randint(3, (1, h, w), generator=generator)]
    labels[:, :, : w // 2] = 1
    edge, valid = edges_of(labels)
    for y, x in product(range(h), range(w)):
        near = labels[0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].unique().tolist()
        assert edge[0, y, x] == (len(near) > 1)
        assert valid[0, y, x] == (IGNORE not in near)


def test_edges_count_as_much_as_all_other_cells_and_ignored_cells_nothing() -> None:
    logits = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    edge, valid = torch.zeros(2, 5, 6, dtype=torch.bool), torch.ones(2, 5, 6, dtype=torch.bool)
    edge[:, 2], valid[1] = True, False
    loss = balanced_loss(logits, edge, valid)
    expected = (F.softplus(-logits[0][edge[0]]).mean() + F.softplus(logits[0][~edge[0]]).mean()) / 2
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert not logits.grad[1].any()
