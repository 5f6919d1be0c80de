"""Choose a solver: one CPU core in each of the worker processes, or one GPU in this process."""

from typing import TYPE_CHECKING

from ppl.crf.dense import dcrf, on_cpu
from ppl.crf.interface import Solver
from ppl.jobs.settings import Hardware

if TYPE_CHECKING:
    import torch


def choose(hardware: Hardware, device: "torch.device | None" = None) -> tuple[Solver, int]:
    """Return the solver of a step and its number of worker processes, 0 on a GPU (`device`, or one claimed here)."""
    if hardware.crf == "gpu":
        from ppl.crf.tensors import on_device
        from ppl.jobs.devices import inference_device

        device = device or inference_device(hardware)
        if device.type == "cuda":
            return on_device(device), 0
    if dcrf is None:
        print(
            "warning: pydensecrf2 is not installed: CRFs give the same labels, but take several times as long; "
            "docs/install.md tells how to install it"
        )
    return on_cpu, hardware.workers
