"""Settings of hardware."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from ppl.jobs.fields import Count, Section, Source

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Compile = Literal["never", "auto", "always"]
"""Not `off` and `on`, which YAML reads as false and true."""
Where = Literal["cpu", "gpu"]
"""Device that solves the CRFs of a step: the CPU, in worker processes, or the GPU of this process if there is one."""

REQUIRE_GPU = "PPL_REQUIRE_GPU"
"""Environment variable, set by the workflow: names of the experiments with hardware.require_gpu, separated by spaces.

No flag of the jobs: a changed command would rerun their finished results.
"""


@dataclass(frozen=True, kw_only=True)
class Devices(Section):
    """Devices of a job. Results do not depend on `gpu` and `workers`, so a change of these reruns nothing."""

    gpu: Annotated[int, Ge(0), Le(1024), Source("ours")] = 1
    """GPUs per training; image-by-image steps use one; 0: CPU."""
    workers: Annotated[int, Ge(1), Le(1024), Source("ours")] = 4
    """Worker processes of a job, which read photos or run CRFs."""
    precision: Annotated[Precision, Source("ours")] = "bf16-mixed"
    """Precision of networks."""


@dataclass(frozen=True, kw_only=True)
class NetworkDevices(Devices):
    """Devices of a job that trains a network, or computes with one for many photos.

    Compiled networks give the same results up to rounding, so a change of `compile` reruns nothing.
    """

    compile: Annotated[Compile, Source("ours")] = "never"
    """Compile networks (torch.compile), which takes a minute or more at the start of a job. `auto`: on a GPU, for
    trainings with at least 5,000 steps left, and CAMs and predictions of at least 20,000 photos per job; `always`: on a
    CPU too, where threads are as fast or faster. It needs a C++ compiler, on a GPU a C compiler and
    Triton."""


@dataclass(frozen=True, kw_only=True)
class Hardware(NetworkDevices):
    """Devices of a job that may also solve CRFs."""

    crf: Annotated[Where, Source("ours")] = "cpu"
    """`cpu`: pydensecrf in worker processes; `gpu`: on the GPU of the job. Labels differ in one of ten thousand pixels;
    an H100 is as fast as 27 to 42 cores."""


@dataclass(frozen=True, kw_only=True)
class ExperimentHardware(Hardware):
    """Hardware of all jobs of an experiment."""

    shards: Annotated[Count, Source("ours")] = 1
    """Number of jobs into which image-by-image steps are split."""
    require_gpu: Annotated[bool, Source("ours")] = False
    """Whether a job that requests a GPU and sees none fails; otherwise it warns and runs on the CPU."""
