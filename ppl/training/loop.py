"""The training loop of all four networks: steps, epochs, resuming, logs, the checkpoint at the end."""

import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ppl.data.crops import TrainingCrops
from ppl.jobs.compiled import Compilation, compile_training
from ppl.jobs.errors import UserError
from ppl.jobs.lifetime import StopRequest, ignore_group_signals
from ppl.jobs.progress import progress as show_progress
from ppl.jobs.settings import Compile
from ppl.networks import checkpoints
from ppl.training.divergence import check_losses, check_weights
from ppl.training.log import write_log
from ppl.training.schedule import Schedule, StepSampler
from ppl.training.shares import in_shares
from ppl.training.state import Progress, State

READ_EVERY = 20  # steps between readings of the loss if a reading makes processes or a GPU wait; else every step

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""From a network, images (B, 3, H, W) and their targets to the loss, a mean over the batch."""
Measure = Callable[[nn.Module, bool], dict[str, float]]
"""From a network in evaluation mode, and whether several threads may call it at once, to measures for the log."""


def train_to_checkpoint(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    crops: TrainingCrops,
    loss: Loss,
    schedule: Schedule,
    *,
    out: Path,
    stored: Mapping[str, Any],
    **options: Any,
) -> None:
    """Train as `train` does, with its `options`, then write the network and `stored` to `out`.

    `stored` are arguments of `checkpoints.save`. The resumable state lies beside `out` and is deleted with success.
    """
    resume = out.with_suffix(".resume")
    train(fabric, network, optimizer, crops, loss, schedule, resume=resume, **options)
    if fabric.is_global_zero:
        checkpoints.save(out, network, **stored)
        resume.unlink(missing_ok=True)


def train(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    crops: TrainingCrops,
    loss: Loss,
    schedule: Schedule,
    *,
    name: str,
    resume: Path,
    digest: str,
    log: Path,
    workers: int,
    compile: Compile = "never",
    measure: Measure | None = None,
) -> None:
    """Train `network`, called `name` in messages, in place on samples (crop, target) of `crops`.

    After each epoch the state goes to `resume`, from which an interrupted run resumes with the same batches, provided
    `digest` (of settings and inputs) is the same; then the network is measured, and a row goes to `log` (CSV, and
    TensorBoard beside it). SIGTERM and SIGINT save the state and exit. `compile` decides whether the network is
    compiled; it is measured without. UserError for a loss that is not finite or rises far above the first one, and for
    weights that are not finite; it names step, learning rate and last state.
    """
    _check_batch_size(schedule.batch_size, fabric.world_size)
    network, optimizer = fabric.setup(network, optimizer)
    state = State(fabric, network, optimizer, resume, digest)
    progress = state.restore()
    steps, alone = schedule.steps - progress.step, fabric.world_size == 1
    compilation = compile_training(network.module, fabric.device, compile, steps, alone=alone)
    loader = _loader(fabric, crops, schedule, progress.step, workers)
    writer = _tensorboard(fabric, log, progress.step)
    stop = StopRequest()

    def end_epoch() -> None:
        stop.exit_at_once(fabric.world_size == 1 and measure is not None)  # the state is saved
        with compilation.paused():
            # Processes of one training exchange buffers in each call, and compiled networks were not tried in threads.
            row = _row(progress, schedule, network, measure, by_threads=alone and not compilation.parts)
        stop.exit_at_once(False)
        progress.rows.append(row)
        progress.loss = 0.0
        if fabric.is_global_zero:
            for key, value in row.items():
                writer.add_scalar(key, value, progress.step)
            write_log(log, progress.rows)
        state.save(progress)
        network.train()

    network.train()
    shared: nn.Module | None = None  # the network as training steps call it
    compiled = False
    if progress.step and schedule.ends_epoch(progress.step) and not progress.measured:
        end_epoch()
    started, losses = time.monotonic(), []
    read_every = 1 if fabric.device.type == "cpu" and fabric.world_size == 1 else READ_EVERY
    with show_progress(name=name, unit="step", total=schedule.steps, initial=progress.step) as bar:
        for batch, targets in loader:
            images = crops.normalise(batch, fabric.device)
            rate = schedule.rate(progress.step)
            if shared is None or compiled != bool(compilation.parts):  # compilation may fail in a step
                compiled = bool(compilation.parts)
                shared = in_shares(network, images) if alone and not compiled else network
            losses.append(_train_step(fabric, shared, optimizer, loss, images, targets, rate, compilation))
            progress.step += 1
            epoch_ends = schedule.ends_epoch(progress.step)
            reads = epoch_ends or progress.step % read_every == 0
            stops = _all_stop(fabric, stop, reads)
            if reads or stops:
                values = _mean(fabric, torch.stack(losses)).tolist()
                losses.clear()
                check_losses(values, progress, schedule, state)
                progress.loss += sum(values)
                bar.set_postfix_str(f"loss {values[-1]:.3f}", refresh=False)
            bar.update()
            if epoch_ends or stops:
                progress.seconds += time.monotonic() - started
                check_weights(progress, schedule, state)
                if stops or measure is not None:  # otherwise end_epoch saves the state at once
                    state.save(progress)
                if stops:
                    sys.exit(128 + signal.SIGTERM)
                end_epoch()
                started = time.monotonic()
    if not progress.measured or progress.step < schedule.steps:
        raise AssertionError("the loop ended before its last step")
    if fabric.is_global_zero:
        write_log(log, progress.rows)  # also if a resumed run had nothing left to train
        writer.close()


def _train_step(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    images: Tensor,
    targets: Tensor,
    rate: float,
    compilation: Compilation,
) -> Tensor:
    """Update the weights once, at `rate` times the initial learning rates; return the loss, without reading it."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate
    images = images.to(fabric.device, memory_format=torch.channels_last, non_blocking=True)
    targets = targets.to(fabric.device, non_blocking=True)

    def gradients() -> Tensor:
        value = loss(network, images, targets)
        fabric.backward(value)
        return value

    value = compilation.run(gradients)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value.detach()


def _check_batch_size(batch_size: int, devices: int) -> None:
    """Raise UserError if devices get shares of different size: their gradients are averaged as if they were equal."""
    if batch_size % devices:
        raise UserError("batch_size", f"{batch_size} is not divisible by the {devices} GPUs", "choose a multiple")


def _loader(fabric: Fabric, crops: TrainingCrops, schedule: Schedule, start: int, workers: int) -> DataLoader:
    """Return a loader of this process's share of the batches of the steps from `start` on."""
    rank, world = fabric.global_rank, fabric.world_size
    return DataLoader(
        crops,
        batch_sampler=StepSampler(len(crops), schedule, start=start, rank=rank, world=world),
        num_workers=workers,
        pin_memory=fabric.device.type == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=ignore_group_signals,
    )


def _tensorboard(fabric: Fabric, log: Path, step: int) -> Any:
    """Return TensorBoard's writer beside `log`, in the first process; its events from `step` on are discarded."""
    if not fabric.is_global_zero:
        return None
    from torch.utils.tensorboard import SummaryWriter  # here: the import takes a second

    return SummaryWriter(str(log.with_suffix("")), purge_step=step)


def _all_stop(fabric: Fabric, stop: StopRequest, reads: bool) -> bool:
    """Return whether to stop after this step.

    Several processes stop at the same step, the next at which all read: one alone would leave the others waiting.
    """
    if fabric.world_size == 1:
        return stop.received
    return reads and _mean(fabric, torch.tensor([float(stop.received)])).item() > 0


def _mean(fabric: Fabric, value: Tensor) -> Tensor:
    """Return a vector averaged over the processes."""
    return value if fabric.world_size == 1 else fabric.all_reduce(value.to(fabric.device), reduce_op="mean")


def _row(
    progress: Progress, schedule: Schedule, network: nn.Module, measure: Measure | None, *, by_threads: bool
) -> dict[str, float]:
    """Return the row of the log of the epoch that has just ended; the network is left in evaluation mode."""
    epoch = math.ceil(progress.step / schedule.epoch_steps)
    steps = progress.step - (epoch - 1) * schedule.epoch_steps
    row = {"epoch": epoch, "step": progress.step, "rate": schedule.rate(progress.step - 1)}
    row |= {"loss": progress.loss / steps, "seconds": round(progress.seconds, 2)}
    if measure is not None:
        network.eval()
        with torch.inference_mode():
            row.update(measure(network, by_threads))
    return row
