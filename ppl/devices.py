"""Where a step computes: GPUs that no other job holds, or the CPU, and in which precision.

Inference needs no more than this: importing Fabric as well, for what trainings share, takes several seconds a process.
"""

import fcntl
import os
import random
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import torch

from ppl.files import UserError

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
    """Indices of `count` GPUs that no other local job holds, kept by lock files until this process ends.

    Snakemake sets no CUDA_VISIBLE_DEVICES, so two local jobs would otherwise share GPU 0. A cluster that sets it has
    already chosen. The further processes of a data-parallel training, which this one starts, take what it claimed.
    """
    if inherited := os.environ.get(CLAIMED):
        return [int(index) for index in inherited.split(",")]
    present = torch.cuda.device_count()
    if count > present:
        raise UserError(f"{count} GPUs are asked for, {present} are visible; lower `gpu` in the configuration")
    if count == present or os.environ.get("CUDA_VISIBLE_DEVICES"):
        return list(range(count))
    while True:
        free = {
            i: lock for i in range(present) if (lock := _try_lock(Path(tempfile.gettempdir()) / f"ppl-gpu-{i}.lock"))
        }
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
        time.sleep(random.uniform(0.5, 1.5))


CLAIMED = "PPL_CLAIMED_GPUS"
_GPU_LOCKS: list[IO[str]] = []  # open for as long as the process lives: closing a file gives its lock back


def _try_lock(path: Path) -> IO[str] | None:
    try:
        file = path.open("r")  # another user's lock file may be read, not written
    except FileNotFoundError:
        file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
