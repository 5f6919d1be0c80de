"""Networks compiled by torch.compile (inductor), equal to the networks as they are up to rounding.

Python starts every operation of a network by itself, which on a fast GPU takes longer than the operation. A compiled
network runs fewer, fused kernels; on a CPU it is no faster than threads (docs/speed.md). The crops of a training all
have one size, so on a GPU its forward and backward passes are also recorded as CUDA graphs, each of which Python starts
at once. Photos have sizes of their own: padded to a few sizes, results would change at their borders, as
convolutions would see features of the padding. So their network is compiled for any size, without CUDA graphs.

Modules are compiled in place: their names, and so checkpoints, stay the same, as do wrappers around them.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from ppl.jobs.errors import reason
from ppl.jobs.settings import Compile

LONG_TRAINING = 5_000
"""Steps from which `auto` compiles a training: a minute of compilation is regained if a step becomes 12 ms faster."""
MANY_PHOTOS = 20_000
"""Photos from which `auto` compiles: predictions of an H100 take two minutes for as many, CAMs eight."""
BACKEND = "inductor"
MAX_VERSIONS = 64
"""Versions of a module for which torch compiles before it leaves the rest as it is: batches of one image and of more,
with gradients and without."""

Result = TypeVar("Result")


def compile_training(
    network: nn.Module, device: torch.device, setting: Compile, steps: int, *, alone: bool = True
) -> "Compilation":
    """Compile a network in place for `steps` training steps on batches of one size, if `setting` says so.

    `alone`: no other process trains the same network. One of several could not repeat a step by itself.
    """
    cuda_graphs = {"mode": "reduce-overhead"} if device.type == "cuda" else {}
    parts = [network] if _wanted(setting, device, steps >= LONG_TRAINING) else []
    return Compilation(parts, repeats=alone, dynamic=False, **cuda_graphs)


def compile_inference(backbone: nn.Module, device: torch.device, setting: Compile, photos: int) -> "Compilation":
    """Compile a backbone in place for a number of photos of any size, if `setting` says so.

    Stage by stage if it has stages, as a classifier sends patches through some of them, and prototypes need not all.
    Layers after the backbone stay as they are.
    """
    parts = [part for part in getattr(backbone, "stages", [backbone]) if isinstance(part, nn.Module)]
    return Compilation(parts if _wanted(setting, device, photos >= MANY_PHOTOS) else [], dynamic=True)


class Compilation:
    """The compiled parts of a network; none if it stays as it is."""

    def __init__(self, parts: Sequence[nn.Module], *, repeats: bool = True, **options: Any) -> None:
        """Compile `parts` in place, on their first call, with `options` of torch.compile.

        `repeats`: a computation that fails is repeated without compilation.
        """
        self.parts, self.repeats, self.started = list(parts), repeats, False
        if self.parts:
            torch._dynamo.config.recompile_limit = MAX_VERSIONS
        for part in self.parts:
            part.compile(backend=BACKEND, **options)

    def run(self, function: Callable[[], Result]) -> Result:
        """Return the result of a function that calls the network and has the same result if it is called again.

        If compilation fails, a warning says so, and from then on the network computes without it: a job must not fail
        for lack of speed. Training steps may be repeated, as our networks draw no random numbers and update no
        statistics (ppl/segment/build.py).
        """
        if not self.parts:
            return function()
        start = time.monotonic()
        try:
            result = function()
        except RuntimeError as error:  # of torch's compiler, of a compiled kernel, or of the function itself
            if not self.repeats:
                raise
            warn(reason(error))
            self.stop()
            return function()
        if not self.started:
            self.started = True
            print(f"compiled in {time.monotonic() - start:.0f} s, with the first batch", file=sys.stderr, flush=True)
        return result

    def stop(self) -> None:
        """Let the network compute as it is, without gradients of a pass that failed."""
        for part in self.parts:
            part._compiled_call_impl = None
            part.zero_grad(set_to_none=True)
        self.parts = []

    def paused(self) -> AbstractContextManager:
        """Return a context in which the network computes as it is, as for batches of other sizes."""
        return torch.compiler.set_stance("force_eager") if self.parts else nullcontext()


UNCOMPILED = Compilation([])
"""Of a network that computes as it is."""


def warn(what: str) -> None:
    """Print a warning that a network is not compiled."""
    print(f"warning: hardware.compile: {what}; continuing without compilation", file=sys.stderr, flush=True)


def why_not(device: torch.device) -> str | None:
    """Return why networks cannot be compiled for a device; None if nothing is missing."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton  # here: only jobs on a GPU need it

        if not has_triton():
            return "Triton is missing, or does not support this GPU"
        names = [os.environ.get("CC", "gcc"), "clang"]
    else:
        names = [os.environ.get("CXX", "g++")]
    if not any(map(shutil.which, names)):
        return f"no compiler {' or '.join(names)} is installed (on Debian and Ubuntu: apt-get install g++)"
    return None


def _wanted(setting: Compile, device: torch.device, worthwhile: bool) -> bool:
    """Return whether to compile; warns if it is wanted but not possible.

    `auto` compiles on a GPU only: on a CPU compiled networks are no faster.
    """
    if setting == "never" or (setting == "auto" and (device.type == "cpu" or not worthwhile)):
        return False
    if missing := why_not(device):
        warn(missing)
    return not missing
