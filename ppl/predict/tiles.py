"""Overlapping tiles of a large photo, and the blending of what a network predicts for them.

A tile counts only where it has context: `margin` pixels at its inner borders are discarded. Between two neighbours the
weight passes linearly from one to the other within `ramp` pixels in the middle of their overlap. The weights of all
tiles are 1 in sum at every pixel, so a network whose border effect is narrower than the margin predicts the same for
tiles as for the whole photo.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STEP = 32  # tiles start at multiples of it, so that the grid of a network's strides is the same in all of them
SIDE = 128  # sides are multiples of it, so that three quarters are multiples of STEP


class Span(NamedTuple):
    """A tile along one axis: the pixels `start` to `stop` are its input, `first` to `last` count in the result."""

    start: int
    stop: int
    first: int
    last: int
    before: int = 0
    """Pixels at `first` that are blended with the previous tile."""
    after: int = 0
    """Pixels at `last` that are blended with the next tile."""


def tile_side(max_side: int) -> int:
    """Return the side of tiles: `max_side`, rounded up to a multiple of SIDE."""
    return -(-max_side // SIDE) * SIDE


def spans(length: int, side: int) -> list[Span]:
    """Return the tiles of `side` along an axis of `length` pixels, which overlap by at least a quarter.

    A shorter axis has one tile. The last tile may be up to STEP - 1 pixels longer.
    """
    if length <= side:
        return [Span(0, length, 0, length)]
    end = (length - side) // STEP * STEP  # start of the last tile
    starts = [*range(0, end, side * 3 // 4), end] if end else [0]
    stops = [start + side for start in starts[:-1]] + [length]
    ramp = side // 8
    middles = [(start + stop) // 2 for start, stop in zip(starts[1:], stops[:-1], strict=True)]
    firsts = [0, *(middle - ramp // 2 for middle in middles)]
    lasts = [*(middle + ramp // 2 for middle in middles), length]
    inner = len(starts) - 1
    befores, afters = [0] + [ramp] * inner, [ramp] * inner + [0]
    return [Span(*values) for values in zip(starts, stops, firsts, lasts, befores, afters, strict=True)]


class Blend:
    """Blend the predictions of tiles that arrive row by row, each from left to right.

    Only what the next tile and the next row still add to is held: `ramp` pixels of each.
    """

    def __init__(self, rows: Sequence[Span], columns: Sequence[Span]) -> None:
        self._rows, self._columns = rows, columns
        self._right: np.ndarray | None = None  # (K, h, ramp) of the tile before
        self._below: np.ndarray | None = None  # (K, ramp, w) of the row above

    def add(self, row: int, column: int, values: np.ndarray) -> np.ndarray:
        """Return the final values (K, h', w') of the pixels that no later tile adds to, from values (K, h, w).

        They start at `rows[row].first` and `columns[column].first`.
        """
        y, x = self._rows[row], self._columns[column]
        kept = values[:, y.first - y.start : y.last - y.start, x.first - x.start : x.last - x.start]
        kept = np.array(kept, dtype=np.float32)  # a copy
        if x.before:
            kept[..., : x.before] *= _rising(x.before)
            kept[..., : x.before] += self._right
        if x.after:
            self._right = kept[..., -x.after :] * (1 - _rising(x.after))
            kept = kept[..., : -x.after]
        columns = slice(x.first, x.last - x.after)
        if y.before:
            kept[:, : y.before] *= _rising(y.before)[:, None]
            kept[:, : y.before] += self._below[..., columns]
        if y.after:
            if self._below is None:
                self._below = np.empty((len(values), y.after, self._columns[-1].last), np.float32)
            self._below[..., columns] = kept[:, -y.after :] * (1 - _rising(y.after))[:, None]
            kept = kept[:, : -y.after]
        return kept


def _rising(length: int) -> np.ndarray:
    """Return weights (length,) that rise linearly between 0 and 1."""
    return (np.arange(length, dtype=np.float32) + 0.5) / length
