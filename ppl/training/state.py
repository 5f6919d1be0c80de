"""The resumable state of a training: weights, optimiser and progress, in one file."""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic


@dataclass
class Progress:
    """Position of a training, and its log."""

    step: int = 0
    loss: float = 0.0
    """Sum over the steps of this epoch."""
    first: float = 0.0
    """Loss of the first step."""
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    """Rows of the log, one per epoch."""

    @property
    def measured(self) -> bool:
        """Whether the step is the last of an epoch that has its row."""
        return bool(self.rows) and self.rows[-1]["step"] == self.step


@dataclass(frozen=True)
class State:
    """Weights and optimiser of a training, saved to `path` under a `digest` of its settings and inputs."""

    fabric: Fabric
    network: nn.Module
    optimizer: torch.optim.Optimizer
    path: Path
    digest: str

    def save(self, progress: Progress) -> None:
        """Save the state; in a data-parallel training the first process writes and all wait for it."""
        if self.fabric.is_global_zero:
            state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
            with atomic(self.path) as temporary:
                torch.save({**state, "digest": self.digest, "progress": dataclasses.asdict(progress)}, temporary)
        self.fabric.barrier()

    def restore(self) -> Progress:
        """Load the saved state into network and optimiser, if there is one of the same digest; return its progress."""
        if not self.path.exists():
            return Progress()
        state = load(self.path)
        if state["digest"] != self.digest:
            print(f"{self.path} belongs to other settings or inputs: starting over", file=sys.stderr)
            return Progress()
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        print(f"resuming from step {state['progress']['step']} of {self.path}", file=sys.stderr)
        return Progress(**state["progress"])


def load(path: Path) -> dict[str, Any]:
    """Return a saved state on the CPU: loading copies it to the GPU, except AdamW's step counters.

    AdamW reads these at every step, which on a GPU would wait for each. UserError for another file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises anything for a damaged file
        raise UserError(path, f"not a readable training state ({reason(error)})", "delete it to start over") from error
    if not isinstance(state, dict) or {*state} != {"network", "optimizer", "digest", "progress"}:
        raise UserError(path, "not a training state", "delete it to start over")
    return state
