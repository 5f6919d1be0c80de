from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.predict.tiles import SIDE, STEP, Blend, Span, spans, tile_side

LENGTHS = st.integers(1, 2000)
SIDES = st.sampled_from([128, 256, 384])


@given(LENGTHS, SIDES)
def test_tiles_cover_an_axis_and_overlap_by_a_quarter(length: int, side: int) -> None:
    tiles = spans(length, side)
    assert (tiles[0].start, tiles[-1].stop) == (0, length)
    assert all(tile.start % STEP == 0 for tile in tiles)  # the network's grid of cells is the same in all of them
    for tile, following in pairwise(tiles):
        assert tile.stop - tile.start == side
        assert tile.stop - following.start >= side // 4
    assert tiles[-1].stop - tiles[-1].start < side + STEP
    assert len(tiles) <= max(1, -(-(length - side) * 4 // (side * 3)) + 1)  # no more than needed


@given(LENGTHS, SIDES)
def test_a_tile_counts_only_where_it_has_context(length: int, side: int) -> None:
    for tile in spans(length, side):
        assert tile.first == 0 or tile.first - tile.start >= side // 16
        assert tile.last == length or tile.stop - tile.last >= side // 16


@given(st.integers(1, 700), st.integers(1, 700), SIDES, st.data())
def test_equal_predictions_of_tiles_are_those_of_the_photo(height: int, width: int, side: int, data) -> None:
    """The weights of all tiles are 1 in sum, each pixel is final once, and its place is right."""
    whole = np.random.default_rng(0).random((2, height, width), np.float32)
    rows, columns = spans(height, side), spans(width, side)
    result, times = np.zeros_like(whole), np.zeros((height, width), int)
    blend = Blend(rows, columns)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            part = blend.add(y, x, whole[:, row.start : row.stop, column.start : column.stop])
            place = (slice(row.first, row.first + part.shape[1]), slice(column.first, column.first + part.shape[2]))
            result[:, *place] = part
            times[place] += 1
    assert (times == 1).all()
    assert np.allclose(result, whole, atol=1e-6)


def test_the_weight_passes_gradually_between_neighbours() -> None:
    columns = spans(400, 128)
    blend = Blend([Span(0, 5, 0, 5)], columns)
    parts = [blend.add(0, x, np.full((1, 5, c.stop - c.start), x, np.float32)) for x, c in enumerate(columns)]
    line = np.concatenate(parts, axis=2)[0, 0]
    assert line.shape == (400,)
    assert np.abs(np.diff(line)).max() <= 8 / 128  # from one tile to the next within an eighth of a side
    assert set(range(len(columns))) <= {*line.tolist()}


@pytest.mark.parametrize(("max_side", "side"), [(1, SIDE), (128, 128), (129, 256), (500, 512)])
def test_a_side_of_tiles_is_that_of_training_photos_rounded_up(max_side: int, side: int) -> None:
    assert tile_side(max_side) == side
