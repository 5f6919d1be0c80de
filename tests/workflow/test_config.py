"""Configuration: one vocabulary for file, schema and steps; mistakes named in one line; settings as safe flags."""

import copy
import dataclasses
import re
import shlex
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ppl.cam.export
import ppl.classify.build
import ppl.classify.train
import ppl.crf.dense
import ppl.jobs.devices
import ppl.refine.pseudo
import ppl.refine.reliable
import ppl.refine.train_affinitynet
import ppl.refine.train_irnet
import ppl.segment.build
import ppl.segment.train
from ppl.jobs.errors import UserError
from ppl.networks import backbones
from ppl.workflow import config

REPOSITORY = Path(__file__).parents[1]
SCHEMA_FILE = REPOSITORY / "workflow" / "schemas" / "config.schema.yaml"
SCHEMA = yaml.safe_load(SCHEMA_FILE.read_text())
CONFIG = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
SECTIONS = {
    "classify.architecture": ppl.classify.build.Architecture,
    "classify.training": ppl.classify.train.Training,
    "cam.maps": ppl.cam.export.Cams,
    "refine.confident": ppl.refine.reliable.Reliable,
    "refine.irnet": ppl.refine.train_irnet.Training,
    "refine.affinitynet": ppl.refine.train_affinitynet.Training,
    "refine.walk": ppl.refine.pseudo.Walk,
    "refine.pairwise": ppl.crf.dense.Pairwise,
    "segment.architecture": ppl.segment.build.Architecture,
    "segment.training": ppl.segment.train.Training,
    "segment.pairwise": ppl.crf.dense.Pairwise,
}


def get(section: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        section = section[part]
    return section


def schema_of(key: str) -> dict[str, Any]:
    section = SCHEMA
    for part in key.split("."):
        section = section["properties"][part]
    return section


def with_change(key: str, value: Any) -> dict[str, Any]:
    """The repository's configuration, with one key of the demo set."""
    changed = copy.deepcopy(CONFIG)
    *sections, last = key.split(".")
    section = changed["experiments"]["demo"]
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return changed


@pytest.mark.parametrize(("key", "settings"), SECTIONS.items())
def test_a_section_holds_the_settings_of_its_step(key, settings):
    fields = {field.name for field in dataclasses.fields(settings)} - {"seed"}  # each training gets the experiment's
    assert set(get(CONFIG["defaults"], key)) == fields
    assert set(schema_of(key)["properties"]) == fields
    assert set(schema_of(key)["required"]) == fields
    assert schema_of(key)["additionalProperties"] is False


@pytest.mark.parametrize(("key", "settings"), [*SECTIONS.items(), ("hardware", ppl.jobs.devices.Hardware)])
def test_choices_of_the_schema_are_those_of_the_step(key, settings):
    for name, kind in typing.get_type_hints(settings).items():
        if typing.get_origin(kind) is typing.Literal:
            assert set(schema_of(key)["properties"][name]["enum"]) == set(typing.get_args(kind))
        elif name == "backbone":
            assert set(schema_of(key)["properties"][name]["enum"]) == set(backbones.BUILDERS)


def test_patch_training_knows_the_keys_of_training():
    assert (
        schema_of("classify.patch_training")["properties"].keys() == schema_of("classify.training")["properties"].keys()
    )


def test_every_experiment_of_the_repository_is_valid():
    assert config.resolve(CONFIG, SCHEMA_FILE).keys() == CONFIG["experiments"].keys()
    laid_over = CONFIG
    for file in ("config/small.yaml", "benchmarks/animals.yaml"):
        laid_over = config.overlay(laid_over, yaml.safe_load((REPOSITORY / file).read_text()))
    assert config.resolve(laid_over, SCHEMA_FILE).keys() == {*CONFIG["experiments"], "animals"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cam.threshold", 2, "experiments.demo.cam.threshold: 2 is greater than the maximum of 1"),
        (
            "cam.treshold",
            0.3,
            "experiments.demo.cam: Additional properties are not allowed ('treshold' was unexpected)",
        ),
        ("data.size", "big", "experiments.demo.data.size: 'big' is not of type 'integer'"),
        ("segment.training.steps", 0, "experiments.demo.segment.training.steps: 0 is less than the minimum of 1"),
        ("segment.training.lr", "2.5e-4x", "experiments.demo.segment.training.lr: '2.5e-4x' is not of type 'number'"),
        ("classify.training.long_side", [176, 112], "long_side: 176 is above 112; write the smaller first"),
        ("segment.training.scale", [1.5, 0.5], "segment.training.scale: 1.5 is above 0.5"),
        ("refine.irnet.scale", [2, 1], "refine.irnet.scale: 2 is above 1"),
        ("refine.confident", {"foreground": 0.2, "background": 0.4}, "background 0.4 is above foreground 0.2"),
        ("main", "explicit/s9k1", "'s9k1' is no grid"),
        ("compare", ["baseline/s4k6"], "`plain` belongs to the baseline"),
        ("compare", ["implicit/s4k6-s2k2"], "name each stage once, in rising order"),
        ("data.source", "folder", "source folder needs path"),
        ("data.train_split", "../elsewhere", "does not match"),
        ("data.train_split", "-out", "does not match"),
    ],
)
def test_a_mistake_is_named_in_one_line(key, value, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        config.resolve(with_change(key, value), SCHEMA_FILE)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"default": {}, "experiments": {}}, "'default' is no key"),
        ({"defaults": CONFIG["defaults"]}, "experiments is empty"),
        ({"defaults": CONFIG["defaults"], "experiments": {"a/b": {}}}, "'a/b' is no name for an experiment"),
        ({"defaults": CONFIG["defaults"], "experiments": {"..": {}}}, "'..' is no name for an experiment"),
        ({"defaults": CONFIG["defaults"], "experiments": {2012: {}}}, "2012 is no name for an experiment"),
        ({"experiments": {"bare": None}}, "experiments.bare: 'data' is a required property (and 10 more)"),
    ],
)
def test_a_malformed_file_is_named_in_one_line(content, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        config.resolve(content, SCHEMA_FILE)
    assert len(str(error.value).splitlines()) == 1


def test_an_experiment_whose_folder_is_the_result_of_another_is_refused():
    changed = copy.deepcopy(CONFIG)
    changed["experiments"]["demo_test_preds"] = changed["experiments"]["demo"]
    with pytest.raises(UserError, match="demo_test_preds"):
        config.resolve(changed, SCHEMA_FILE)


@pytest.mark.parametrize(
    "target",
    [
        "results/demo_test_preds",
        "results/demo_test_preds.tar",
        "results/demo/report.html",
        "results/demo/implicit/s2k2-s3k4/classifier.pt",
        "results/demo/logs/explicit/s4k2/classify.log",
        "--cores",
        "some/other/file.txt",
    ],
)
def test_possible_targets_pass(target):
    config.check_target(target, {"demo": {}})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("results/voc_test_preds", "experiment 'voc_test_preds' is unknown; there are demo"),
        ("results/voc/report.html", "experiment 'voc' is unknown"),
        ("results/demo/explicit/s9k1/sweep.csv", "'s9k1' is no grid"),
        ("results/demo/explicit/s4k17/sweep.csv", "'s4k17' is no grid"),
        ("results/demo/explicit/s04k2/sweep.csv", "name each stage once"),
        ("results/demo/implict/s4k2/sweep.csv", "method 'implict' is unknown"),
        ("results/demo/baseline/s4k2/sweep.csv", "`plain` belongs to the baseline"),
    ],
)
def test_impossible_targets_are_refused_in_one_line(target, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        config.check_target(target, {"demo": {}})
    assert len(str(error.value).splitlines()) == 1


def test_files_of_options_are_no_targets():
    arguments = ["--cores", "2", "--report", "results/report.html", "-n", "results/demo/report.html"]
    assert config.targets(arguments) == ["--cores", "2", "--report", "-n", "results/demo/report.html"]


def test_overlay_merges_mappings_and_replaces_the_rest():
    below = {"a": {"x": 1, "y": [1, 2]}, "b": 2, "c": {"z": 1}}
    before = copy.deepcopy(below)
    above = {"a": {"y": [3], "w": 4}, "b": {"v": 5}, "c": 6}
    assert config.overlay(below, above) == {"a": {"x": 1, "y": [3], "w": 4}, "b": {"v": 5}, "c": 6}
    assert below == before
    assert config.overlay(below, {}) == below
    assert config.overlay({}, above) == above


def test_patch_training_is_laid_over_training_for_all_but_the_baseline():
    classify = {"training": {"lr": 0.1, "epochs": 5}, "patch_training": {"lr": 0.01}}
    assert config.patched(classify, "baseline") == {"lr": 0.1, "epochs": 5}
    assert config.patched(classify, "implicit") == {"lr": 0.01, "epochs": 5}


SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(min_size=1))
NAMES = st.from_regex(r"[a-z](_?[a-z0-9])*", fullmatch=True)


@given(st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, min_size=1, max_size=3)), min_size=1))
def test_flags_are_the_same_words_to_a_shell_in_any_order_of_keys(section):
    text = config.flags(section, "step")
    assert config.flags(dict(reversed(section.items())), "step") == text
    words = []
    for key in sorted(section):
        values = section[key] if isinstance(section[key], list) else [section[key]]
        words += [f"--step.{key.replace('_', '-')}", *map(str, values)]
    assert shlex.split(text) == words


@pytest.mark.parametrize(
    "value", ["two words.pt", "it's.pt", '"quoted".pt', "$(touch owned)", "`id`", "a; b & c | d > e"]
)
def test_a_path_is_one_word_to_a_shell_whatever_it_holds(value):
    assert shlex.split(config.flags({"weights": value})) == ["--weights", value]


def test_nested_keys_are_joined_by_dots():
    assert config.flags({"b_c": {"d_e": [1, 2]}, "a": True}) == "--a True --b-c.d-e 1 2"


def test_every_training_of_a_repetition_draws_from_its_seed():
    resolved = config.resolve(with_change("seeds", [3, 7]), SCHEMA_FILE)
    assert {"demo", "demo-seed7"} <= resolved.keys()
    for name, seed in {"demo": 3, "demo-seed7": 7}.items():
        settings = resolved[name]
        sections = (settings["classify"]["training"], settings["refine"]["irnet"], settings["segment"]["training"])
        assert {section["seed"] for section in sections} == {seed}
        assert settings["repeats"] == "demo"
        assert settings["data"] == resolved["demo"]["data"]  # the data are the same, whatever the seed


def test_a_repetition_may_not_take_the_name_of_an_experiment():
    changed = with_change("seeds", [0, 1])
    changed["experiments"]["demo-seed1"] = changed["experiments"]["demo"] | {"seeds": [0]}
    with pytest.raises(UserError, match="'demo-seed1' is seed 1 of 'demo' too"):
        config.resolve(changed, SCHEMA_FILE)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("other/baseline/plain", "experiments.demo.tables.V: experiment 'other' is unknown"),
        ("implicit/s9k2", "'s9k2' is no grid"),
        ("plain", "experiments.demo.tables.V.variants.0"),
    ],
)
def test_a_table_of_what_cannot_be_is_refused(variant, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        config.resolve(with_change("tables", {"V": {"variants": [variant], "measures": ["seed"]}}), SCHEMA_FILE)
    assert "\n" not in str(error.value)


def test_a_background_score_is_no_power():
    with pytest.raises(UserError, match=r"refine.walk.background: with AffinityNet a power"):
        config.resolve(with_change("refine.network", "affinitynet"), SCHEMA_FILE)  # the demo's is IRNet's score


def test_a_module_gets_the_shipped_defaults_below_its_own():
    shipped = REPOSITORY / "config" / "config.yaml"
    own = {"defaults": {"cam": {"threshold": 0.4}}, "experiments": {"a": {"data": {"source": "demo"}}}}
    got = config.completed(own, shipped)
    expected = CONFIG["defaults"]
    assert got["experiments"] == own["experiments"]
    assert got["defaults"] == {**expected, "cam": {**expected["cam"], "threshold": 0.4}}
    with pytest.raises(UserError, match="defaults: 'none' is no section"):
        config.completed({"defaults": "none"}, shipped)
