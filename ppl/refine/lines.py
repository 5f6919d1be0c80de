"""Neighbours of a pixel within a radius and the pixels on the lines to them, for the walk and the pair losses."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor

Offset = tuple[int, int]  # (dy, dx) in pixels


class PixelLine(NamedTuple):
    """The straight line from a pixel to one of its neighbours: the offset of its end, and those of its pixels."""

    end: Offset
    pixels: tuple[Offset, ...]


@lru_cache
def lines_within(radius: int) -> tuple[PixelLine, ...]:
    """Return the lines from a pixel to every neighbour nearer than `radius` pixels, one of each opposite pair.

    The ends are the offsets (dy, dx) with 0 < dy^2 + dx^2 < radius^2 and dy > 0 or dy = 0 < dx, in lexicographic order.
    A line consists of the grid points of the rectangle spanned by its two ends that lie less than one pixel from it:
    (dy x - dx y)^2 < dy^2 + dx^2. Both ends belong to it, and the reversed line has the same pixels.

    Radius 1 has no lines. Raises ValueError for a radius below 1.
    """
    if radius < 1:
        raise ValueError(f"the radius must be at least 1 pixel, got {radius}")
    reach = range(1 - radius, radius)
    ends = [(dy, dx) for dy in range(radius) for dx in reach if (dy, dx) > (0, 0) and dy**2 + dx**2 < radius**2]
    return tuple(PixelLine(end, _pixels(end)) for end in ends)


def maxima_along(radius: int, at: Callable[[Offset], Tensor]) -> Iterator[tuple[PixelLine, Tensor]]:
    """Yield each line with the maximum of `at(offset)` over its pixels; the caller must not modify that tensor.

    Lines come in the order of their pixels, so that the maxima of a common beginning are computed once: fewer than
    half of the maxima for a radius of 10.
    """
    running: list[Tensor] = []  # maxima over the first one, two, ... pixels of the line
    previous: tuple[Offset, ...] = ()
    for line in sorted(lines_within(radius), key=lambda line: line.pixels):
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(line.pixels, previous, strict=False)))
        del running[common:]
        for offset in line.pixels[common:]:
            running.append(torch.maximum(running[-1], at(offset)) if running else at(offset))
        previous = line.pixels
        yield line, running[-1]


def _pixels(end: Offset) -> tuple[Offset, ...]:
    """Return the grid points less than one pixel from the segment from (0, 0) to `end`, in its bounding rectangle."""
    dy, dx = end
    rows, columns = range(dy + 1), range(min(dx, 0), max(dx, 0) + 1)
    return tuple((y, x) for y in rows for x in columns if (dy * x - dx * y) ** 2 < dy**2 + dx**2)
