"""Neighbours of a pixel within a radius and the pixels on the lines to them, for the walk and the pair losses."""

from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

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


def by_runs(radius: int) -> tuple[PixelLine, ...]:
    """Return the lines of `lines_within` in the order of `line_maxima`: those of many runs first."""
    return tuple(sorted(lines_within(radius), key=lambda line: -len(_runs(line))))


def sources(pixels: int, radius: int, width: int) -> range:
    """Return the flat pixels whose lines to all neighbours stay between the first and the last of `pixels`.

    Rows of `width` pixels follow each other without a gap: a line that leaves a row at one side continues at the other.
    """
    margin = radius - 1
    return range(margin, max(margin, pixels - margin * width - margin))


def run_maxima(values: Tensor, radius: int, width: int) -> Tensor:
    """Return the maxima over runs of 1 to `radius` pixels, to the right and downwards, that start at each pixel.

    values (B, N), rows of `width` pixels one after the other -> (B, 2 radius, N), of which the last pixels, whose runs
    end beyond N, are undefined.
    """
    runs = values[:, None].repeat(1, 2 * radius, 1)
    for first, step in ((0, 1), (radius, width)):
        for length in range(1, radius):
            end = max(0, values.shape[1] - length * step)
            shorter, longer = runs[:, first + length - 1, :end], runs[:, first + length, :end]
            torch.maximum(shorter, values[:, length * step :], out=longer)
    return runs


def line_maxima(runs: Tensor, radius: int, width: int, block: range) -> Tensor:
    """Return the maxima over the pixels of all lines (`by_runs`) from a block of consecutive `sources`.

    A line consists of at most 8 runs for a radius of 10, along rows or along columns, whichever are fewer. One gather
    per run therefore replaces one operation per pixel and line.

    runs (B, 2 radius, N) of `run_maxima` -> (B, lines, len(block)).
    """
    kinds, ys, xs, counts = _rounds(radius, runs.device)
    # A window is a view of the values at one offset from all sources of the block.
    windows = runs[:, :, block.start - (radius - 1) :].unfold(2, len(block), 1)  # (B, 2 radius, offsets, block)
    starts = (ys * width + xs).split(counts)
    highest: Tensor | None = None
    for kind, start in zip(kinds.split(counts), starts, strict=True):
        longest = windows[:, kind, start]  # (B, lines of so many runs, block)
        if highest is None:
            highest = longest
        else:
            torch.maximum(highest[:, : len(kind)], longest, out=highest[:, : len(kind)])
    return highest if highest is not None else runs.new_empty(len(runs), 0, len(block))


def values_at_ends(values: Tensor, radius: int, width: int, block: range) -> Tensor:
    """Return the values (B, N) at the ends of all lines (`by_runs`) from a block of `sources`: (B, lines, block)."""
    ys, xs = _ends(radius, values.device)
    return values[:, block.start - (radius - 1) :].unfold(1, len(block), 1)[:, ys * width + xs]


def neighbours(images: Tensor, radius: int, fill: int) -> Tensor:
    """Return the values of images (B, h, w) at the ends of all lines (`by_runs`) from each pixel: (B, lines, h, w).

    Beyond the image they are `fill`.
    """
    margin, (_, h, w) = radius - 1, images.shape
    padded = F.pad(images, (margin, margin, 0, margin), value=fill)
    ys, xs = _ends(radius, images.device)
    return padded.unfold(1, h, 1).unfold(2, w, 1)[:, ys, xs]


def _runs(line: PixelLine) -> list[tuple[int, int, Offset]]:
    """Return the runs of a line as (axis, length, first pixel): along rows (axis 0), or columns if these are fewer."""
    dy, dx = line.end
    axis = 0 if dy <= abs(dx) else 1
    runs = (list(pixels) for _, pixels in groupby(sorted(line.pixels, key=itemgetter(axis)), key=itemgetter(axis)))
    return [(axis, len(run), min(run)) for run in runs]


@lru_cache
def _rounds(radius: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Return, for the first runs of all lines, the second ones and so on, each run's place in `run_maxima`.

    Plane, row and column from the leftmost neighbour, (runs,) int64 each, and the number of runs of each round.
    """
    of_lines = [_runs(line) for line in by_runs(radius)]
    rounds = [[runs[i] for runs in of_lines if len(runs) > i] for i in range(max(map(len, of_lines), default=0))]
    places = [(axis * radius + n - 1, y, x + radius - 1) for runs in rounds for axis, n, (y, x) in runs]
    kinds, ys, xs = _columns(places, 3, device)
    return kinds, ys, xs, [len(runs) for runs in rounds]


@lru_cache
def _ends(radius: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return row and column, from the leftmost neighbour, of the ends of all lines (`by_runs`), (lines,) int64 each."""
    return _columns([(dy, dx + radius - 1) for (dy, dx), _ in by_runs(radius)], 2, device)


def _columns(rows: list[tuple[int, ...]], count: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return the columns of a table of integers on a device, which any later computation may use."""
    with torch.inference_mode(False):
        return torch.tensor(rows, dtype=torch.int64).view(-1, count).T.contiguous().to(device).unbind()


def _pixels(end: Offset) -> tuple[Offset, ...]:
    """Return the grid points less than one pixel from the segment from (0, 0) to `end`, in its bounding rectangle."""
    dy, dx = end
    rows, columns = range(dy + 1), range(min(dx, 0), max(dx, 0) + 1)
    return tuple((y, x) for y in rows for x in columns if (dy * x - dx * y) ** 2 < dy**2 + dx**2)
