"""Start of a training: Lightning Fabric on the requested devices."""

import os

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment

from ppl.jobs.device_report import report_device
from ppl.jobs.devices import claim_gpus, on_gpu, set_arithmetic
from ppl.jobs.settings import Devices


def launch(hardware: Devices, random_seed: int) -> Fabric:
    """Return a Fabric on the requested GPUs, or on the CPU if there are none; seeds the initialisation of new layers.

    On several GPUs it starts a process for each. On the CPU it joins the processes that `torchrun` has started, if any.
    """
    set_arithmetic()
    report_device(hardware, hardware.gpu)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    where = ("cuda", claim_gpus(hardware.gpu)) if on_gpu(hardware) else ("cpu", processes)
    # Fabric would otherwise leave it to SLURM to start the processes, which gives a job of Snakemake only one task.
    starter = [] if processes > 1 else [LightningEnvironment()]
    fabric = Fabric(accelerator=where[0], devices=where[1], precision=hardware.precision, plugins=starter)
    fabric.launch()
    fabric.seed_everything(random_seed, verbose=False)
    return fabric
