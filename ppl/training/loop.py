"""What the four trainings share: Fabric, optimiser and schedule, resume, logs, the checkpoint at the end."""

import csv
import dataclasses
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from ppl.data.crops import Views
from ppl.jobs.devices import Hardware, claim_gpus, set_arithmetic
from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic
from ppl.jobs.parallel import leave_signals
from ppl.jobs.progress import progress as show_progress
from ppl.networks import checkpoints

# Fabric imports torchmetrics where it is installed, only to compare its version, and with it torchvision and scipy:
# three of the ten seconds until a training starts. None makes Python say that there is no such module.
sys.modules.setdefault("torchmetrics", None)
from lightning_fabric import Fabric  # noqa: E402
from lightning_fabric.plugins.environments import LightningEnvironment  # noqa: E402

if sys.modules["torchmetrics"] is None:
    del sys.modules["torchmetrics"]

LOOK_EVERY = 20  # steps between looks at the loss where a look makes processes or a GPU wait; else at every step
DIVERGED = 50  # times the first loss, which knows nothing: a loss above it learns nothing any more
LEAST_LOSS = 0.1  # a first loss below it, of a network that goes on, counts as this


@dataclass(frozen=True)
class Schedule:
    """A poly schedule over a number of steps, and how often the state is kept."""

    steps: int
    epoch_steps: int
    batch_size: int
    power: float
    seed: int

    @classmethod
    def of_epochs(cls, length: int, *, epochs: int, batch_size: int, power: float, seed: int) -> "Schedule":
        """That of whole epochs over `length` samples, each without the rest that fills no batch."""
        epoch_steps = max(1, length // batch_size)
        return cls(epochs * epoch_steps, epoch_steps, batch_size, power, seed)

    def rate(self, step: int) -> float:
        """Factor of the initial learning rates in a step, counted from 0: (1 - step / steps)^power."""
        return (1 - step / self.steps) ** self.power


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (index, sample seed) for the steps start..stop; step t is the same wherever the loop starts.

    Each epoch is a new permutation of `length` samples, its rest dropped; a set smaller than a batch is repeated. Of a
    global batch, process `rank` of `world` takes every world-th sample.
    """

    def __init__(self, length: int, schedule: Schedule, *, start: int = 0, rank: int = 0, world: int = 1) -> None:
        self.length, self.schedule, self.start, self.rank, self.world = length, schedule, start, rank, world

    def __len__(self) -> int:
        return self.schedule.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        s, order = self.schedule, np.empty(0)
        for step in range(self.start, s.steps):
            epoch, place = divmod(step, s.epoch_steps)
            if place == 0 or not order.size:
                permutation = np.random.default_rng((s.seed, epoch)).permutation(self.length)
                order = np.resize(permutation, max(self.length, s.batch_size))
            batch = order[place * s.batch_size : (place + 1) * s.batch_size][self.rank :: self.world]
            first = (step * s.batch_size + self.rank) * 1_000_003 + s.seed
            yield [(int(index), first + i * self.world * 1_000_003) for i, index in enumerate(batch)]


def launch(hardware: Hardware, seed: int) -> Fabric:
    """A Fabric on the requested GPUs, or on the CPU where there is none; seeds the initialisation of new layers.

    On several GPUs it starts a process for each. On the CPU it is one of those that `torchrun` has started, if it has.
    """
    set_arithmetic()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    where = ("cuda", claim_gpus(hardware.devices)) if hardware.on_gpu else ("cpu", processes)
    # Fabric would otherwise leave it to SLURM to start the processes, which gives a job of Snakemake only one task.
    starter = [] if processes > 1 else [LightningEnvironment()]
    fabric = Fabric(accelerator=where[0], devices=where[1], precision=hardware.precision, plugins=starter)
    fabric.launch()
    fabric.seed_everything(seed, verbose=False)
    return fabric


def parameter_groups(
    rated: Iterable[tuple[float, Iterable[nn.Parameter]]], *, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimiser groups of (factor, parameters), each at factor * `lr`."""
    return [{"params": list(some), "lr": lr * factor, "weight_decay": weight_decay} for factor, some in rated]


def sgd(groups: Sequence[dict[str, Any]], *, momentum: float) -> torch.optim.Optimizer:
    """SGD over parameter groups that each carry `lr` and `weight_decay`; its rates are the start of the schedule."""
    return torch.optim.SGD(_trainable(groups), momentum=momentum)


def adamw(groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW over parameter groups that each carry `lr` and `weight_decay`."""
    return torch.optim.AdamW(_trainable(groups))


def _trainable(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [{**g, "params": [p for p in g["params"] if p.requires_grad], "initial_lr": g["lr"]} for g in groups]
    return [g for g in kept if g["params"]]


def train_to_checkpoint(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    views: Views,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    schedule: Schedule,
    *,
    out: Path,
    stored: Mapping[str, Any],
    finish: Callable[[], None] = lambda: None,
    **how: Any,
) -> None:
    """Trains as `train` does, with `how` as its other arguments, then writes the network and `stored` to `out`.

    `stored` is what `checkpoints.save` takes. `finish` completes the network once it is trained. The state of an
    interrupted run lies beside `out` and goes when that is written.
    """
    resume = out.with_suffix(".resume")
    train(fabric, network, optimizer, views, loss, schedule, resume=resume, **how)
    if fabric.is_global_zero:
        finish()
        checkpoints.save(out, network, **stored)
        resume.unlink(missing_ok=True)


def train(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    views: Views,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    schedule: Schedule,
    *,
    name: str,
    resume: Path,
    digest: str,
    log: Path,
    workers: int,
    measure: Callable[[nn.Module], dict[str, float]] | None = None,
) -> None:
    """Trains `network`, called `name` in messages, in place by `loss(network, images, targets)`, a mean over the batch.

    After each epoch the state goes to `resume`, from which an interrupted run goes on with the same batches, provided
    `digest` (settings and inputs) is the same; then `measure` is asked for figures, and a row goes to `log` (CSV, and
    TensorBoard beside it). SIGTERM and SIGINT keep the state and exit. A loss that is not finite or rises far above the
    first one, and weights that are not finite, stop with a UserError that names step, learning rate and last state.
    """
    if schedule.batch_size % fabric.world_size:  # gradients are averaged over devices as if their shares were equal
        what = f"{schedule.batch_size} is not divisible by the {fabric.world_size} GPUs"
        raise UserError("batch_size", what, "choose a multiple")
    network, optimizer = fabric.setup(network, optimizer)
    progress = _Progress(step=0, loss=0.0, first=0.0, seconds=0.0, rows=[])
    if resume.exists():
        progress = _restore(fabric, network, optimizer, resume, digest)
    sampler = StepSampler(len(views), schedule, start=progress.step, rank=fabric.global_rank, world=fabric.world_size)
    loader = DataLoader(
        views,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=fabric.device.type == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=leave_signals,
    )
    from torch.utils.tensorboard import SummaryWriter  # here, as steps without a training would wait a second for it

    writer = SummaryWriter(str(log.with_suffix("")), purge_step=progress.step) if fabric.is_global_zero else None
    stop = _Stop()

    def keep() -> None:
        _keep(fabric, network, optimizer, resume, digest, progress)

    def measure_epoch() -> None:
        stop.may_end(fabric.world_size == 1 and measure is not None)  # what was trained is kept
        row = _row(progress, schedule, measure, network)
        stop.may_end(False)
        if writer is not None:
            for key, figure in row.items():
                writer.add_scalar(key, figure, progress.step)
        progress.rows.append(row)
        progress.loss = 0.0
        _write_log(fabric, log, progress.rows)
        keep()

    if progress.step and _epoch_ends(progress.step, schedule) and not progress.measured:
        measure_epoch()
    network.train()
    started = time.monotonic()
    losses: list[Tensor] = []
    look_every = 1 if fabric.device.type == "cpu" and fabric.world_size == 1 else LOOK_EVERY
    with show_progress(name=name, unit="step", total=schedule.steps, initial=progress.step) as bar:
        for images, targets in loader:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * schedule.rate(progress.step)
            images = images.to(fabric.device, memory_format=torch.channels_last, non_blocking=True)
            value = loss(network, images, targets.to(fabric.device, non_blocking=True))
            fabric.backward(value)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(value.detach())
            progress.step += 1
            epoch_ends = _epoch_ends(progress.step, schedule)
            looks = epoch_ends or progress.step % look_every == 0
            # Several processes stop at the same step, the next at which all look: one alone would leave the others
            # waiting.
            told = torch.tensor([float(stop.told)])
            stops = stop.told if fabric.world_size == 1 else looks and _mean(fabric, told).item() > 0
            if looks or stops:
                values = _mean(fabric, torch.stack(losses)).tolist()
                losses.clear()
                _check_losses(values, progress, schedule, optimizer, resume)
                progress.loss += sum(values)
                bar.set_postfix_str(f"loss {values[-1]:.3f}", refresh=False)
            bar.update()
            if epoch_ends or stops:
                progress.seconds += time.monotonic() - started
                _check_weights(network, progress, schedule, optimizer, resume)
                if stops or measure is not None:  # else measure_epoch does so at once
                    keep()
                if stops:
                    sys.exit(128 + signal.SIGTERM)
                measure_epoch()
                network.train()
                started = time.monotonic()
    if not progress.rows or progress.rows[-1]["step"] < schedule.steps:
        raise AssertionError("the loop ended before its last step")
    _write_log(fabric, log, progress.rows)
    if writer is not None:
        writer.close()


@dataclass
class _Progress:
    step: int
    loss: float  # summed over the steps of this epoch
    first: float  # loss of the first step
    seconds: float
    rows: list[dict[str, float]]

    @property
    def measured(self) -> bool:
        """Whether the step is the last of an epoch that has its row."""
        return bool(self.rows) and self.rows[-1]["step"] == self.step


class _Stop:
    """Waits for SIGTERM, as a cluster sends before it takes a node back, and for Ctrl-C."""

    def __init__(self) -> None:
        self.told = self.at_once = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)

    def may_end(self, at_once: bool) -> None:
        """From now on a signal ends the process, also one that has come already; or it only tells."""
        self.at_once = at_once
        if self.told and at_once:
            sys.exit(128 + signal.SIGTERM)

    def _tell(self, number: int, _: object) -> None:
        self.told = True
        if self.at_once:
            sys.exit(128 + number)


def _epoch_ends(step: int, schedule: Schedule) -> bool:
    return step % schedule.epoch_steps == 0 or step == schedule.steps


def _row(progress: _Progress, schedule: Schedule, measure: Callable | None, network: nn.Module) -> dict[str, float]:
    epoch = math.ceil(progress.step / schedule.epoch_steps)
    steps = progress.step - (epoch - 1) * schedule.epoch_steps
    row = {"epoch": epoch, "step": progress.step, "rate": schedule.rate(progress.step - 1)}
    row |= {"loss": progress.loss / steps, "seconds": round(progress.seconds, 2)}
    if measure is not None:
        network.eval()
        with torch.inference_mode():
            row.update(measure(network))
    return row


def _mean(fabric: Fabric, value: Tensor) -> Tensor:
    """A vector, averaged over the processes."""
    return value if fabric.world_size == 1 else fabric.all_reduce(value.to(fabric.device), reduce_op="mean")


def _check_losses(
    values: Sequence[float],
    progress: _Progress,
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
    resume: Path,
) -> None:
    """UserError for the first of the last losses that is not finite or shows that training diverges."""
    first_step = progress.step - len(values) + 1
    if first_step == 1:
        progress.first = values[0]
    limit = DIVERGED * max(progress.first, LEAST_LOSS)
    for step, value in enumerate(values, start=first_step):
        if not math.isfinite(value):
            raise _failure(f"the loss is {value}", step, schedule, optimizer, resume)
        if value > limit:
            what = f"training diverges: the loss is {value:.4g}, at the first step it was {progress.first:.4g}"
            raise _failure(what, step, schedule, optimizer, resume)


def _check_weights(
    network: nn.Module, progress: _Progress, schedule: Schedule, optimizer: torch.optim.Optimizer, resume: Path
) -> None:
    """UserError when the last update has left weights that are not finite: such a state must not be kept."""
    broken = [name for name, weights in network.state_dict().items() if not weights.isfinite().all()]
    if broken:
        raise _failure(f"the weights {broken[0]} are not finite", progress.step, schedule, optimizer, resume)


def _failure(what: str, step: int, schedule: Schedule, optimizer: torch.optim.Optimizer, resume: Path) -> UserError:
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    named = " to ".join(f"{rate:.3g}" for rate in dict.fromkeys([rates[0], rates[-1]]))
    kept = "no state was kept yet"
    if resume.exists():
        kept = f"the last good state, of step {_load(resume)['progress']['step']}, is {resume}"
    advice = "lower lr, a third at a time; use precision 32-true"
    if step == 1:
        advice = "look at the weights it starts from; use precision 32-true"
    where = f"step {step} of {schedule.steps} (learning rate {named})"
    return UserError(resume.with_suffix(".pt"), f"{what} at {where}; {kept}", f"{advice}")


def _keep(fabric: Fabric, network, optimizer, resume: Path, digest: str, progress: _Progress) -> None:
    if fabric.is_global_zero:
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "digest": digest}
        with atomic(resume) as temporary:
            torch.save({**state, "progress": dataclasses.asdict(progress)}, temporary)
    fabric.barrier()


def _load(resume: Path) -> dict[str, Any]:
    """A training state, on the CPU: what takes it copies it to the GPU, but for AdamW's counts of steps.

    AdamW reads these at every step, so that on a GPU each would make it wait.
    """
    try:
        state = torch.load(resume, map_location="cpu", weights_only=True)
        if {*state} != {"network", "optimizer", "digest", "progress"}:
            raise ValueError("it holds other things")
    except Exception as error:
        raise UserError(resume, f"not a readable training state ({reason(error)})", "delete it to start over") from None
    return state


def _restore(fabric: Fabric, network, optimizer, resume: Path, digest: str) -> _Progress:
    state = _load(resume)
    if state["digest"] != digest:
        print(f"{resume} belongs to other settings or inputs: starting over", file=sys.stderr)
        return _Progress(step=0, loss=0.0, first=0.0, seconds=0.0, rows=[])
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"going on from step {state['progress']['step']} of {resume}", file=sys.stderr)
    return _Progress(**state["progress"])


def _write_log(fabric: Fabric, log: Path, rows: list[dict[str, float]]) -> None:
    if fabric.is_global_zero:
        with atomic(log) as temporary, temporary.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(rows[0])
            table.writerows([v if isinstance(v, int) else f"{v:.6g}" for v in row.values()] for row in rows)
