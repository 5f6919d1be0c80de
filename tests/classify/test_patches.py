import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from ppl.classify.patches import merge, split, without_rim

sides, counts = st.integers(1, 40), st.integers(1, 17)


def _numbered(height: int, width: int) -> torch.Tensor:
    """Two images of three channels in which no two values are equal, and none 0."""
    return torch.arange(1.0, 6 * height * width + 1).reshape(2, 3, height, width)


@given(sides, sides, counts)
def test_merging_undoes_splitting(height: int, width: int, k: int) -> None:
    x = _numbered(height, width)
    assert torch.equal(merge(split(x, k), k, (height, width)), x)


@given(sides, sides, counts)
def test_a_patch_is_a_slice_with_zeros_beyond_the_border(height: int, width: int, k: int) -> None:
    x, patches = _numbered(height, width), split(_numbered(height, width), k)
    h, w = math.ceil(height / k), math.ceil(width / k)
    assert patches.shape == (2 * k * k, 3, h, w)
    for b in range(2):
        for row in range(k):
            for column in range(k):
                inside = x[b, :, row * h : (row + 1) * h, column * w : (column + 1) * w]
                patch = patches[(b * k + row) * k + column]
                assert torch.equal(patch[:, : inside.shape[1], : inside.shape[2]], inside)
                assert patch.count_nonzero() == inside.numel()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 31))
def test_a_changed_patch_changes_its_place_only(h: int, w: int, k: int, which: int) -> None:
    patches = split(torch.zeros(2, 3, k * h, k * w), k)
    which %= len(patches)
    patches[which] = 1
    merged = merge(patches, k, (k * h, k * w))
    b, row, column = which // k**2, which // k % k, which % k
    assert merged[b, :, row * h : (row + 1) * h, column * w : (column + 1) * w].all()
    assert merged.count_nonzero() == 3 * h * w


@given(sides, sides, st.integers(1, 6), st.integers(0, 20))
def test_a_rim_is_what_lies_around_a_patch(height: int, width: int, k: int, rim: int) -> None:
    x, patches = _numbered(height, width), split(_numbered(height, width), k, rim)
    assert torch.equal(without_rim(patches, rim), split(x, k))
    h, w = math.ceil(height / k), math.ceil(width / k)
    around = torch.nn.functional.pad(x, (rim, k * w - width + rim, rim, k * h - height + rim))
    for row in range(k):
        for column in range(k):
            rows, columns = slice(row * h, (row + 1) * h + 2 * rim), slice(column * w, (column + 1) * w + 2 * rim)
            assert torch.equal(patches[row * k + column], around[0, :, rows, columns])
