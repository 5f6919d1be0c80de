"""Neighbours of a pixel within a radius and the pixels on the lines to them, for the walk and the pair losses."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor

Offset = tuple[int, int]  # (dy, dx) in pixels


class Path(NamedTuple):
    """The straight line from a pixel to one of its neighbours, as offsets from that pixel."""

    end: Offset
    line: tuple[Offset, ...]


@lru_cache
def search_paths(radius: int) -> tuple[Path, ...]:
    """Paths from a pixel to every neighbour nearer than `radius` pixels, one of each opposite pair.

    The ends are the offsets (dy, dx) with 0 < dy^2 + dx^2 < radius^2 and dy > 0 or dy = 0 < dx, in lexicographic order.
    A line consists of the grid points of the rectangle spanned by its two ends that lie less than one pixel from it:
    (dy x - dx y)^2 < dy^2 + dx^2. Both ends belong to it, and reversing a path gives the same pixels.

    Radius 1 has no paths. Raises ValueError for a radius below 1.
    """
    if radius < 1:
        raise ValueError(f"the radius must be at least 1 pixel, not {radius}")
    reach = range(1 - radius, radius)
    ends = [(dy, dx) for dy in range(radius) for dx in reach if (dy, dx) > (0, 0) and dy**2 + dx**2 < radius**2]
    return tuple(Path(end, _line(end)) for end in ends)


def maxima_along(radius: int, at: Callable[[Offset], Tensor]) -> Iterator[tuple[Path, Tensor]]:
    """Yields each path with the maximum of `at(offset)` over its line, which is not to be written to.

    Paths come in the order of their lines, so that the maxima of a common beginning are taken once: fewer than half of
    the maxima for a radius of 10.
    """
    begun: list[Tensor] = []  # maxima over the first one, two, ... points of the line
    before: tuple[Offset, ...] = ()
    for path in sorted(search_paths(radius), key=lambda path: path.line):
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(path.line, before, strict=False)))
        del begun[common:]
        for offset in path.line[common:]:
            begun.append(torch.maximum(begun[-1], at(offset)) if begun else at(offset))
        before = path.line
        yield path, begun[-1]


def _line(end: Offset) -> tuple[Offset, ...]:
    """Grid points less than one pixel from the segment between (0, 0) and `end`, inside their bounding rectangle."""
    dy, dx = end
    rows, columns = range(dy + 1), range(min(dx, 0), max(dx, 0) + 1)
    return tuple((y, x) for y in rows for x in columns if (dy * x - dx * y) ** 2 < dy**2 + dx**2)
