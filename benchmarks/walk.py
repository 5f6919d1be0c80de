"""Compare the sparse random walk with the dense matrix power and with plain sparse steps.

Every pair of method and size runs in its own process, because the peak memory of a process never decreases. Errors are
relative to the maximum of plain steps in float64. If the dense matrix would take too long, its time is extrapolated
from the largest measured size by the number of operations, and its memory by the size of its matrices.
"""

import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import tyro
from measuring import reset_peak, resident
from torch import Tensor
from torch.nn import functional

from ppl.refine.lines import lines_within
from ppl.refine.walk import propagate

RADIUS, BETA, STEPS = 5, 10.0, 256


@dataclass(frozen=True)
class Settings:
    sizes: tuple[tuple[int, int], ...] = ((32, 32), (63, 63), (94, 125))
    classes: int = 3
    threads: int = 1
    repeats: int = 5
    """Runs of the fast methods; the dense power runs once."""
    largest_dense: int = 4000
    """Maximum number of pixels for the dense matrix power."""


class Measurement(NamedTuple):
    seconds: float
    memory: float
    """Peak above the level before, in MB."""
    error: float | None


def main(settings: Settings) -> None:
    print(f"{settings.classes} classes, {settings.threads} threads, radius {RADIUS}, {STEPS} steps; ~ estimated")
    print(f"{'size':>8}  {'method':<28}  {'seconds':>8}  {'ratio':>7}  {'peak MB':>8}  {'max error':>9}")
    dense: tuple[int, Measurement] | None = None
    for h, w in settings.sizes:
        pixels = h * w
        run = partial(_in_new_process, (settings.classes, h, w), settings.threads)
        ours = run(propagate, settings.repeats)
        _row(h, w, "ours: Chebyshev series", ours, ours)
        _row(h, w, f"plain sparse steps ({STEPS})", run(plain_steps, settings.repeats), ours)
        if pixels <= settings.largest_dense:
            dense = pixels, run(dense_power, 1)
            _row(h, w, "dense power (8 squarings)", dense[1], ours)
        elif dense:
            growth = pixels / dense[0]
            estimate = Measurement(dense[1].seconds * growth**3, dense[1].memory * growth**2, None)
            _row(h, w, "dense power (8 squarings)", estimate, ours, mark="~")


def plain_steps(scores: Tensor, boundary: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the scores after the walk, by one product with the sparse transition matrix per step."""
    transition = _transition(boundary.to(dtype)).transpose(0, 1).to_sparse_csr()
    columns = (scores.to(dtype) * (1 - boundary.to(dtype))).flatten(1).T.contiguous()  # (h w, C)
    for _ in range(STEPS):
        columns = transition @ columns
    return columns.T.reshape(scores.shape)


def dense_power(scores: Tensor, boundary: Tensor) -> Tensor:
    """Return the scores after the walk as in the reference: the (h w, h w) matrix, squared eight times."""
    power = _transition(boundary).to_dense()
    for _ in range(STEPS.bit_length() - 1):
        power = power @ power
    return ((scores * (1 - boundary)).flatten(1) @ power).reshape(scores.shape)


def _transition(boundary: Tensor) -> Tensor:
    """Return the column-normalised transition matrix, sparse COO, assembled from lists of pairs."""
    h, w = boundary.shape
    device = boundary.device
    pixel = torch.arange(h * w, device=device).view(h, w)
    rows, columns, values = (
        [pixel.flatten()],
        [pixel.flatten()],
        [torch.ones(h * w, dtype=boundary.dtype, device=device)],
    )
    for (dy, dx), line in lines_within(RADIUS):
        if dy >= h or abs(dx) >= w:
            continue
        left, right = max(0, -dx), w - max(0, dx)
        highest = torch.stack([boundary[y : y + h - dy, left + x : right + x] for y, x in line]).amax(0)
        one, other = pixel[: h - dy, left:right].flatten(), pixel[dy:, left + dx : right + dx].flatten()
        rows += [one, other]
        columns += [other, one]
        values += [((1 - highest) ** BETA).flatten()] * 2
    row, column, value = torch.cat(rows), torch.cat(columns), torch.cat(values)
    degree = torch.zeros(h * w, dtype=boundary.dtype, device=device).index_add_(0, column, value)
    return torch.sparse_coo_tensor(torch.stack((row, column)), value / degree[column], check_invariants=False)


def inputs(classes: int, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Return random scores and a smooth boundary map, similar to the output of a network."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 1, h // 8 + 2, w // 8 + 2, generator=generator)
    boundary = torch.sigmoid(3 * functional.interpolate(coarse, (h, w), mode="bilinear")[0, 0] - 1)
    return torch.rand(classes, h, w, generator=generator), boundary


def _in_new_process(
    shape: tuple[int, int, int], threads: int, method: Callable[..., Tensor], repeats: int
) -> Measurement:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (shape, threads, method, repeats))


def _measure(shape: tuple[int, int, int], threads: int, method: Callable[..., Tensor], repeats: int) -> Measurement:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # the dense float32 power has many denormals, which make it many times slower
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    small = inputs(1, 9, 9)
    method(*small)  # load libraries and start threads
    scores, boundary = inputs(*shape)
    reset_peak()
    before = resident("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        out = method(scores, boundary)
        seconds.append(time.perf_counter() - start)
    memory = resident("VmHWM") - before
    exact = plain_steps(scores, boundary, torch.float64)
    error = ((out.double() - exact).abs().max() / exact.max()).item()
    return Measurement(statistics.median(seconds), memory, error)


def _row(h: int, w: int, name: str, measured: Measurement, ours: Measurement, mark: str = " ") -> None:
    error = "" if measured.error is None else f"{measured.error:.0e}"
    ratio = measured.seconds / ours.seconds
    columns = f"{mark}{measured.seconds:>7.3f}  {ratio:>7.1f}  {mark}{measured.memory:>7.0f}  {error:>9}"
    print(f"{h:>4}x{w:<3}  {name:<28}  {columns}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
