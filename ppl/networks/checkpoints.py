"""Checkpoints: a network with its settings and code version."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic

Network = TypeVar("Network", bound=nn.Module)
Architecture = TypeVar("Architecture")

MISFITS = (LookupError, TypeError, ValueError, ArithmeticError)
"""Exceptions raised on reading a setting that is missing or of another type."""
REMEDY = "make it again: another version of the code may have written it"
"""For stored settings that this version does not know."""


def save(path: Path, network: nn.Module, *, kind: str, settings: dict[str, Any], code: str, **more: Any) -> None:
    """Write a network with its settings and code version; it loads with `weights_only=True`."""
    content = {"kind": kind, "settings": settings, "code": code, "network": network.state_dict(), **more}
    with atomic(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)  # torch would store the name of a path, and equal networks would differ in bytes


def load(
    path: Path | str,
    kind: str,
    architecture: Callable[[dict[str, Any]], Architecture],
    build: Callable[[Architecture, int], Network],
    classes: Sequence[str] | None = None,
) -> tuple[Network, dict[str, Any]]:
    """Return a trained network in evaluation mode on the CPU, and its checkpoint (`settings`, `classes`, `code`).

    `architecture` returns the settings of the network's shape from the stored ones, by `ppl.jobs.fields.read` with the
    path and the remedy "make it again"; `build` creates the network from these and the number of classes. UserError if
    the file does not contain such a network, or if `classes` differ from those that the network was trained for.
    """
    content = read_content(path, kind)
    if classes is not None and content["classes"] != list(classes):
        raise UserError(path, "trained for other classes than classes.txt names", "train again")
    with reading_settings(path):
        shape = architecture(content["settings"])
    with reading_settings(path, (UserError,)):  # a stride or a backbone that does not exist
        network = build(shape, len(content["classes"]))
    fill(network, content["network"], path)
    return network.eval(), content


def read_content(path: Path | str, kind: str) -> dict[str, Any]:
    """Return the content of a checkpoint of `kind`; UserError for another file, or weights that are not finite."""
    content = read(path, "a readable checkpoint", "make it again by the step that writes it")
    if not isinstance(content, dict) or content.get("kind") != kind:
        actual = content.get("kind") if isinstance(content, dict) else type(content).__name__
        what = f"expected a checkpoint of kind {kind!r}, got {str(actual)[:50]!r}"
        raise UserError(path, what, "name the right file")
    for key, form in {"settings": dict, "classes": list, "network": dict}.items():
        if not isinstance(content.get(key), form):
            raise UserError(path, f"the checkpoint has no {key}", "make it again")
    check_weights(content["network"], path)
    return content


def read(path: Path | str, what: str, remedy: str) -> Any:
    """Return the tensors and plain values that torch has stored, on the CPU; code in the file is not executed.

    UserError when the file is not `what`, with the `remedy`.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(path, error.strerror or str(error), remedy) from error
    except UnpicklingError as error:  # its message recommends executing the file
        raise UserError(path, f"not {what} (damaged, or with objects that could run code)", remedy) from error
    except Exception as error:  # torch's reader raises anything for a damaged file
        raise UserError(path, f"not {what} ({reason(error)})", remedy) from error


def check_weights(weights: Mapping[str, Any], path: Path | str) -> None:
    """Raise UserError unless all values of a state dict are tensors of finite numbers."""
    for name, weight in weights.items():
        try:
            finite = bool(weight.isfinite().all())
        except Exception as error:  # not a tensor, or of a layout for which torch has no isfinite
            raise UserError(path, f"{str(name)[:100]!r} is not a dense tensor", "make it again") from error
        if not finite:
            what = f"the weights {str(name)[:100]!r} are not finite"
            raise UserError(path, what, "train again with a lower learning rate")


@contextmanager
def reading_settings(path: Path | str, errors: tuple[type[Exception], ...] = MISFITS) -> Iterator[None]:
    """Raise UserError if the stored settings of a checkpoint, which the enclosed code reads, are those of other code.

    Catches `errors` alone; by default those of missing keys and of values of another type.
    """
    try:
        yield
    except errors as error:
        why = error.what if isinstance(error, UserError) else reason(error)
        why = f"no {error}" if isinstance(error, KeyError) else why
        raise UserError(path, f"its settings are not those of this code ({why})", "make it again") from error


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path | str) -> None:
    """Load the weights of the checkpoint at `path` into a network; UserError if they are those of another network."""
    try:
        network.load_state_dict(weights)
    except Exception as error:  # torch raises anything for a foreign state dict, whose names may not be texts
        raise UserError(path, f"written by another version of the code ({reason(error)})", "make it again") from error
