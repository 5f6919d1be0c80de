"""Choose a solver: one CPU core in each of the worker processes, or one GPU in this process."""

from typing import TYPE_CHECKING, NamedTuple

from ppl.crf.dense import dcrf, on_cpu
from ppl.crf.interface import Solver
from ppl.jobs.settings import Hardware

if TYPE_CHECKING:
    import torch

PHOTOS_AT_ONCE = 16
"""Photos that a GPU solves at once: 3 million pixels in VOC, enough to occupy it."""
THREADS = 4
"""Threads beside a GPU: three prepare photos and write label maps while one waits for the GPU. Each holds
PHOTOS_AT_ONCE photos with their unary energies, about 10 MB per photo of VOC; half as many photos wait."""


class Execution(NamedTuple):
    """How a step solves the CRFs of its photos: by `solver`, called by `workers` with `photos_at_once` each.

    Workers are processes, or threads of this process that share a GPU.
    """

    solver: Solver
    workers: int
    photos_at_once: int = 1
    threads: bool = False


def choose(hardware: Hardware, device: "torch.device | None" = None) -> Execution:
    """Return how to solve the CRFs of a step: in worker processes, or on a GPU (`device`, or one claimed here)."""
    if hardware.crf == "gpu":
        from ppl.crf.tensors import on_device
        from ppl.jobs.devices import inference_device

        device = device or inference_device(hardware)
        if device.type == "cuda":
            return Execution(on_device(device), min(hardware.workers, THREADS), PHOTOS_AT_ONCE, threads=True)
    if dcrf is None:
        print(
            "warning: pydensecrf2 is not installed: CRFs give the same labels, but take several times as long; "
            "docs/install.md tells how to install it"
        )
    return Execution(on_cpu, hardware.workers)
