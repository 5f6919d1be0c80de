"""The poly schedule of learning rates, and the samples of each step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from ppl.training.settings import Training


@dataclass(frozen=True)
class Schedule:
    """A poly schedule over a number of steps; an epoch ends every `epoch_steps`, and at the last step."""

    steps: int
    epoch_steps: int
    batch_size: int
    poly_power: float
    seed: int

    @classmethod
    def of(
        cls, training: Training, length: int, seed: int, *, epochs: int | None = None, steps: int | None = None
    ) -> "Schedule":
        """Return the schedule of a training over `length` samples: of whole epochs, or of a number of steps.

        Samples that do not fill a batch are dropped; with `steps` the last epoch may be shorter.
        """
        epoch_steps = max(1, length // training.batch_size)
        total = epochs * epoch_steps if steps is None else steps
        return cls(total, epoch_steps, training.batch_size, training.poly_power, seed)

    def rate(self, step: int) -> float:
        """Return the factor of the initial learning rates in a step, counted from 0: (1 - step / steps)^poly_power."""
        return (1 - step / self.steps) ** self.poly_power

    def ends_epoch(self, step: int) -> bool:
        """Return whether an epoch ends after `step` steps."""
        return step % self.epoch_steps == 0 or step == self.steps


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
