"""Which solver a step uses: pydensecrf in worker processes, or one GPU in this process."""

from typing import TYPE_CHECKING

from ppl.crf.dense import Solver, Where, on_cpu

if TYPE_CHECKING:
    import torch


def choose(where: Where, workers: int, device: "torch.device | None" = None) -> tuple[Solver, int]:
    """The solver of a step, and in how many worker processes: 0 on a GPU, `device` or one that is claimed here."""
    if where == "gpu":
        from ppl.crf.gpu import on_device
        from ppl.jobs.devices import Hardware, inference_device

        device = device or inference_device(Hardware(devices=1, workers=workers, precision="32-true"))
        if device.type == "cuda":
            return on_device(device), 0
    return on_cpu, workers
