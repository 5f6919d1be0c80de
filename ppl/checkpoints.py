"""Checkpoints: a network with the settings and the code version that made it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppl.files import UserError, atomic


def save(path: Path, network: nn.Module, *, kind: str, settings: dict[str, Any], code: str, **more: Any) -> None:
    """Writes a network with the settings and the code version that made it; loads with `weights_only=True`."""
    content = {"kind": kind, "settings": settings, "code": code, "network": network.state_dict(), **more}
    with atomic(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)  # given a path, torch would store its name too: equal networks, other bytes


def load(path: Path | str, kind: str) -> dict[str, Any]:
    """A checkpoint of `kind` on the CPU; UserError when the file is not one."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; it is written by an earlier step") from None
    except Exception as error:
        raise UserError(f"{path}: not a readable checkpoint ({str(error).splitlines()[0]}); make it again") from None
    if not isinstance(content, dict) or content.get("kind") != kind:
        found = content.get("kind") if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: a checkpoint of kind {kind!r} is needed here, this is {found!r}")
    return content


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path | str) -> None:
    """Puts the weights of the checkpoint at `path` into a network; UserError when they are those of another one."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise UserError(f"{path}: made by another version of the code ({reason[:100]}); make it again") from None
