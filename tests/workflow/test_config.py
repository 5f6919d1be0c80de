"""Configuration: one vocabulary for file, schema and steps; one line per mistake; settings as safe flags."""

import copy
import dataclasses
import functools
import operator
import pkgutil
import re
import shlex
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError
from ppl.networks import backbones
from ppl.workflow import config

REPOSITORY = Path(__file__).parents[2]
SCHEMA_FILE = REPOSITORY / "workflow" / "schemas" / "config.schema.yaml"
SCHEMA = yaml.safe_load(SCHEMA_FILE.read_text())
CONFIG = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
SECTIONS = {
    key: pkgutil.resolve_name(f"ppl.{settings}")
    for key, settings in {
        "classify.architecture": "classify.build:Architecture",
        "classify.training": "classify.train:Training",
        "cam.maps": "cam.export:Cams",
        "refine.confident": "refine.reliable:Reliable",
        "refine.irnet": "refine.train_irnet:Training",
        "refine.affinitynet": "refine.train_affinitynet:Training",
        "refine.walk": "refine.pseudo:Walk",
        "refine.pairwise": "crf.dense:Pairwise",
        "segment.architecture": "segment.build:Architecture",
        "segment.training": "segment.train:Training",
        "segment.pairwise": "crf.dense:Pairwise",
    }.items()
}


def within(settings: dict[str, Any], key: str) -> Any:
    return functools.reduce(operator.getitem, key.split("."), settings)


def schema_of(key: str) -> dict[str, Any]:
    return within(SCHEMA, "properties." + key.replace(".", ".properties."))


def with_change(key: str, value: Any) -> dict[str, Any]:
    """The repository's configuration with one key of the demo changed."""
    changed = copy.deepcopy(CONFIG)
    *sections, last = key.split(".")
    section = changed["experiments"]["demo"]
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return changed


def resolve(configuration: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return config.resolve(configuration, SCHEMA_FILE)


def refused(message: str):
    """Expect a UserError of one line that contains the message."""
    return pytest.raises(UserError, match=rf"\A.*{re.escape(message)}.*\Z")  # `.` matches no line break


@pytest.mark.parametrize(("key", "settings"), SECTIONS.items())
def test_a_section_holds_the_settings_of_its_step(key, settings):
    fields = {field.name for field in dataclasses.fields(settings)} - {"seed"}  # each training gets the experiment's
    defaults, schema = within(CONFIG["defaults"], key), schema_of(key)
    assert set(defaults) == set(schema["properties"]) == set(schema["required"]) == fields
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("key", "settings"), [*SECTIONS.items(), ("hardware", Hardware)])
def test_choices_of_the_schema_are_those_of_the_step(key, settings):
    for name, kind in typing.get_type_hints(settings).items():
        if typing.get_origin(kind) is typing.Literal or name == "backbone":
            choices = backbones.BUILDERS if name == "backbone" else typing.get_args(kind)
            assert set(schema_of(key)["properties"][name]["enum"]) == set(choices)


def test_patch_training_has_the_keys_of_training():
    training, patch_training = schema_of("classify.training"), schema_of("classify.patch_training")
    assert patch_training["properties"].keys() == training["properties"].keys()


def test_every_experiment_of_the_repository_is_valid():
    assert resolve(CONFIG).keys() == CONFIG["experiments"].keys()
    overlaid = CONFIG
    for file in ("config/small.yaml", "benchmarks/animals.yaml"):
        overlaid = config.overlay(overlaid, yaml.safe_load((REPOSITORY / file).read_text()))
    assert resolve(overlaid).keys() == {*CONFIG["experiments"], "animals"}


@pytest.mark.parametrize(("key", "value", "message"), [
    ("cam.threshold", 2, "experiments.demo.cam.threshold: 2 is greater than the maximum of 1"),
    ("cam.treshold", 0.3, "demo.cam: Additional properties are not allowed ('treshold' was unexpected)"),
    ("data.size", "big", "experiments.demo.data.size: 'big' is not of type 'integer'"),
    ("segment.training.steps", 0, "experiments.demo.segment.training.steps: 0 is less than the minimum of 1"),
    ("segment.training.lr", "2.5e-4x", "experiments.demo.segment.training.lr: '2.5e-4x' is not of type 'number'"),
    ("classify.training.long_side", [176, 112], "long_side: 176 is greater than 112; write the smaller number"),
    ("segment.training.scale", [1.5, 0.5], "segment.training.scale: 1.5 is greater than 0.5"),
    ("refine.irnet.scale", [2, 1], "refine.irnet.scale: 2 is greater than 1"),
    ("refine.confident", {"foreground": 0.2, "background": 0.4}, "background 0.4 is greater than foreground 0.2"),
    ("refine.network", "affinitynet", "refine.walk.background: 0.5 is a score"),  # the demo's is IRNet's
    ("main", "explicit/s9k1", "'s9k1' is not a grid"),
    ("compare", ["baseline/s4k6"], "`plain` belongs to the baseline"),
    ("compare", ["implicit/s4k6-s2k2"], "name each stage once, in ascending order"),
    ("data.source", "folder", "source folder needs path"),
    ("data.train_split", "../elsewhere", "does not match"),
    ("data.train_split", "-out", "does not match"),
    ("tables.V", {"variants": ["other/baseline/plain"], "measures": ["seed"]}, "tables.V: unknown experiment 'other'"),
    ("tables.V", {"variants": ["implicit/s9k2"], "measures": ["seed"]}, "'s9k2' is not a grid"),
    ("tables.V", {"variants": ["plain"], "measures": ["seed"]}, "experiments.demo.tables.V.variants.0"),
])  # fmt: skip
def test_a_wrong_value_is_named_in_one_line(key, value, message):
    with refused(message):
        resolve(with_change(key, value))


@pytest.mark.parametrize(("content", "message"), [
    ({"default": {}, "experiments": {}}, "unknown key 'default'"),
    ({"defaults": CONFIG["defaults"]}, "experiments is empty"),
    ({"experiments": {"bare": None}}, "experiments.bare: 'data' is a required property (and 10 more)"),
    ({"experiments": {"x_test_preds": {}}}, "results/x_test_preds may be the test predictions of another"),
    *(({"experiments": {name: {}}}, f"invalid experiment name {name!r}") for name in ("a/b", "..", 2012)),
])  # fmt: skip
def test_a_malformed_file_is_named_in_one_line(content, message):
    with refused(message):
        resolve(content)


@pytest.mark.parametrize("target", [
    "results/demo_test_preds", "results/demo_test_preds.tar", "results/demo/report.html", "--cores",
    "results/demo/implicit/s2k2-s3k4/classifier.pt", "results/demo/logs/explicit/s4k2/classify.log", "other/file.txt",
])  # fmt: skip
def test_possible_targets_pass(target):
    config.check_target(target, {"demo": {}})


@pytest.mark.parametrize(("target", "message"), [
    ("results/voc_test_preds", "unknown experiment 'voc_test_preds'; choose one of demo"),
    ("results/voc/report.html", "unknown experiment 'voc'"),
    ("results/demo/explicit/s9k1/sweep.csv", "'s9k1' is not a grid"),
    ("results/demo/explicit/s4k17/sweep.csv", "'s4k17' is not a grid"),
    ("results/demo/explicit/s04k2/sweep.csv", "name each stage once"),
    ("results/demo/implict/s4k2/sweep.csv", "method 'implict'"),
    ("results/demo/baseline/s4k2/sweep.csv", "`plain` belongs to the baseline"),
])  # fmt: skip
def test_impossible_targets_are_refused_in_one_line(target, message):
    with refused(message):
        config.check_target(target, {"demo": {}})


def test_files_of_options_are_not_targets():
    arguments = ["--cores", "2", "--report", "results/report.html", "-n", "results/demo/report.html"]
    assert config.possible_targets(arguments) == ["--cores", "2", "--report", "-n", "results/demo/report.html"]


def test_overlay_merges_mappings_and_replaces_the_rest():
    below = {"a": {"x": 1, "y": [1, 2]}, "b": 2, "c": {"z": 1}}
    before = copy.deepcopy(below)
    above = {"a": {"y": [3], "w": 4}, "b": {"v": 5}, "c": 6}
    assert config.overlay(below, above) == {"a": {"x": 1, "y": [3], "w": 4}, "b": {"v": 5}, "c": 6}
    assert below == before
    assert config.overlay(below, {}) == below
    assert config.overlay({}, above) == above


@pytest.mark.parametrize(("variant", "lr", "keep_classifier"), [
    ("baseline/plain", 0.1, False),
    ("explicit/s4k2", 0.01, True),
    ("implicit/s2k2", 0.01, False),  # it has no earlier classifier
    ("implicit/s2k2-s3k4", 0.01, True),
    ("local/s4k2", 0.01, False),
])  # fmt: skip
def test_patch_training_applies_to_all_but_the_baseline(variant, lr, keep_classifier):
    training = {"lr": 0.1, "epochs": 5, "keep_classifier": ["implicit", "explicit"]}
    training = config.classifier_training({"training": training, "patch_training": {"lr": 0.01}}, *variant.split("/"))
    assert training == {"lr": lr, "epochs": 5, "keep_classifier": keep_classifier}


def test_settings_of_devices_tables_and_unused_networks_decide_no_result():
    settings = resolve(CONFIG)["demo"]
    before = config.result_settings(settings)
    assert {"cam", "classify", "data", "main", "compare"} <= before.keys()
    for key, value in {"hardware.gpu": 8, "hardware.workers": 9, "tables": {}, "refine.affinitynet.lr": 1}.items():
        assert config.result_settings(resolve(with_change(key, value))["demo"]) == before
    for key, value in {"hardware.precision": "16-mixed", "refine.irnet.lr": 1}.items():
        assert config.result_settings(resolve(with_change(key, value))["demo"]) != before


SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(min_size=1))
NAMES = st.from_regex(r"[a-z](_?[a-z0-9])*", fullmatch=True)


@given(st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, min_size=1, max_size=3)), min_size=1))
def test_flags_are_the_same_shell_words_in_any_order_of_keys(section):
    text = config.cli_flags(section, "step")
    assert config.cli_flags(dict(reversed(section.items())), "step") == text
    words = []
    for key in sorted(section):
        values = section[key] if isinstance(section[key], list) else [section[key]]
        words += [f"--step.{key.replace('_', '-')}", *map(str, values)]
    assert shlex.split(text) == words


def test_nested_keys_are_joined_by_dots():
    assert config.cli_flags({"b_c": {"d_e": [1, 2]}, "a": True}) == "--a True --b-c.d-e 1 2"


def test_every_training_of_a_repetition_draws_from_its_seed():
    resolved = resolve(with_change("seeds", [3, 7]))
    assert {"demo", "demo-seed7"} <= resolved.keys()
    for name, seed in {"demo": 3, "demo-seed7": 7}.items():
        assert {resolved[name][step][training]["seed"] for step, training in config.TRAININGS} == {seed}
        assert resolved[name]["repeats"] == "demo"
        assert resolved[name]["data"] == resolved["demo"]["data"]  # the data are the same for any seed


def test_a_repetition_may_not_take_the_name_of_an_experiment():
    changed = with_change("seeds", [0, 1])
    changed["experiments"]["demo-seed1"] = changed["experiments"]["demo"] | {"seeds": [0]}
    with refused("'demo-seed1' is also seed 1 of 'demo'"):
        resolve(changed)


def test_a_module_gets_the_shipped_defaults_below_its_own():
    shipped, expected = REPOSITORY / "config" / "config.yaml", CONFIG["defaults"]
    own = {"defaults": {"cam": {"threshold": 0.4}}, "experiments": {"a": {"data": {"source": "demo"}}}}
    completed = config.with_shipped_defaults(own, shipped)
    assert completed["experiments"] == own["experiments"]
    assert completed["defaults"] == {**expected, "cam": {**expected["cam"], "threshold": 0.4}}
    with refused("defaults: 'none' is not a section"):
        config.with_shipped_defaults({"defaults": "none"}, shipped)
