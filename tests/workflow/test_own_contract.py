"""A user's own module that is not what its slot needs is refused in one line, before any job where that is possible."""

from pathlib import Path

import pytest

from ppl.jobs.errors import UserError
from ppl.workflow import config

SLOTS = {
    "data": "source",
    "cam": "method",
    "refine": "network",
    "segment": "network",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of the user; its name is new in each test, as modules stay imported."""
    monkeypatch.chdir(tmp_path)

    def put(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return f"own/{name}"

    return put


def refusal(section: str, slot: str, name: str) -> str:
    """The line in which a configuration that names a module is refused."""
    settings = {"data": {"source": "demo"}}
    settings = config.overlay(settings, {section: {slot: name}})
    with pytest.raises(UserError) as error:
        config.resolve({"experiments": {"mine": settings}})
    text = str(error.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize(("section", "needed"), [
    ("data", "prepare"), ("cam", "raw_maps"), ("refine", "NAME"), ("segment", "build"),
])  # fmt: skip
def test_a_module_without_what_the_slot_needs_is_refused_before_any_job(write, section, needed):
    slot = SLOTS[section]
    text = refusal(section, slot, write(f"empty_{section}", ""))
    assert text.startswith(f"configuration: experiments.mine.{section}.{slot}: own/empty_{section} has no {needed}; ")


def test_a_backbone_without_build_is_refused_before_any_job(write):
    name = write("empty_backbone", "")
    text = refusal("classify", "architecture", {"backbone": name})
    assert "experiments.mine.classify.architecture.backbone: own/empty_backbone has no build; " in text


@pytest.mark.parametrize(("code", "line", "what"), [
    ("\ndef raw_maps(:\n", 2, "SyntaxError"),
    ("import nowhere_at_all\n", 1, "No module named 'nowhere_at_all'"),
    ("x = 1\nx.y\n", 2, "AttributeError"),
])  # fmt: skip
def test_a_module_that_cannot_be_imported_is_named_with_its_line(write, code, line, what):
    name = write(f"broken_{line}_{len(code)}", code)
    text = refusal("cam", "method", name)
    assert f"{name.removeprefix('own/')}.py, line {line}: {name} cannot be imported (" in text
    assert what in text


@pytest.mark.parametrize("name", ["own/lab/cam", "own/cam.py/", "own/./cam", "own/a-b", "own/"])
def test_what_is_no_name_of_a_module_is_refused(name):
    assert "experiments.mine.cam.method: " in refusal("cam", "method", name)


def test_settings_that_are_no_section_are_refused_at_their_key(write):
    name = write("plain_settings", "class Settings: pass\ndef raw_maps(*_): pass\n")
    assert "experiments.mine.cam.own: the class Settings of own/plain_settings is not a" in refusal(
        "cam", "method", name
    )
