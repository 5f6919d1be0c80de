"""Random walk that propagates class scores over an image (Sec. III-F)."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.crf.sparse import csr
from ppl.refine.lines import Offset, PixelLine, by_runs, line_maxima, run_maxima, sources

TOLERANCE = 1e-7  # of the Chebyshev series: sum of the omitted coefficients; t^256 then needs degree 84

PIXELS_AT_ONCE = {"cpu": 1, "cuda": 2**17}
"""Pixels of a block-diagonal matrix, by device; a matrix has at least one image. At the default radius a pixel takes
1.4 KB. On a CPU one image at a time is faster, as its columns stay in the cache."""


@torch.no_grad()
def propagate(scores: Tensor, boundary: Tensor, radius: int = 5, beta: float = 10.0, steps: int = 256) -> Tensor:
    """Return scores after `steps` steps of a random walk that avoids crossing boundaries.

    With pixels i, j of the image nearer than `radius` to each other, b the boundary and P(i, j) the line between them:

        A_ij = (1 - max of b over P(i, j))^beta,  A_ii = 1,  A_ij = 0 for all other pairs
        T    = A D^-1,  D = diag(column sums of A)
        out  = (scores * (1 - b)) T^steps              one row per class, T^steps without a floor or a rescaling

    T has the eigenvalues of the symmetric D^-1/2 A D^-1/2, which lie in [-1, 1]. There t^s = sum_k c_k T_k(t)
    (Chebyshev polynomials), and the c_k vanish quickly beyond k ~ sqrt(s), so a few products of the sparse matrix
    with an (h w, C) matrix replace the power. Memory grows with h w radius^2.

    scores (C, h, w) floating point, boundary (h, w) in 0..1, on one device -> (C, h, w) like `scores`. The sums use
    float64, which is not slower here, as denormal numbers slow float32 down, and reduces the error 100 times.
    Raises ValueError for other shapes, devices or ranges.
    """
    return propagate_batch([scores], boundary[None], radius, beta, steps)[0]


@torch.no_grad()
def propagate_batch(
    scores: Sequence[Tensor],
    boundaries: Tensor,
    radius: int = 5,
    beta: float = 10.0,
    steps: int = 256,
    *,
    images_at_once: int | None = None,
) -> list[Tensor]:
    """Return the scores of images of one size after the walk of `propagate`, several with one block-diagonal matrix.

    Several images need as many operations as one, but as many times its memory; images of fewer classes walk with
    planes of zeros. scores: of each image (C, h, w), boundaries (B, h, w); `images_at_once` follows from
    PIXELS_AT_ONCE by default.
    """
    for of_image, boundary in zip(scores, boundaries, strict=True):
        _check_shapes(of_image, boundary)
    if not len(scores):
        return []
    if not ((boundaries >= 0) & (boundaries <= 1)).all():
        raise ValueError("boundary values must lie in 0..1")
    grid, walked = _Grid(*boundaries.shape[1:], radius), []
    for some in _groups(scores, images_at_once):
        images = boundaries[some]
        start = _stacked(scores[some]) * (1 - images[:, None].double())
        _check(start, beta, steps)
        walked += _walk(start, _between_boundaries(images, grid, beta), grid, steps)
    return _alike(walked, scores)


@torch.no_grad()
def walk_batch(
    scores: Sequence[Tensor],
    affinities: Callable[[slice], Tensor],
    *,
    radius: int,
    beta: float,
    steps: int,
    images_at_once: int | None = None,
) -> list[Tensor]:
    """Return the scores of images of one size after the walk of `random_walk`, several with one matrix.

    scores: of each image (C, h, w); affinities(some): of some of the images (b, lines, h, w), one plane for each line
    `ppl.refine.lines.by_runs` to a neighbour, 0 where it lies outside of the image.
    """
    walked: list[Tensor] = []
    for some in _groups(scores, images_at_once):
        start = _stacked(scores[some])
        _check(start, beta, steps)
        grid = _Grid(*start.shape[2:], radius)
        table = grid.table(len(start), start.device)
        table[:, :-1] = 0
        grid.of_image(table)[:, :-1].copy_(affinities(some).double().pow_(beta))
        walked += _walk(start, table, grid, steps)
    return _alike(walked, scores)


@torch.no_grad()
def random_walk(
    scores: Tensor, affinity: Callable[[PixelLine], Tensor], *, radius: int, beta: float, steps: int
) -> Tensor:
    """Return scores (C, h, w) float64 after `steps` steps with the transition matrix T of the affinities.

    `affinity(line)` returns the A_ij of all pairs (i, i + line.end) inside the image, (h - dy, w - |dx|) float in 0..1,
    which are raised to `beta` here; A_ii = 1, all other pairs are 0. T and the method are those of `propagate`.
    Raises ValueError for other shapes or ranges.
    """
    if scores.ndim != 3:
        raise ValueError(f"shape mismatch: expected scores (C, h, w), got {tuple(scores.shape)}")
    lines, (_, h, w) = by_runs(radius), scores.shape
    affinities = scores.new_zeros(1, len(lines), h, w, dtype=torch.float64)
    for line, values in zip(lines, affinities[0], strict=True):
        if line.end[0] < h and abs(line.end[1]) < w:
            _at(values, line.end, (0, 0)).copy_(affinity(line))
    return walk_batch([scores.double()], lambda _: affinities, radius=radius, beta=beta, steps=steps)[0]


def _groups(scores: Sequence[Tensor], images_at_once: int | None) -> Iterator[slice]:
    """Yield the images of each matrix, as many as PIXELS_AT_ONCE allows by default."""
    if scores:
        pixels = PIXELS_AT_ONCE.get(scores[0].device.type, PIXELS_AT_ONCE["cuda"])
        count = images_at_once or max(1, pixels // max(1, scores[0].shape[1:].numel()))
        yield from (slice(first, first + count) for first in range(0, len(scores), count))


def _stacked(scores: Sequence[Tensor]) -> Tensor:
    """Return scores (B, C, h, w) float64, with planes of zeros for images of fewer classes."""
    most = max(map(len, scores))
    return torch.stack([F.pad(x, (0, 0, 0, 0, 0, most - len(x))) for x in scores]).double()


def _alike(walked: Sequence[Tensor], scores: Sequence[Tensor]) -> list[Tensor]:
    """Return the planes of each image in the type of its scores."""
    return [out[: len(x)].to(x.dtype) for x, out in zip(scores, walked, strict=True)]


def _at(rows: Tensor, end: Offset, offset: Offset) -> Tensor:
    """Return values (h, w) at an offset from every pixel whose line to `end` lies inside: (h - dy, w - |dx|)."""
    (dy, dx), (y, x), (h, w) = end, offset, rows.shape
    return rows[y : y + h - dy, max(0, -dx) + x : w - max(0, dx) + x]


@lru_cache
def power_coefficients(steps: int, tolerance: float) -> tuple[float, ...]:
    """Return the Chebyshev coefficients c_0, c_1, ... of t^steps on [-1, 1], the rest summing to below `tolerance`.

    c_k = 2^(1 - s) binom(s, (s - k) / 2) for k = s mod 2, s mod 2 + 2, ..., s, half of that for k = 0, otherwise zero.
    All are positive with sum 1, so the part cut off bounds the error on all of [-1, 1].
    """
    order = torch.arange(steps % 2, steps + 1, 2, dtype=torch.float64)
    log_binomial = (
        math.lgamma(steps + 1) - torch.lgamma((steps - order) / 2 + 1) - torch.lgamma((steps + order) / 2 + 1)
    )
    values = torch.exp(log_binomial + (1 - steps) * math.log(2))
    if steps % 2 == 0:
        values[0] /= 2
    rest = values.flip(0).cumsum(0).flip(0)  # of a coefficient and all that follow
    significant = values[rest >= tolerance]
    coefficients = torch.zeros(2 * len(significant) - 1 + steps % 2, dtype=torch.float64)
    coefficients[steps % 2 :: 2] = significant
    return tuple(coefficients.tolist())


def _check_shapes(scores: Tensor, boundary: Tensor) -> None:
    if scores.ndim != 3 or boundary.shape != scores.shape[1:] or not boundary.numel():
        shapes = f"{tuple(scores.shape)} and {tuple(boundary.shape)}"
        raise ValueError(f"shape mismatch: expected scores (C, h, w) and boundary (h, w), got {shapes}")
    if not (scores.is_floating_point() and boundary.is_floating_point()):
        raise ValueError(f"scores and boundary must be floating point, got {scores.dtype} and {boundary.dtype}")
    if scores.device != boundary.device:
        raise ValueError(f"device mismatch: scores on {scores.device}, boundary on {boundary.device}")


def _check(scores: Tensor, beta: float, steps: int) -> None:
    if not scores.shape[-2] * scores.shape[-1]:
        raise ValueError(f"shape mismatch: expected scores of some pixels, got {tuple(scores.shape)}")
    if not scores.isfinite().all():
        raise ValueError("scores must be finite")
    if steps < 0:
        raise ValueError(f"the number of steps must not be negative, got {steps}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")


class _Grid:
    """Places of the affinities of pairs in a table (B, lines + 1, sources): lines `by_runs`, then the pixel itself.

    The image lies in a larger one, whose rows follow each other without a gap, so that a pixel beyond a border exists
    at any offset from any pixel. No pair with such a pixel has an affinity, and every pixel of every image of a size
    has the same number of neighbours: shapes do not depend on values.
    """

    def __init__(self, h: int, w: int, radius: int) -> None:
        self.size, self.radius, self.margin = (h, w), radius, radius - 1
        self.width = w + self.margin  # of a row, which ends before the first pixel of the next one
        self.pixels = 3 * self.margin + (h + 2 * self.margin) * self.width
        self.sources = sources(self.pixels, radius, self.width)
        self.first = self.margin * (self.width + 1)  # place of the first pixel of the image among the sources

    def pad(self, images: Tensor, value: float) -> Tensor:
        """Return images (B, h, w) in the larger one, (B, pixels)."""
        rows = F.pad(images, (0, self.margin, self.margin, self.margin), value=value)
        return F.pad(rows.flatten(1), (2 * self.margin, self.margin), value=value)

    def table(self, batch: int, device: torch.device) -> Tensor:
        """Return a table of ones, (B, lines + 1, sources) float64."""
        lines = len(by_runs(self.radius))
        return torch.ones(batch, lines + 1, len(self.sources), dtype=torch.float64, device=device)

    def of_image(self, table: Tensor) -> Tensor:
        """Return the part of a table whose sources are pixels of the image, (B, lines + 1, h, w)."""
        h, w = self.size
        rows = table[..., self.first : self.first + h * self.width]
        return rows.unflatten(-1, (h, self.width))[..., :w]


@lru_cache
def _neighbours(h: int, w: int, radius: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return, of a pixel and all its neighbours, the step to each in the image and in a flattened table of its `_Grid`.

    (neighbours,) int32 each, in reading order. The affinity to an earlier pixel lies at that pixel.
    """
    lines, grid = by_runs(radius), _Grid(h, w, radius)
    places = [((0, 0), len(lines) * len(grid.sources))]
    for i, ((dy, dx), _) in enumerate(lines):
        place = i * len(grid.sources)
        places += [((dy, dx), place), ((-dy, -dx), place - dy * grid.width - dx)]
    steps = [(dy * w + dx, place) for (dy, dx), place in sorted(places)]
    with torch.inference_mode(False):  # any later computation may use them
        return torch.tensor(steps, dtype=torch.int32).T.contiguous().to(device).unbind()


def _between_boundaries(boundaries: Tensor, grid: _Grid, beta: float) -> Tensor:
    """Return the table of affinities between boundaries (B, h, w)."""
    padded = grid.pad(boundaries, 1)  # a line that leaves the image ends at a boundary
    runs = run_maxima(padded, grid.radius, grid.width)
    table = grid.table(len(boundaries), boundaries.device)
    table[:, :-1].copy_(line_maxima(runs, grid.radius, grid.width, grid.sources)).neg_().add_(1).pow_(beta)
    return table


def _walk(scores: Tensor, table: Tensor, grid: _Grid, steps: int) -> Tensor:
    """Return scores (B, C, h, w) float64 after the walk by a table of affinities."""
    columns = scores.movedim(1, -1)  # (B, h, w, C), by rows: a sparse product takes half the time
    matrix = _transition(table, grid)
    walked = _chebyshev_sum(matrix, columns.flatten(0, 2).contiguous(), power_coefficients(steps, TOLERANCE))
    return walked.view(columns.shape).movedim(-1, 1)


def _transition(table: Tensor, grid: _Grid) -> Tensor:
    """Return D^-1 A, the transposed T of each image, as a sparse CSR matrix (N, N + 2 reach), N = B h w, float64.

    Every row has all neighbours, those outside of the image with zeros: a part of `reach` columns at both ends stands
    for pixels before the first image and after the last one.
    """
    (h, w), device = grid.size, table.device
    steps, places = _neighbours(h, w, grid.radius, device)  # (neighbours,) each
    reach = grid.margin * (w + 1)
    of_batch, of_row = (torch.arange(n, dtype=torch.int32, device=device) for n in (len(table), h))
    source = (of_batch[:, None] * table[0].numel() + of_row * grid.width + grid.first).flatten()[:, None]  # (B h, 1)
    source = (source + torch.arange(w, dtype=torch.int32, device=device)).flatten()  # (N,)
    values = table.flatten().index_select(0, (source[:, None] + places).flatten()).view(-1, len(places))
    values /= values.sum(1, keepdim=True)
    pixel = torch.arange(reach, reach + len(values), dtype=torch.int32, device=device)
    columns = (pixel[:, None] + steps).flatten()  # int32: the index type of MKL and cuSPARSE
    row_ends = torch.arange(0, values.numel() + 1, len(places), dtype=torch.int32, device=device)
    # No check: it would wait for the device, and in images narrower than a line several zeros share a column.
    return csr(row_ends, columns, values.flatten(), (len(values), len(values) + 2 * reach), check=False)


def _chebyshev_sum(matrix: Tensor, columns: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Return sum_k c_k T_k(matrix) columns, by T_(k+1) = 2 matrix T_k - T_(k-1). columns (N, C) -> (N, C).

    The matrix (N, N + 2 reach) is applied to columns with `reach` zeros at both ends. Shapes are fixed and no value is
    read back, as a CUDA graph requires; torch.compile refuses sparse tensors.
    """
    total = coefficients[0] * columns
    if len(coefficients) == 1 or not columns.numel():
        return total
    inside = slice(reach := (matrix.shape[1] - len(columns)) // 2, reach + len(columns))
    previous = F.pad(columns, (0, 0, reach, reach))
    current = torch.zeros_like(previous)
    current[inside].addmm_(matrix, previous, beta=0)
    for coefficient, following in pairwise([*coefficients[1:], None]):
        if coefficient:
            total.add_(current[inside], alpha=coefficient)
        if following is not None:
            previous[inside].addmm_(matrix, current, beta=-1, alpha=2)
            previous, current = current, previous
    return total
