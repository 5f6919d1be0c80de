"""Where a step computes: GPUs that no other job holds, or the CPU, and in which precision.

Inference needs no more than this: importing Fabric as well, for what trainings share, takes several seconds a process.
"""

import os
import random
import socket
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from ppl.jobs.errors import UserError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Hardware:
    """Where a step runs; results are the same for any number of workers."""

    devices: int
    """GPUs of this job, of which inference uses one; 0 or no GPU at hand: the CPU."""
    workers: int
    """Processes that read and augment photos."""
    precision: Precision

    @property
    def on_gpu(self) -> bool:
        """Whether GPUs are asked for and there are any."""
        return self.devices > 0 and torch.cuda.is_available()


def inference_device(hardware: Hardware) -> torch.device:
    """A GPU of this job's own, or the CPU."""
    set_arithmetic()
    return torch.device("cuda", claim_gpus(1)[0]) if hardware.on_gpu else torch.device("cpu")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """The context in which a network computes in `precision`; its weights stay float32."""
    return torch.autocast(device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def set_arithmetic() -> None:
    """TF32 on GPUs; no denormal numbers on CPUs, where products of small ones cost up to a hundred times as much."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.set_flush_denormal(True)


def claim_gpus(count: int) -> list[int]:
    """Indices of `count` GPUs that no other local job holds, this one's until its process ends.

    Snakemake sets no CUDA_VISIBLE_DEVICES, so two local jobs would otherwise share GPU 0. A cluster that sets it has
    already chosen. The further processes of a data-parallel training, which this one starts, take what it claimed.
    """
    if inherited := os.environ.get(CLAIMED):
        return [int(index) for index in inherited.split(",")]
    present = torch.cuda.device_count()
    if count > present:
        raise UserError("hardware.gpu", f"{count} GPUs requested, {present} visible", "lower it in the configuration")
    if count == present or os.environ.get("CUDA_VISIBLE_DEVICES"):
        return list(range(count))
    waits = False
    while True:
        free = {i: lock for i in range(present) if (lock := _try_lock(f"ppl-gpu-{i}"))}
        claimed = list(free)[:count] if len(free) >= count else []  # all or none: two jobs must not wait for each other
        for index, lock in free.items():
            if index in claimed:
                _GPU_LOCKS.append(lock)
            else:
                lock.close()
        if claimed:
            if count > 1:
                os.environ[CLAIMED] = ",".join(map(str, claimed))
            return claimed
        if not waits:
            print(f"waiting for {count} of {present} GPUs, which other jobs hold", file=sys.stderr)
            waits = True
        time.sleep(random.uniform(0.5, 1.5))


CLAIMED = "PPL_CLAIMED_GPUS"
_GPU_LOCKS: list[socket.socket] = []  # open for as long as the process lives: closing one gives its name back


def _try_lock(name: str) -> socket.socket | None:
    """Holds a name that one process of a machine may have: that of a socket outside of the file system (Linux).

    A lock file can be deleted while it is held, by a clean-up of /tmp for one, or be left over or another user's; this
    name cannot. The kernel gives it back when the process ends, however it ends.
    """
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(f"\0{name}")
    except OSError:
        held.close()
        return None
    return held
