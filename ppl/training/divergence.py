"""Detection of a diverging training: losses that are not finite or explode, weights that are not finite."""

import math
from collections.abc import Sequence

from ppl.jobs.errors import UserError
from ppl.training import state
from ppl.training.schedule import Schedule
from ppl.training.state import Progress, State

DIVERGENCE_FACTOR = 50  # a training stops when its loss exceeds this multiple of the first loss
MIN_REFERENCE_LOSS = 0.1  # floor of that first loss, for trainings that start from a trained network


def check_losses(losses: Sequence[float], progress: Progress, schedule: Schedule, saved: State) -> None:
    """Raise UserError for the first of the last losses that is not finite or shows divergence.

    `losses` are those of the steps up to `progress.step`. Records the first loss of the training in `progress`.
    """
    first_step = progress.step - len(losses) + 1
    if first_step == 1:
        progress.first = losses[0]
    limit = DIVERGENCE_FACTOR * max(progress.first, MIN_REFERENCE_LOSS)
    for step, loss in enumerate(losses, start=first_step):
        if not math.isfinite(loss):
            raise _failure(f"the loss is {loss}", step, schedule, saved)
        if loss > limit:
            what = f"training diverges: the loss is {loss:.4g}, at the first step it was {progress.first:.4g}"
            raise _failure(what, step, schedule, saved)


def check_weights(progress: Progress, schedule: Schedule, saved: State) -> None:
    """Raise UserError if the last update has left weights that are not finite: such a state must not be saved."""
    for name, weights in saved.network.state_dict().items():
        if not weights.isfinite().all():
            raise _failure(f"the weights {name} are not finite", progress.step, schedule, saved)


def _failure(what: str, step: int, schedule: Schedule, saved: State) -> UserError:
    """Return the error of a step, with its learning rates, the last saved state and advice."""
    rates = sorted({group["lr"] for group in saved.optimizer.param_groups})
    rates = " to ".join(f"{rate:.3g}" for rate in dict.fromkeys([rates[0], rates[-1]]))
    resumable = "no resumable state yet"
    if saved.path.exists():
        resumable = f"the last good state, of step {state.load(saved.path)['progress']['step']}, is {saved.path}"
    remedy = "try a three times smaller lr, or hardware.precision: 32-true"
    if step == 1:
        remedy = "check the weights that it starts from, or try hardware.precision: 32-true"
    where = f"step {step} of {schedule.steps} (learning rate {rates})"
    return UserError(saved.path.with_suffix(".pt"), f"{what} at {where}; {resumable}", remedy)
