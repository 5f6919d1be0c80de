"""The network of `refine.network`: its module, its settings, and its checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ppl.jobs import slots
from ppl.jobs.errors import UserError
from ppl.jobs.fields import read
from ppl.networks import checkpoints
from ppl.refine.settings import Refine

KIND = "refiner"


def entry_of(refine: Refine) -> tuple[ModuleType, Any]:
    """Return the module of the network that `refine.network` names, and its settings; UserError for `none`."""
    where, name, entries = "refine.network", refine.network, slots.slots_of(Refine)["network"]
    if slots.module_of(entries, name) is None:
        raise UserError(where, f"{name!r} has no network", "name a network, or use ppl.refine.crf_seeds")
    entry, settings = slots.load(entries, name), slots.settings_of(refine, "network")
    if settings is None:
        raise UserError(where, f"{name} has no class Settings", "define it as docs/extending.md describes")
    return entry, settings


def stored(refine: Refine) -> dict[str, Any]:
    """Return the settings in a checkpoint: the name of the network, and its settings without those of the walk."""
    _, settings = entry_of(refine)
    return {"network": refine.network, "settings": {k: v for k, v in slots.used(settings).items() if k != "walk"}}


def trained(values: Mapping[str, Any], path: Path) -> Refine:
    """Return the section whose `stored` values the checkpoint at `path` contains; settings of the walk are defaults."""
    network = read(Refine, {"network": values["network"]}, path, checkpoints.REMEDY).network
    key = slots.family(slots.slots_of(Refine)["network"], network).removesuffix("/")
    return read(Refine, {"network": network, key: values["settings"]}, path, checkpoints.REMEDY)


def load(
    path: Path, *, network: str | None = None, classes: Sequence[str] | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a trained network in evaluation mode on the CPU, and its checkpoint, as `checkpoints.load` does.

    UserError also for a network other than `network`, a value of `refine.network`.
    """

    def architecture(values: Mapping[str, Any]) -> Refine:
        refine = trained(values, path)
        if network not in (None, refine.network):
            what = f"its network is {refine.network!r}, refine.network is {network!r}"
            raise UserError(path, what, "name the checkpoint of the other network, or make it again")
        return refine

    def build(refine: Refine, _: int) -> nn.Module:
        entry, settings = entry_of(refine)
        return entry.build(settings, "none")

    return checkpoints.load(path, KIND, architecture, build, classes)
