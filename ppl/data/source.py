"""What is known about an experiment's data before they are prepared, asked from the module of its source.

The workflow's own process asks, so no answer decodes a photo. The functions of a module, and what their absence means:
`ppl.data.prepare`. UserError if the source, or a setting of a user's own module, is invalid.
"""

import inspect
from types import ModuleType
from typing import Any

from ppl.data.settings import SOURCES, Data
from ppl.jobs import slots
from ppl.jobs.errors import UserError


def check(data: Data) -> None:
    """Raise UserError, whose place is a key such as `data.folder`, if the source lacks a setting or `prepare`."""
    _ask(data, "check", None)
    if not hasattr(_module(data), "prepare"):
        raise UserError("data.source", f"{data.source} has no function prepare", "docs/extending.md shows one")


def inputs(data: Data) -> list[str]:
    """Return the existing files whose change reruns the preparation, beside the downloaded archives."""
    return _ask(data, "inputs", [], splits(data))


def version(data: Data) -> str:
    """Return a text that changes when the data have to be prepared again although no file of `inputs` has changed."""
    return _ask(data, "version", "", splits(data))


def has_masks(data: Data) -> bool:
    """Return whether the dataset will have masks, so that results can be measured."""
    return _ask(data, "has_masks", False)


def archives(data: Data) -> tuple[str, ...]:
    """Return the names of the archives to download (`ppl.data.sources.download`); a user's own module has none."""
    return () if data.source.startswith(slots.OWN) else _ask(data, "archives", (), splits(data))


def needs_splits(data: Data) -> bool:
    """Return whether the preparation depends on the names of the splits: `prepare` has a parameter for them."""
    return "splits" in inspect.signature(_module(data).prepare).parameters


def splits(data: Data) -> tuple[str, ...]:
    """Return the names of the splits, each once, in alphabetical order."""
    return tuple(sorted(set(data.splits.values())))


def _module(data: Data) -> ModuleType:
    return slots.load(SOURCES, data.source)


def _ask(data: Data, function: str, default: Any, *arguments: Any) -> Any:
    """Call a function of the source with its settings; return `default` if the source does not have it."""
    settings = slots.settings_of(data, "source")
    answer = getattr(_module(data), function, None)
    return default if answer is None else answer(settings, *arguments)
