"""Parameters of rules: the command-line flags of settings, and the code of entries, that a job depends on.

Settings are named by dotted keys of the configuration, which are the names of the flags too. In a key, `{network}` is
the entry that the field `network` names: `refine.{network}.walk` is `refine.irnet.walk` of an experiment with IRNet.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ppl.classify import variants
from ppl.classify.settings import Classify, PatchTraining, Training
from ppl.experiment.settings import Experiment as Settings
from ppl.jobs.code_hash import code_hash
from ppl.jobs.fields import plain
from ppl.jobs.slots import OWN, family, module_of, modules_used, settings_of, slots_of, used
from ppl.refine.settings import WALKS


def flags(settings: Settings, *keys: str, without: str = "") -> str:
    """Return the command-line flags of settings, as shell text that does not depend on the order in a file.

    A section `without` within those of the keys is left out.
    """
    return " ".join(part for key in keys for part in _flags(*_find(settings, key), without))


def code(settings: Settings, module: str, *keys: str) -> str:
    """Return the digest of the code of a module and of all entries that the settings of these keys name."""
    return code_hash(module, *(entry for key in keys for entry in _modules(settings, key)))


def walk_code(settings: Settings) -> str:
    """Return the digest of the code of the walk of an experiment's refinement network."""
    return code_hash(module_of({**WALKS, OWN: None}, settings.refine.network))


def training(classify: Classify, method: str, grids: str) -> Training:
    """Return the training of a variant's classifier, as far as it concerns the variant.

    `keep_classifier` becomes the variant's method if it is listed and the variant has an earlier classifier, else
    empty: other methods in the list do not concern it. UserError if there is no such variant.
    """
    section = classify.training_of(method)
    keeps = method in section.keep_classifier and variants.start(method, grids) is not None
    return replace(section, keep_classifier=(method,) if keeps else ())


def training_flags(classify: Classify, method: str, grids: str) -> str:
    """Return the command-line flags of the training of a variant's classifier."""
    section = training(classify, method, grids)
    key = "patch_training" if isinstance(section, PatchTraining) else "training"
    return " ".join(_flags(f"classify.{key}", section, ""))


def _flags(name: str, value: Any, without: str) -> Iterator[str]:
    if is_dataclass(value):
        in_use = used(value)
        for field in fields(value):
            if field.name in in_use and field.name != without:
                yield from _flags(f"{name}.{field.name}", getattr(value, field.name), without)
    elif isinstance(value, Mapping):  # settings of a user's own module
        if value := {key: part for key, part in value.items() if key != without}:
            yield f"--{name} {shlex.quote(json.dumps(value, sort_keys=True))}"
    elif value is not None:
        values = plain(value) if isinstance(value, tuple | list) else [plain(value)]
        yield " ".join([f"--{name}", *(shlex.quote(str(part)) for part in values)])


def _find(settings: Settings, key: str) -> tuple[str, Any]:
    """Return the name and the value of a key; None for the section of an entry that has none."""
    value: Any = settings
    names: list[str] = []
    for part in key.split("."):
        if part.startswith("{"):
            slot = part[1:-1]
            part = family(slots_of(type(value))[slot], getattr(value, slot)).removesuffix("/")
        value = getattr(value, part, None)
        names.append(part)
    return ".".join(names), value


def _modules(settings: Settings, key: str) -> Iterator[str]:
    """Yield the modules of the entries that a setting, or the slots of a section, name."""
    above, _, last = key.rpartition(".")
    section = _find(settings, above)[1] if above else settings
    value = _find(settings, key)[1]
    if isinstance(value, Mapping) and last.startswith("{"):  # of a user's own module, whose `Settings` may have slots
        value = settings_of(section, last[1:-1])
    if is_dataclass(value):
        yield from modules_used(value)
    elif (entries := slots_of(type(section)).get(last)) and (module := module_of(entries, value)):
        yield module
