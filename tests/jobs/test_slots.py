"""Slots: names of entries, families and own modules; settings of the chosen entry."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from ppl.jobs import slots
from ppl.jobs.errors import UserError
from ppl.jobs.fields import Section, read
from ppl.jobs.slots import Slot, family, load, module_of, modules_used, settings_of, used

ENTRIES = {"one": "json", "two": "csv", "many/": "string", "none": None}


@dataclass(frozen=True, kw_only=True)
class One(Section):
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Many(Section):
    size: int = 3


@dataclass(frozen=True, kw_only=True)
class Part(Section):
    name: Annotated[str, Slot(ENTRIES)] = "one"
    one: One = One()
    many: Many = Many()
    own: dict[str, Any] = field(default_factory=dict)
    other: int = 5


@dataclass(frozen=True, kw_only=True)
class Whole(Section):
    kind: Annotated[str, Slot({"a": "html"}, own=False)] = "a"
    part: Part = Part()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module in the working directory, whose settings have a field `size`."""
    (tmp_path / "own_entry.py").write_text(
        "from dataclasses import dataclass\nfrom ppl.jobs.fields import Count, Section\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Settings(Section):\n    size: Count = 9\n"
    )
    monkeypatch.syspath_prepend(tmp_path)  # restores the path, which the slot extends, afterwards
    monkeypatch.chdir(tmp_path)
    return "own/own_entry"


@pytest.mark.parametrize(
    ("name", "key"), [("one", "one"), ("none", "none"), ("many/x", "many/"), ("many/x/y", "many/")]
)
def test_a_name_has_one_entry(name: str, key: str) -> None:
    assert family(ENTRIES, name) == key
    assert module_of(ENTRIES, name) == ENTRIES[key]
    assert read(Part, {"name": name}, "here", "mend it").name == name


@pytest.mark.parametrize(
    "name", ["", "three", "many", "many/", "one/x", "/", "/x", "own/", "own/absent_module", "own/.."]
)
def test_a_name_without_an_entry_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"^here: name: [^\n]*; mend it$") as error:
        read(Part, {"name": name}, "here", "mend it")
    assert "\n" not in str(error.value)


def test_known_names_are_listed_and_own_modules_only_where_allowed() -> None:
    with pytest.raises(UserError, match="unknown name 'three'; choose one of one, two, many/NAME, none"):
        module_of(ENTRIES, "three")
    with pytest.raises(UserError, match="kind: unknown name 'own/json'; choose one of a;"):
        read(Whole, {"kind": "own/json"}, "here", "mend it")


def test_an_entry_without_code_cannot_be_loaded() -> None:
    assert load(ENTRIES, "two").__name__ == "csv"
    with pytest.raises(UserError, match="has no code"):
        load(ENTRIES, "none")


def test_own_modules_are_found_in_the_working_directory(own: str) -> None:
    assert read(Part, {"name": own}, "here", "mend it").name == own
    assert load(ENTRIES, own).__name__ == "own_entry"
    assert settings_of(Part(name=own), "name").size == 9
    assert settings_of(Part(name=own, own={"size": 2}), "name").size == 2
    for values in ({"size": 0}, {"length": 1}):
        with pytest.raises(UserError, match=r"own: (size|length): "):
            settings_of(Part(name=own, own=values), "name")


def test_settings_of_a_module_that_declares_none_are_refused() -> None:
    assert settings_of(Part(name="own/json"), "name") is None
    with pytest.raises(UserError, match="no class Settings"):
        settings_of(Part(name="own/json", own={"a": 1}), "name")


@pytest.mark.parametrize(("name", "size"), [("one", 1), ("many/x", 3), ("two", None), ("none", None)])
def test_only_the_settings_of_the_chosen_entry_are_used(name: str, size: int | None) -> None:
    section = Part(name=name)
    assert getattr(settings_of(section, "name"), "size", None) == size
    sections = {name.partition("/")[0]: {"size": size}} if size else {}
    assert used(section) == {"name": name, "other": 5, **sections}
    assert used(Whole(part=section)) == {"kind": "a", "part": used(section)}


def test_modules_of_all_chosen_entries_are_used(own: str) -> None:
    assert list(modules_used(Whole())) == ["html", "json"]
    assert list(modules_used(Whole(part=Part(name="none")))) == ["html"]
    assert list(modules_used(Whole(part=Part(name=own)))) == ["html", "own_entry"]
    assert slots.slots_of(Part)["name"].keys() == {*ENTRIES, "own/"}
