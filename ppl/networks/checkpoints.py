"""Checkpoints: a network with the settings and the code version that made it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic


def save(path: Path, network: nn.Module, *, kind: str, settings: dict[str, Any], code: str, **more: Any) -> None:
    """Writes a network with the settings and the code version that made it; loads with `weights_only=True`."""
    content = {"kind": kind, "settings": settings, "code": code, "network": network.state_dict(), **more}
    with atomic(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)  # given a path, torch would store its name too: equal networks, other bytes


def load(path: Path | str, kind: str) -> dict[str, Any]:
    """A checkpoint of `kind` on the CPU; UserError when the file is not one, or its weights are not finite."""
    content = read(path, "a readable checkpoint", "make it again by the step that writes it")
    if not isinstance(content, dict) or content.get("kind") != kind:
        found = content.get("kind") if isinstance(content, dict) else type(content).__name__
        raise UserError(
            path, f"a checkpoint of kind {kind!r} is needed here, this is {str(found)[:50]!r}", "name the right file"
        )
    for key, form in {"settings": dict, "classes": list, "network": dict}.items():
        if not isinstance(content.get(key), form):
            raise UserError(path, f"a checkpoint without {key}", "make it again")
    check_weights(content["network"], path)
    return content


def read(path: Path | str, what: str, remedy: str) -> Any:
    """Tensors and plain values that torch has stored, on the CPU; whatever else a file holds is not executed.

    UserError when it is not `what`, with the `remedy`.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(path, f"{error.strerror or error}", f"{remedy}") from None
    except UnpicklingError:  # whose message advises to run what the file holds
        raise UserError(path, f"not {what} (damaged, or with objects that could run code)", f"{remedy}") from None
    except Exception as error:  # torch raises whatever its reader meets
        raise UserError(path, f"not {what} ({reason(error)})", f"{remedy}") from None


def check_weights(weights: Mapping[str, Any], path: Path | str) -> None:
    """UserError unless all of a state dict are tensors of finite numbers."""
    for name, weight in weights.items():
        try:
            finite = bool(weight.isfinite().all())
        except Exception:  # no tensor, or one of a kind that no network here has
            raise UserError(path, f"{str(name)[:100]!r} is no tensor of weights", "make it again") from None
        if not finite:
            raise UserError(
                path, f"holds weights that are not finite ({str(name)[:100]!r})", "train again at a lower learning rate"
            )


@contextmanager
def rebuilding(path: Path | str) -> Iterator[None]:
    """Turns whatever a network's builder makes of foreign settings into a UserError that names the checkpoint."""
    try:
        yield
    except Exception as error:
        why = f"no {error}" if isinstance(error, KeyError) else reason(error)
        raise UserError(path, f"its settings are not those of this code ({why})", "make it again") from None


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path | str) -> None:
    """Puts the weights of the checkpoint at `path` into a network; UserError when they are those of another one."""
    try:
        network.load_state_dict(weights)
    except Exception as error:  # the names in a foreign state dict may be no text
        raise UserError(path, f"made by another version of the code ({reason(error)})", "make it again") from None
