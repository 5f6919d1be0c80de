"""Dense CRF inference in tensors, on any device: mean field over permutohedral lattices, with pydensecrf's labels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ppl.crf.interface import Infer, Solver
from ppl.crf.lattice import Lattice
from ppl.crf.settings import Pairwise


def on_device(device: torch.device) -> Solver:
    """Return a solver for `ppl.crf.dense` that computes on `device`; several times slower than pydensecrf on a CPU."""

    def solve(photo: np.ndarray, labels: int, pairwise: Pairwise) -> Infer:
        with _in_float32(device):
            messages = pairwise_messages(torch.from_numpy(np.array(photo)).to(device), pairwise)

        def infer(energy: np.ndarray, iterations: int) -> np.ndarray:
            with _in_float32(device):
                beliefs = mean_field(torch.from_numpy(energy).to(device), messages, iterations)
                return beliefs.argmax(dim=0).cpu().numpy()

        return infer

    return solve


def pairwise_messages(photo: Tensor, pairwise: Pairwise) -> Callable[[Tensor], Tensor]:
    """Return the messages of the Potts terms of a photo (h, w, 3) uint8, from beliefs (h w, L) to support (h w, L)."""
    h, w, _ = photo.shape
    rows, columns = (torch.arange(side, device=photo.device, dtype=torch.float32) for side in (h, w))
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1).reshape(-1, 2)  # (h w, 2): x, y
    colour = photo.reshape(-1, 3).float()
    near = Lattice(place / pairwise.gaussian_sxy)
    alike = Lattice(torch.cat([place / pairwise.bilateral_sxy, colour / pairwise.bilateral_srgb], dim=1))

    def send(beliefs: Tensor) -> Tensor:
        return pairwise.gaussian_compat * near.filter(beliefs) + pairwise.bilateral_compat * alike.filter(beliefs)

    return send


def mean_field(energy: Tensor, messages: Callable[[Tensor], Tensor], iterations: int) -> Tensor:
    """Return beliefs (L, h w) after some parallel updates from the unary energies (L, h w)."""
    unary = energy.t().contiguous()  # (h w, L)
    beliefs = (-unary).softmax(dim=1)
    for _ in range(iterations):
        beliefs = (messages(beliefs) - unary).softmax(dim=1)
    return beliefs.t()


@contextmanager
def _in_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32, also if the network before it runs in half precision, and without gradients."""
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield
