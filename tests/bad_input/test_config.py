"""The reader of the configuration: one line that names the key for every value of a wrong type or range."""

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ppl.experiment.settings import Experiment
from ppl.jobs.errors import UserError
from ppl.jobs.fields import adapter
from ppl.workflow import config

REPOSITORY = Path(__file__).parents[2]
CONFIG = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
DEMO = CONFIG["experiments"]["demo"]
SCHEMA = adapter(Experiment).json_schema()
OTHER_TYPES = ["text", "", None, True, [], {}, {"nested": {"deep": 1}}, 7, 0.5, math.nan, math.inf, [[1]], 10**400]


def leaves(section: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    """All keys that hold a value, with the schema of the value."""
    for key, part in section["properties"].items():
        if "$ref" in part:
            yield from leaves(SCHEMA["$defs"][part["$ref"].rpartition("/")[2]], (*path, key))
        elif part.get("type") != "object":
            yield (*path, key), part


def is_valid(value: Any, form: Mapping[str, Any]) -> bool:
    """Whether a value is valid for a key: stricter than the schema for strings, for NaN, and for 8.0 as an integer."""
    if "anyOf" in form:
        return any(is_valid(value, choice) for choice in form["anyOf"])
    kind = form.get("type", "string")
    if "nan" in repr(value) or (kind == "integer" and isinstance(value, float)):
        return False
    other_text = kind == "string" and "enum" not in form and value != "text"
    return not other_text and jsonschema.Draft202012Validator(form).is_valid(value)


def wrong_values(form: Mapping[str, Any]) -> list[Any]:
    """Values of another type, or out of range and of the right type or nearly."""
    if "anyOf" in form:
        return [value for choice in form["anyOf"] for value in wrong_values(choice) if not is_valid(value, form)]
    kind, values = form.get("type", "string"), [*OTHER_TYPES]
    if "enum" in form:
        values += ["none of them", -8, *(v.swapcase() if isinstance(v, str) else v + 1 for v in form["enum"])]
    elif kind in ("number", "integer"):
        values += [-1, -1e-9, -(10**30), 10**30, -math.inf, "1", "1e-4", "0x10", 1e300, 1.5, 8.0, "8"]
        values += [form[bound] + by for bound in form if "imum" in bound for by in (-1, 0, 1)]
    elif kind == "string":
        values += ["-dash", "two\nlines", "a\0b", "\n"]
    elif kind == "array":
        values += [[None], [{}], ["text", 3], [True, False], [[1, 2]], [math.nan, 1], list(range(1, 2000)), "1, 2"]
        values += [
            [value] * max(1, form.get("minItems", 1))
            for value in wrong_values(form.get("items") or form["prefixItems"][0])
        ]
    return [value for value in values if not is_valid(value, form)]


KEYS = {".".join(path): form for path, form in leaves(SCHEMA)}


def with_section(key: str, change: Callable[[dict, str], None]) -> dict[str, Any]:
    """A configuration of one experiment, with the section of one key changed."""
    changed = copy.deepcopy(DEMO)
    *sections, last = key.split(".")
    change(reduce(lambda section, name: section.setdefault(name, {}), sections, changed), last)
    return {"experiments": {"mine": changed}}


def with_value(key: str, value: Any) -> dict[str, Any]:
    """A configuration of one experiment, with one key set."""
    return with_section(key, lambda section, last: section.update({last: value}))


def refusal(content: Any) -> str:
    """The line in which a configuration is refused."""
    with pytest.raises(UserError) as error:
        config.resolve(content)
    text = str(error.value)
    assert re.fullmatch("configuration: .*; .*", text)
    assert text.isprintable()  # one line
    assert len(text) < 600
    return text


def test_the_configuration_of_the_fixtures_is_valid():
    assert config.resolve({"experiments": {"mine": DEMO}}).keys() == {"mine"}


def test_every_key_is_tried():
    assert len(KEYS) > 130


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_value_is_named_by_its_key(key):
    values = wrong_values(KEYS[key])
    assert len(values) >= 2
    for value in values:
        print(repr(value))  # shown if the test fails
        assert f"experiments.mine.{key}" in refusal(with_value(key, value))


SECTIONS = sorted({".".join(path[:n]) for path, _ in leaves(SCHEMA) for n in range(1, len(path))})


@pytest.mark.parametrize("value", [None, 5, "text", [], [1], True, math.nan], ids=str)
@pytest.mark.parametrize("section", SECTIONS)
def test_a_value_in_place_of_a_section_is_named(section, value):
    assert f"experiments.mine.{section}" in refusal(with_value(section, value))


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("key", ["unknown", "a\nb", "", 5, None, True, 1.5])
def test_an_unknown_key_is_named(section, key):
    text = refusal(with_section(f"{section}.unknown", lambda inside, _: inside.update({key: 1})))
    assert f"experiments.mine.{section}" in text
    assert ("unknown key" if isinstance(key, str) else "keys must be text") in text


TABLE = {"variants": ["baseline/plain"], "measures": ["seed"]}
FIGURE = {"shows": "cams", "variants": ["baseline/plain"]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("tables", value) for value in (None, [], "I", 5, [TABLE], {"I": None}, {"I": []}, {"I": "seed"}, {"I": {}})),
        *(("tables", {name: TABLE}) for name in ("a b", "a/b", "", "-a", "..", "I\n", 1, None, True, "I" * 200)),
        *(("tables", {"I": TABLE | {"variants": v}}) for v in ([], None, "baseline/plain", [1], ["plain"], ["a/b/c/d"],
          ["baseline/plain"] * 2, ["magic/s4k2"], ["baseline/plain\n"])),
        *(("tables", {"I": TABLE | {"measures": v}}) for v in ([], None, "seed", ["miou"], ["seed", "seed"], [1])),
        *(("tables", {"I": TABLE | {"per_class": v}}) for v in (None, 1, "yes", [], {})),
        ("tables", {"I": TABLE | {"more": 1}}),
        *(("figures", value) for value in (None, [], "I", {"1": None}, {"1": {}}, {"a b": FIGURE}, {1: FIGURE})),
        *(("figures", {"1": FIGURE | {"shows": v}}) for v in (None, "CAMs", "", ["cams"], 1)),
        *(("figures", {"1": FIGURE | {"variants": v}}) for v in ([], None, "baseline/plain", ["no/baseline/plain"])),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_table_or_figure_is_named(key, value):
    assert f"experiments.mine.{key}" in refusal(with_value(key, value))


@pytest.mark.parametrize("key", ["main", "compare"])
@pytest.mark.parametrize("value", [
    "explicit/s9k1", "explicit/s4k1", "explicit/s4k99", "explicit/plain", "baseline/s4k2", "magic/s4k2",
    "explicit/s4k2-s3k2", "explicit/s4k2-s4k2", "explicit/s04k2", "explicit", "explicit/s4k2/more", "../s4k2",
    "explicit/s4k2\n", "Explicit/s4k2", " explicit/s4k2", "",
])  # fmt: skip
def test_an_invalid_variant_is_named(key, value):
    assert f"experiments.mine.{key}" in refusal(with_value(key, [value] if key == "compare" else value))


@pytest.mark.parametrize("key", ["train_split", "seed_split", "val_split", "test_split"])
@pytest.mark.parametrize(
    "value", ["../x", "a/b", "a b", "-out", ".hidden", "train\n", "", "é", "a" * 101, "$(id)", 2012]
)
def test_an_invalid_split_is_named(key, value):
    assert f"experiments.mine.data.{key}" in refusal(with_value(f"data.{key}", value))


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "..", ".", "-", "a\n", "a.b", 5, None, True, 1.5, "a" * 101, "$(id)"]
)
def test_an_invalid_name_of_an_experiment_is_refused(name):
    assert "invalid experiment name" in refusal({"experiments": {name: DEMO}})


@pytest.mark.parametrize("value", [[], [1], "text", 5, 0, False, math.nan], ids=str)
@pytest.mark.parametrize("part", ["defaults", "experiments", "experiments.mine"])
def test_another_value_than_a_part_of_a_configuration_is_refused(part, value):
    content = {"defaults": DEMO, "experiments": {"mine": {}}}
    if part == "experiments.mine":
        content["experiments"]["mine"] = value
    else:
        content[part] = value
    assert part in refusal(content)


def test_a_recursive_configuration_is_refused():
    text = "experiments:\n  mine: &here\n    cam: {maps: *here}\n"
    content = yaml.load(text, yaml.SafeLoader)
    assert "experiments.mine" in refusal({"defaults": DEMO, **content})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inside: st.one_of(st.lists(inside, max_size=3), st.dictionaries(st.text(max_size=8), inside, max_size=3)),
    max_leaves=6,
)


@given(JSON)
@example([])
@example({})
@settings(max_examples=60)
def test_arbitrary_content_is_refused(content):
    refusal(content)


@given(st.sampled_from([*KEYS]), JSON)
@settings(max_examples=150)
def test_an_arbitrary_value_is_accepted_or_refused_in_one_line(key, value):
    try:
        assert config.resolve(with_value(key, value))
    except UserError as error:
        text = str(error)
        assert re.fullmatch(".*experiments.mine.*", text)
