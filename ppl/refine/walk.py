"""Random walk that propagates class scores over an image (Sec. III-F)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ppl.crf.sparse import csr
from ppl.refine.lines import Offset, PixelLine, lines_within

TOLERANCE = 1e-7  # of the Chebyshev series: sum of the omitted coefficients; t^256 then needs degree 84


@torch.no_grad()
def propagate(scores: Tensor, boundary: Tensor, radius: int = 5, beta: float = 10.0, steps: int = 256) -> Tensor:
    """Return scores after `steps` steps of a random walk that avoids crossing boundaries.

    With pixels i, j of the image nearer than `radius` to each other, b the boundary and P(i, j) the line between them:

        A_ij = (1 - max of b over P(i, j))^beta,  A_ii = 1,  A_ij = 0 for all other pairs
        T    = A D^-1,  D = diag(column sums of A)
        out  = (scores * (1 - b)) T^steps              one row per class, T^steps without a floor or a rescaling

    A is symmetric, hence T^s = D^1/2 S^s D^-1/2 with S = D^-1/2 A D^-1/2, whose eigenvalues lie in [-1, 1]. There
    t^s = sum_k c_k T_k(t) (Chebyshev polynomials), and the c_k vanish quickly beyond k ~ sqrt(s), so a few products
    of the sparse S with an (h w, C) matrix replace the power. Memory grows with h w radius^2.

    scores (C, h, w) floating point, boundary (h, w) in 0..1, on one device -> (C, h, w) like `scores`. The sums use
    float64, which is not slower here, as denormal numbers slow float32 down, and reduces the error 100 times.
    Raises ValueError for other shapes, devices or ranges.
    """
    _check_boundary(boundary, scores)

    def affinity(line: PixelLine) -> Tensor:
        highest = _at(boundary, line.end, (0, 0)).clone()
        for offset in line.pixels:
            torch.maximum(highest, _at(boundary, line.end, offset), out=highest)
        return highest.double().neg_().add_(1)

    start = scores.double() * (1 - boundary.double())
    return random_walk(start, affinity, radius=radius, beta=beta, steps=steps).to(scores.dtype)


@torch.no_grad()
def random_walk(
    scores: Tensor, affinity: Callable[[PixelLine], Tensor], *, radius: int, beta: float, steps: int
) -> Tensor:
    """Return scores (C, h, w) float64 after `steps` steps with the transition matrix T of the affinities.

    `affinity(line)` returns the A_ij of all pairs (i, i + line.end) inside the image, (h - dy, w - |dx|) float in 0..1,
    which are raised to `beta` here; A_ii = 1, all other pairs are 0. T and the method are those of `propagate`.
    Raises ValueError for other shapes or ranges.
    """
    _check(scores, beta, steps)
    matrix, degree = _normalised_affinity(scores.shape[1:], scores.device, lines_within(radius), affinity, beta)
    root = degree.sqrt()[:, None]  # (h w, 1)
    weighted = (scores.flatten(1).T * root).contiguous()  # (h w, C), by rows: a sparse product takes half the time
    walked = _chebyshev_sum(matrix, weighted, power_coefficients(steps, TOLERANCE)) / root
    return walked.T.reshape(scores.shape)


def _at(rows: Tensor, end: Offset, offset: Offset) -> Tensor:
    """Return values (h, w) at an offset from every pixel whose line to `end` lies inside: (h - dy, w - |dx|)."""
    (dy, dx), (y, x), (h, w) = end, offset, rows.shape
    return rows[y : y + h - dy, max(0, -dx) + x : w - max(0, dx) + x]


def power_coefficients(steps: int, tolerance: float) -> list[float]:
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
    return coefficients.tolist()


def _check_boundary(boundary: Tensor, scores: Tensor) -> None:
    if scores.ndim != 3 or boundary.shape != scores.shape[1:] or not boundary.numel():
        shapes = f"{tuple(scores.shape)} and {tuple(boundary.shape)}"
        raise ValueError(f"shape mismatch: expected scores (C, h, w) and boundary (h, w), got {shapes}")
    if not (scores.is_floating_point() and boundary.is_floating_point()):
        raise ValueError(f"scores and boundary must be floating point, got {scores.dtype} and {boundary.dtype}")
    if scores.device != boundary.device:
        raise ValueError(f"device mismatch: scores on {scores.device}, boundary on {boundary.device}")
    if not ((boundary >= 0) & (boundary <= 1)).all():
        raise ValueError("boundary values must lie in 0..1")


def _check(scores: Tensor, beta: float, steps: int) -> None:
    if scores.ndim != 3 or not scores.shape[1] * scores.shape[2]:
        raise ValueError(f"shape mismatch: expected scores (C, h, w), got {tuple(scores.shape)}")
    if not scores.isfinite().all():
        raise ValueError("scores must be finite")
    if steps < 0:
        raise ValueError(f"the number of steps must not be negative, got {steps}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")


def _normalised_affinity(
    size: tuple[int, int],
    device: torch.device,
    lines: Sequence[PixelLine],
    affinity_of: Callable[[PixelLine], Tensor],
    beta: float,
) -> tuple[Tensor, Tensor]:
    """Return S = D^-1/2 A D^-1/2 as an (h w, h w) sparse CSR matrix, and the diagonal of D as (h w,), both float64.

    A table holds a row per offset, in the order of the offsets (opposite offsets mirror each other around the middle
    row, the pixel itself), so that the columns of each matrix row come out sorted.
    """
    h, w = size
    pixels, middle = h * w, len(lines)
    affinity = torch.zeros(2 * middle + 1, h, w, dtype=torch.float64, device=device)
    inside = torch.zeros_like(affinity, dtype=torch.bool)
    affinity[middle], inside[middle] = 1, True
    shifts = [0] * len(affinity)  # of the flat pixel index
    for i, line in enumerate(lines, start=1):
        dy, dx = line.end
        shifts[middle - i], shifts[middle + i] = -dy * w - dx, dy * w + dx
        if dy >= h or abs(dx) >= w:
            continue
        values = affinity_of(line).double().pow_(beta)
        _at(affinity[middle + i], line.end, (0, 0)).copy_(values)
        _at(affinity[middle - i], line.end, line.end).copy_(values)
        _at(inside[middle + i], line.end, (0, 0)).fill_(True)
        _at(inside[middle - i], line.end, line.end).fill_(True)

    degree = affinity.sum(0).flatten()  # (h w,), at least 1
    scale = degree.rsqrt()
    affinity *= scale.view(h, w)
    neighbours = inside.flatten(1).T.contiguous()  # (h w, offsets)
    values = affinity.flatten(1).T.contiguous().masked_select(neighbours)  # (pairs,), contiguous: a quarter of the time
    del affinity
    pixel = torch.arange(pixels, dtype=torch.int32, device=device)  # int32: the index type of MKL and cuSPARSE
    offset = torch.tensor(shifts, dtype=torch.int32, device=device)
    columns = (pixel[:, None] + offset).masked_select(neighbours)  # (pairs,)
    values *= scale.index_select(0, columns)
    row_ends = torch.zeros(pixels + 1, dtype=torch.int32, device=device)
    row_ends[1:] = neighbours.sum(1).cumsum(0)
    return csr(row_ends, columns, values, (pixels, pixels), check=True), degree


def _chebyshev_sum(matrix: Tensor, columns: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Return sum_k c_k T_k(matrix) columns, by T_(k+1) = 2 matrix T_k - T_(k-1). columns (N, C) -> (N, C)."""
    total = coefficients[0] * columns
    if len(coefficients) == 1:
        return total
    previous, current = columns.clone(), matrix @ columns
    total.add_(current, alpha=coefficients[1])
    for coefficient in coefficients[2:]:
        previous.addmm_(matrix, current, beta=-1, alpha=2)
        previous, current = current, previous
        total.add_(current, alpha=coefficient)
    return total
