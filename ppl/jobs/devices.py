"""Devices and precision: GPUs that no other job on this machine uses, or the CPU.

Separate from the training loop, as inference does not need Fabric, whose import takes seconds per process.
"""

import os
import random
import socket
import sys
import time
from contextlib import AbstractContextManager

import torch

from ppl.jobs.device_report import report_device
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Devices, Precision

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def on_gpu(hardware: Devices) -> bool:
    """Return whether GPUs are requested and present."""
    return hardware.gpu > 0 and torch.cuda.is_available()


def inference_device(hardware: Devices) -> torch.device:
    """Claim a GPU for this process and return it; the CPU without GPUs. It reports the device (`report_device`)."""
    set_arithmetic()
    report_device(hardware, 1)
    return torch.device("cuda", claim_gpus(1)[0]) if on_gpu(hardware) else torch.device("cpu")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Return the context in which a network computes in `precision`; its weights stay float32."""
    return torch.autocast(device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def cast_weights(module: torch.nn.Module, precision: Precision) -> None:
    """Convert weights of plain convolutions, in place, to the type in which they compute in `precision`.

    Autocast converts them in every call if no gradients are computed. Outputs stay the same; call it for inference
    only, as weights lose their lower bits.
    """
    for part in module.modules() if precision in AUTOCAST else ():
        if type(part) is torch.nn.Conv2d:  # subclasses may compute with their weights
            part.to(AUTOCAST[precision])


def set_arithmetic() -> None:
    """Use TF32 on GPUs; flush denormal numbers to 0 on CPUs, where they make operations up to 100 times slower."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.set_flush_denormal(True)


def claim_gpus(count: int) -> list[int]:
    """Claim `count` GPUs that no other local job holds, until this process ends; return their indices.

    Waits until there are that many. Snakemake sets no CUDA_VISIBLE_DEVICES, so two local jobs would otherwise share
    GPU 0; a cluster that sets it has assigned the GPUs already. The other processes of a data-parallel training, which
    this one starts, use the GPUs that it has claimed. UserError if there are fewer GPUs.
    """
    if inherited := os.environ.get(CLAIMED):
        return [int(index) for index in inherited.split(",")]
    present = torch.cuda.device_count()
    if count > present:
        raise UserError("hardware.gpu", f"{count} GPUs requested, {present} visible", "lower it in the configuration")
    if count == present or os.environ.get("CUDA_VISIBLE_DEVICES"):
        return list(range(count))
    waiting = False
    while True:
        free = {i: lock for i in range(present) if (lock := _try_lock(f"ppl-gpu-{i}"))}
        claimed = list(free)[:count] if len(free) >= count else []  # all or none: two jobs must not wait for each other
        for index, lock in free.items():
            if index in claimed:
                _GPU_LOCKS.append(lock)
            else:
                lock.close()
        if claimed:
            print(f"claimed {', '.join(f'cuda:{index}' for index in claimed)}", file=sys.stderr)
            if count > 1:
                os.environ[CLAIMED] = ",".join(map(str, claimed))
            return claimed
        if not waiting:
            print(f"waiting for {count} of {present} GPUs, which other jobs hold", file=sys.stderr)
            waiting = True
        time.sleep(random.uniform(0.5, 1.5))


CLAIMED = "PPL_CLAIMED_GPUS"
_GPU_LOCKS: list[socket.socket] = []  # closing one would release it


def _try_lock(name: str) -> socket.socket | None:
    """Bind a socket to an abstract address (Linux), which only one process of a machine can do; None if it is in use.

    Unlike a lock file it cannot be deleted by a clean-up of /tmp, left over, or owned by another user: the kernel
    releases it when the process ends, however it ends.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0{name}")
    except OSError:
        lock.close()
        return None
    return lock
