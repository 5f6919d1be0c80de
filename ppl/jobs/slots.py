"""Slots: the parts of the method that people swap, each a plain dict from an entry's name to its module.

A slot is a field `Annotated[str, Slot(ENTRIES)]` of a section. `ENTRIES` maps names to modules, which are imported on
use only, so that a step imports, and its code hash covers, no entry but its own. A name that ends in a slash is a
family: `timm/` has all names such as `timm/resnet50d`. Every slot has `own/`: `own/my_module` is the module
`my_module` of the user, in the folder that the workflow runs in or on Python's path. docs/extending.md tells what the
module of each slot contains.

The settings of an entry are the field of the section that has the entry's name (that of its family without the slash),
if there is one; those of `own/` are those of the module's `Settings`.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

from ppl.jobs.errors import UserError, reason
from ppl.jobs.fields import Check, Section, plain, read

OWN = "own/"
LOADED: set[str] = set()
"""Modules of the entries that this process has used, for the records of its outputs."""
Entries = Mapping[str, str | None]
"""From an entry's name to its module; None for an entry that is nothing but a name, such as `none`."""


class Slot(Check):
    """A field that names an entry; with `own`, also a module of the user, which needs the names `needs`."""

    def __init__(self, entries: Entries, *, needs: Sequence[str] = (), own: bool = True) -> None:
        self.entries, self.needs = {**entries, OWN: None} if own else entries, needs
        names = "|".join(f"{name}.+" if name.endswith("/") else name for name in self.entries)
        self.schema = {"pattern": f"^({names})$"}

    def fault(self, name: str) -> str | None:
        try:
            module_of(self.entries, name)
        except UserError as error:
            return f"{error.what}; {error.remedy}"
        return None


def family(entries: Entries, name: str) -> str:
    """Return the key of an entry: its name, or its family's with the slash. UserError for a name without an entry."""
    first, slash, rest = name.partition("/")
    key = first + slash
    if key in entries and bool(slash) == bool(rest):
        return key
    known = ", ".join(f"{entry}NAME" if entry.endswith("/") else entry for entry in entries)
    raise UserError(repr(name), f"unknown name {name!r}", f"choose one of {known}")


def module_of(entries: Entries, name: str) -> str | None:
    """Return the module of an entry; UserError for a name without an entry, or of an own module that does not exist."""
    key = family(entries, name)
    if key != OWN:
        return entries[key]
    module = name.removeprefix(OWN)
    if not all(part.isidentifier() for part in module.split(".")):
        remedy = "write own/MODULE without .py, and own/FOLDER.MODULE for one in a folder"
        raise UserError(repr(name), f"{module!r} is not the name of a module", remedy)
    _find_own_modules()
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        what, folder = f"there is no module {module!r}", os.getcwd()
        raise UserError(repr(name), what, f"write {module.replace('.', '/')}.py in {folder}, or set PYTHONPATH")
    return module


def load(entries: Entries, name: str) -> ModuleType:
    """Import and return the module of an entry, or of the user."""
    module = module_of({**entries, OWN: None}, name)
    if module is None:
        raise UserError(repr(name), "has no code", "choose another entry")
    LOADED.add(module)
    if module in entries.values():
        return importlib.import_module(module)
    try:
        return importlib.import_module(module)
    except Exception as error:  # of the user's code, which Snakemake's process imports too
        line = traceback.extract_tb(error.__traceback__)[-1]
        place = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (line.filename, line.lineno)
        what = f"{name} cannot be imported ({type(error).__name__}: {reason(error)})"
        raise UserError(f"{place[0]}, line {place[1]}", what, "correct the module") from error


def settings_of(section: Any, slot: str) -> Any:
    """Return the settings of the entry that the field `slot` of a section names; None if it has none."""
    name, entries = getattr(section, slot), slots_of(type(section))[slot]
    key = family(entries, name)
    values = getattr(section, key.removesuffix("/"), None)
    if key != OWN:
        return values
    kind = getattr(load(entries, name), "Settings", None)
    if kind is None and values:
        raise UserError(f"{key.removesuffix('/')}", f"{name} has no class Settings", "remove its settings")
    if kind is not None and not issubclass(kind, Section):  # another dataclass would ignore unknown keys
        what = f"the class Settings of {name} is not a ppl.jobs.fields.Section"
        raise UserError(key.removesuffix("/"), what, "derive it from Section")
    return read(kind, values, key.removesuffix("/"), f"{name} declares its settings") if kind else None


def slots_of(kind: type) -> dict[str, Entries]:
    """Return the entries of each slot among the fields of a section."""
    return {name: slot.entries for name, slot in _slots(kind).items()}


@cache
def _slots(kind: type) -> dict[str, Slot]:
    """Return the slot of each field of a section that is one."""
    hints = get_type_hints(kind, include_extras=True)
    of_fields = {field.name: getattr(hints[field.name], "__metadata__", ()) for field in fields(kind)}
    return {name: part for name, parts in of_fields.items() for part in parts if isinstance(part, Slot)}


def used(section: Any) -> dict[str, Any]:
    """Return a section as nested plain values, without the settings of entries that its slots do not name."""
    entries = slots_of(type(section))
    named = {family(table, getattr(section, slot)).removesuffix("/") for slot, table in entries.items()}
    others = {name.removesuffix("/") for table in entries.values() for name in table} - named
    values = {}
    for field in fields(section):
        value = getattr(section, field.name)
        if field.name not in others or not (is_dataclass(value) or isinstance(value, Mapping)):
            values[field.name] = used(value) if is_dataclass(value) else plain(value)
    return values


class Named(NamedTuple):
    """An entry that a field of a section names: the field's key, its slot, the entry's name, and the section."""

    key: str
    slot: Slot
    name: str
    section: Any

    @property
    def family(self) -> str:
        """The entry's key in its slot."""
        return family(self.slot.entries, self.name)

    @property
    def settings(self) -> Any:
        """The settings of the entry, as `settings_of`."""
        return settings_of(self.section, self.key.rpartition(".")[2])


def entries_named(section: Any, above: str = "") -> Iterator[Named]:
    """Yield the entries that a section, and those within it, name; `above` is the section's key with a dot."""
    slots, in_use = _slots(type(section)), used(section)
    for field in fields(section):
        value = getattr(section, field.name)
        if field.name in slots:
            yield Named(f"{above}{field.name}", slots[field.name], value, section)
        elif is_dataclass(value) and field.name in in_use:
            yield from entries_named(value, f"{above}{field.name}.")


def modules_used(section: Any) -> Iterator[str]:
    """Yield the modules of all entries that a section, and those within it, name."""
    modules = (module_of(named.slot.entries, named.name) for named in entries_named(section))
    yield from filter(None, modules)


def check_own(section: Any, above: str) -> None:
    """Raise UserError if a user's own module, which a section or one within it names, is not what its slot needs.

    `above` is the section's key with a dot. Checked are the module, its names, and its settings.
    """
    for named in entries_named(section, above):
        if named.family != OWN:
            continue
        module = load(named.slot.entries, named.name)
        if missing := [name for name in named.slot.needs if not hasattr(module, name)]:
            what = f"{named.name} has no {missing[0]}"
            raise UserError(named.key, what, "docs/extending.md describes the module")
        if hasattr(named.section, OWN.removesuffix("/")):
            try:
                _ = named.settings
            except UserError as error:
                where = f"{named.key.rpartition('.')[0]}.{error.where}"
                raise UserError(where, error.what, error.remedy) from error


def _find_own_modules() -> None:
    """Let Python find modules in the working directory: last, so that none of them replaces another."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
