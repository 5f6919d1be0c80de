"""Dense CRF inference in tensors, on any device: mean field over permutohedral lattices, with pydensecrf's labels."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ppl.crf.interface import Problem, Solver
from ppl.crf.lattice import Lattice
from ppl.crf.settings import Pairwise

PIXELS_AT_ONCE = 3 * 2**20
"""Pixels of the photos of one mean field, 16 photos of VOC. A pixel takes up to 1.2 KB while its lattices are built:
3.8 GB at once."""
BELIEFS_AT_ONCE = 2**24
"""Beliefs of one mean field, pixels * CRFs * labels. A belief, its messages and its values at vertices take up to 120
bytes: 2 GB at once."""


def on_device(device: torch.device) -> Solver:
    """Return a solver for `ppl.crf.dense` that computes on `device`; several times slower than pydensecrf on a CPU.

    It solves several problems at once, up to PIXELS_AT_ONCE and BELIEFS_AT_ONCE. Several threads may call it.
    """
    lock = Lock()  # of the device's memory

    def solve(problems: Sequence[Problem], pairwise: Pairwise, iterations: int) -> list[list[np.ndarray]]:
        solved: dict[int, list[np.ndarray]] = {}
        for group in groups([_shape(problem) for problem in problems]):
            with lock, _in_float32(device):
                labels = _solve_at_once([problems[i] for i in group], pairwise, iterations, device)
            solved.update(zip(group, labels, strict=True))
        return [solved[i] for i in range(len(problems))]

    return solve


def groups(shapes: Sequence[tuple[int, int, int]]) -> list[list[int]]:
    """Return the indices of problems to solve at once, from their shapes (CRFs, labels, pixels).

    Problems of a group have equally many CRFs and similar numbers of labels. A group has at least one problem.
    """
    grouped: list[list[int]] = []
    last, pixels = 0, 0  # number of CRFs and pixels of the last group
    for i in sorted(range(len(shapes)), key=lambda i: shapes[i]):
        crfs, labels, more = shapes[i]
        pixels += more
        if crfs != last or pixels > PIXELS_AT_ONCE or pixels * crfs * labels > BELIEFS_AT_ONCE:
            grouped.append([])
            last, pixels = crfs, more
        grouped[-1].append(i)
    return grouped


def _shape(problem: Problem) -> tuple[int, int, int]:
    return len(problem.energies), *problem.energies[0].shape


def _solve_at_once(
    problems: Sequence[Problem], pairwise: Pairwise, iterations: int, device: torch.device
) -> list[list[np.ndarray]]:
    sizes = [problem.photo.shape[:2] for problem in problems]
    photos = torch.from_numpy(np.concatenate([problem.photo.reshape(-1, 3) for problem in problems]))
    messages = pairwise_messages(photos.to(device), sizes, pairwise)
    crfs, labels = len(problems[0].energies), max(len(problem.ids) for problem in problems)
    pixels = [math.prod(size) for size in sizes]
    unary = torch.full((sum(pixels), crfs, labels), math.inf, device=device)  # of labels that a photo does not have
    for part, problem in zip(unary.split(pixels), problems, strict=True):
        energies = torch.from_numpy(np.stack(problem.energies)).to(device)  # (R, L, h w)
        part[..., : len(problem.ids)].copy_(energies.permute(2, 0, 1))
    strongest = mean_field(unary, messages, iterations).argmax(-1).to(torch.uint8).cpu()  # (N, R)
    return [list(part.T.contiguous().numpy()) for part in strongest.split(pixels)]


def pairwise_messages(
    colours: Tensor, sizes: Sequence[tuple[int, int]], pairwise: Pairwise
) -> Callable[[Tensor], Tensor]:
    """Return the messages of the Potts terms, from beliefs (N, C) to support (N, C), within each of several photos.

    colours (N, 3) uint8: the pixels of photos of `sizes` (h, w), one photo after the other, row by row.
    """
    starts = np.cumsum([0, *(h * w for h, w in sizes)])
    table = torch.tensor([starts[:-1].tolist(), [w for _, w in sizes]], device=colours.device)
    each = torch.arange(len(sizes), device=colours.device)
    pixels = torch.tensor([h * w for h, w in sizes], device=colours.device)
    photo_of = each.repeat_interleave(pixels, output_size=len(colours))
    start, width = table[:, photo_of]
    index = torch.arange(len(colours), device=colours.device) - start
    place = torch.stack([index % width, index // width], dim=1).float()  # (N, 2): x, y
    near = Lattice(place / pairwise.gaussian_sxy, photo_of, len(sizes))
    features = torch.cat([place / pairwise.bilateral_sxy, colours.float() / pairwise.bilateral_srgb], dim=1)
    alike = Lattice(features, photo_of, len(sizes))

    def send(beliefs: Tensor) -> Tensor:
        return pairwise.gaussian_compat * near.filter(beliefs) + pairwise.bilateral_compat * alike.filter(beliefs)

    return send


def mean_field(unary: Tensor, messages: Callable[[Tensor], Tensor], iterations: int) -> Tensor:
    """Return beliefs (N, R, L) of R CRFs after some parallel updates from their unary energies (N, R, L).

    A label of infinite energy takes no part: its beliefs are 0.
    """
    beliefs = (-unary).softmax(-1)
    for _ in range(iterations):
        beliefs = (messages(beliefs.flatten(1)).view_as(unary) - unary).softmax(-1)
    return beliefs


@contextmanager
def _in_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32, also if the network before it runs in half precision, and without gradients."""
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield
