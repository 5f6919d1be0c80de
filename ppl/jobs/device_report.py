"""Report the device of a job as the first line of its log, and warn if a requested GPU is missing."""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch

from ppl.jobs.errors import UserError
from ppl.jobs.settings import REQUIRE_GPU, Devices


def report_device(hardware: Devices, count: int) -> None:
    """Print device and precision of a job on `count` GPUs, or on the CPU if none is requested or visible.

    Warns if a requested GPU is not visible, with torch's reason, and of a GPU without bfloat16. UserError instead of
    the first warning if the experiment requires a GPU. Of a data-parallel training only the first process prints.
    """
    warnings = []
    if hardware.gpu > 0 and not torch.cuda.is_available():
        requested = f"{hardware.gpu} GPU{'s' * (hardware.gpu > 1)} requested, none visible: {why_no_gpu()}"
        if requires_gpu(sys.argv[1:]):
            raise UserError("hardware.require_gpu", requested, "correct this, or set hardware.gpu: 0 to use the CPU")
        warnings.append(f"hardware.gpu: {requested}; running on the CPU")
    elif hardware.gpu > 0 and hardware.precision == "bf16-mixed" and not has_bfloat16():
        name = torch.cuda.get_device_name(0)
        warnings.append(f"hardware.precision: {name} only emulates bfloat16, which is slow; set 16-mixed or 32-true")
    if os.environ.get("LOCAL_RANK", "0") == "0":
        lines = [f"on {device_names(hardware, count)}, {hardware.precision}", *(f"warning: {w}" for w in warnings)]
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def device_names(hardware: Devices, count: int) -> str:
    """Return the devices of a job as text: `cpu`, `cuda:0 (NAME)`, or `1 of 4 GPUs (NAME)` if other jobs use some."""
    if hardware.gpu == 0 or not torch.cuda.is_available():
        return "cpu"
    present = torch.cuda.device_count()
    if count >= present or os.environ.get("CUDA_VISIBLE_DEVICES"):
        places = ", ".join(f"cuda:{index}" for index in range(min(count, present)))
    else:
        places = f"{count} of {present} GPUs"
    return f"{places} ({torch.cuda.get_device_name(0)})"


def has_bfloat16() -> bool:
    """Return whether the GPU computes in bfloat16 without emulation."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def why_no_gpu() -> str:
    """Return why torch sees no GPU: its build, CUDA_VISIBLE_DEVICES, or the first sentence of its own error."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build without CUDA"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={visible.strip() or repr('')} hides all GPUs"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        text = " ".join(str(error).split()).partition(". ")[0].removesuffix(".")
    else:
        text = "torch.cuda.is_available() is False"
    return text if visible is None else f"{text} (CUDA_VISIBLE_DEVICES={visible})"


def requires_gpu(arguments: Sequence[str]) -> bool:
    """Return whether the experiment in whose folder a job writes its output, `--out`, requires a GPU."""
    names = os.environ.get(REQUIRE_GPU, "").split()
    outputs = [Path(value) for flag, value in pairwise(arguments) if flag == "--out"]
    return any(("results", name) in pairwise(output.parts) for name in names for output in outputs)
