"""Configuration: one vocabulary for file, schema, flags and fields; one line per mistake; settings as safe flags."""

import copy
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ppl.cam.settings import Cam
from ppl.classify.settings import Classify
from ppl.data.settings import Data
from ppl.experiment import reference, stored
from ppl.experiment.settings import Experiment
from ppl.jobs import fields
from ppl.jobs.errors import UserError
from ppl.refine.settings import Refine
from ppl.workflow import config, parameters
from ppl.workflow.renamed import RENAMED

REPOSITORY = Path(__file__).parents[2]
CONFIG = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
OF_REPOSITORY = ("config/small.yaml", "benchmarks/animals.yaml", "tests/tiny.yaml")


def with_change(key: str, value: Any) -> dict[str, Any]:
    """The repository's configuration with one key of the demo changed."""
    changed = copy.deepcopy(CONFIG)
    *sections, last = key.split(".")
    section = changed["experiments"]["demo"]
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return changed


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return a value below its dotted key."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def settings(key: str, value: Any) -> Experiment:
    return config.resolve(with_change(key, value))["demo"].settings


def refused(message: str):
    """Expect a UserError of one line that contains the message."""
    return pytest.raises(UserError, match=rf"\A.*{re.escape(message)}.*\Z")  # `.` matches no line break


def overlaid() -> dict[str, Any]:
    """All configurations of the repository, one over the other."""
    below = CONFIG
    for file in OF_REPOSITORY:
        below = config.overlay(below, yaml.safe_load((REPOSITORY / file).read_text()))
    return below


@pytest.mark.parametrize(("file", "made"), [
    ("workflow/schemas/config.schema.yaml", lambda text: reference.schema_text()),
    ("config/README.md", reference.with_tables),
])  # fmt: skip
def test_the_reference_is_that_of_the_fields(file, made):
    text = (REPOSITORY / file).read_text()
    assert made(text) == text, "run: python -m ppl.experiment.reference"


def test_every_key_has_a_row_in_the_readme_and_a_default():
    text = (REPOSITORY / "config" / "README.md").read_text()
    named = re.findall(r"<!-- settings of (\S+) -->", text)
    for section in ("data", "hardware", "classify.architecture", "classify.training", "cam", "refine", "segment", "-"):
        assert section in named
    assert fields.read(Experiment, {}, "nothing", "-") == Experiment()


def test_every_configuration_of_the_repository_is_valid_for_the_schema_too():
    schema = yaml.safe_load((REPOSITORY / "workflow" / "schemas" / "config.schema.yaml").read_text())
    for file in ("config/config.yaml", *OF_REPOSITORY):
        jsonschema.Draft202012Validator(schema).validate(yaml.safe_load((REPOSITORY / file).read_text()))
    assert config.resolve(CONFIG).keys() == CONFIG["experiments"].keys()
    assert config.resolve(overlaid()).keys() == {*CONFIG["experiments"], "animals", "tiny"}


def sections(section: Any) -> Iterator[Any]:
    """Yield a section and all within it."""
    yield section
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(value := getattr(section, field.name)):
            yield from sections(value)


def test_the_defaults_of_a_section_are_those_of_its_class():
    """A configuration that sets one key of a section leaves the others at the defaults of the class."""
    for section in sections(Experiment()):
        assert section == type(section)()


def departures(written: Any, default: Any, above: str) -> list[str]:
    """Return the keys that are written with the value they have by default."""
    if isinstance(written, dict) and default is not None and not isinstance(default, dict):
        return [k for key, value in written.items() for k in departures(value, getattr(default, key), f"{above}.{key}")]
    return [above] if fields.plain(default) == written else []


def test_every_default_has_a_source():
    """But those of entries' own settings, and of paths and names that have none."""
    text = reference.with_tables((REPOSITORY / "config" / "README.md").read_text())
    rows = re.findall(r"^\| `(\S+)` \| .* \| (.*) \|$", text, flags=re.MULTILINE)
    without = {key for key, source in rows if source == "-"}
    optional = {"own", "tables", "figures", "variants", "measures", "per_class", "shows"}
    assert {key for key in without if key not in optional and not key.endswith((".path", ".max_side"))} == set()
    assert len(rows) > 100


def test_the_repository_writes_departures_from_the_defaults_only():
    sections = {"tables", "figures"}
    for name, experiment in CONFIG["experiments"].items():
        written = {key: value for key, value in experiment.items() if key not in sections}
        assert departures(written, Experiment(), name) == []


@pytest.mark.parametrize(("key", "value", "message"), [
    ("cam.threshold", 2, "experiments.demo.cam.threshold: 2 should be less than or equal to 1"),
    ("cam.threshold", "otsu", "experiments.demo.cam.threshold: 'otsu' is neither a number nor auto"),
    ("cam.treshold", 0.3, "cam.treshold: unknown key; did you mean threshold"),
    ("data.demo.size", "big", "data.demo.size: 'big' should be a valid integer"),
    ("data.demo.size", 64.0, "data.demo.size: 64.0 should be a valid integer"),
    ("segment.training.steps", 0, "segment.training.steps: 0 should be greater than or equal to 1"),
    ("segment.training.lr", "2.5e-4", "'2.5e-4' should be a valid number (in YAML, a number with an exponent needs"),
    ("segment.training.lr", float("nan"), "segment.training.lr: nan should be a finite number"),
    ("classify.training.long_side", [176, 112], "long_side: 176 is greater than 112; write the smaller number"),
    ("segment.training.crop_scales", [1, 0], "segment.training.crop_scales.1: 0 should be greater than 0"),
    ("refine.irnet.training.scale", [2, 1], "scale: 2.0 is greater than 1.0"),
    ("refine.reliable.thresholds", {"foreground": 0.2, "background": 0.4}, "background 0.4 is greater than foreground"),
    ("refine.reliable.alphas", {"low": 9, "high": 4}, "low 9.0 is greater than high 4.0"),
    ("refine.affinitynet.walk.alpha", 0.5, "refine.affinitynet.walk.alpha: 0.5 should be greater than or equal to 1"),
    ("refine.network", "crf", "refine.network: unknown name 'crf'; choose one of irnet, affinitynet"),
    ("classify.architecture.backbone", "resnet", "unknown name 'resnet'; choose one of resnet18"),
    ("cam.method", "own/nowhere", "there is no module 'nowhere'"),
    ("cam", None, "cam: None is not a section"),
    ("main", "explicit/s9k1", "'s9k1' is not a grid"),
    ("compare", ["baseline/s4k6"], "`plain` belongs to the baseline"),
    ("compare", ["implicit/s4k6-s2k2"], "name each stage once, in ascending order"),
    ("data.source", "folder", "demo.data.folder: source folder needs path"),
    ("data.train_split", "../elsewhere", "'../elsewhere' is not the name of a split"),
    ("data.train_split", "-out", "'-out' is not the name of a split"),
    ("tables.V", {"variants": ["other/baseline/plain"], "measures": ["seed"]}, "tables.V.variants: unknown experiment"),
    ("tables.V", {"variants": ["implicit/s9k2"], "measures": ["seed"]}, "'s9k2' is not a grid"),
    ("refine.labels.agree", ["other/baseline/plain"], "refine.labels.agree: unknown experiment 'other'; choose one of"),
    ("refine.labels.agree", ["voc/baseline/plain"], "refine.labels.agree: 'voc' has other data or another data.train"),
    ("refine.labels.agree", ["voc/implicit/s9k2"], "refine.labels.agree: implicit/s9k2: 's9k2'"),
    ("refine.labels.agree", ["plain"], "refine.labels.agree.0: 'plain' is not"),
    ("refine.labels.agree", ["baseline/plain"] * 2, "'baseline/plain' is listed twice"),
    ("refine.labels.margins.background", 1.5, "margins.background: 1.5 should be less than or equal to 1"),
    ("refine.labels.margins", {"foreground": -0.2, "background": 0.1}, "margins: classes from 0.2 below the threshold"),
    ("refine.reliable.margins.foreground", -0.1, "margins.foreground: -0.1 should be greater than or equal to 0"),
    ("refine.irnet.walk.background", "seeds", "background: 'seeds' is neither a number nor seed"),
    ("tables.V", {"variants": ["plain"], "measures": ["seed"]}, "tables.V.variants.0: 'plain' is not"),
    ("tables.V", {"variants": ["baseline/plain"] * 2, "measures": ["seed"]}, "'baseline/plain' is listed twice"),
])  # fmt: skip
def test_a_wrong_value_is_named_in_one_line(key, value, message):
    with refused(message):
        config.resolve(with_change(key, value))


def test_one_margin_of_labels_leaves_the_other_at_zero():
    for key, other in (("foreground", "background"), ("background", "foreground")):
        labels = settings("refine.labels.margins", {key: 0.3}).refine.labels
        assert getattr(labels.margins, key) == 0.3
        assert getattr(labels.margins, other) == 0


@pytest.mark.parametrize("former", RENAMED)
def test_a_former_key_is_refused_with_the_name_of_today(former):
    with refused(f"experiments.demo.{former}: renamed; write "):
        config.resolve(with_change(former, {} if former in ("refine.confident", "refine.walk") else 1))


def test_the_name_of_today_exists():
    """The first key that each message names is a key of the configuration."""
    for today in RENAMED.values():
        section: Any = Experiment()
        for part in re.match(r"[a-z_0-9.]+", today)[0].split("."):
            section = getattr(section, part)


@pytest.mark.parametrize(("content", "message"), [
    ({"default": {}, "experiments": {}}, "unknown key 'default'"),
    ({"defaults": {}}, "experiments is empty"),
    ({"defaults": "none", "experiments": {"a": {}}}, "defaults: 'none' is not a section"),
    ({"experiments": {"bare": None}}, "experiments.bare.data.folder: source folder needs path"),
    ({"experiments": {"x_test_preds": {}}}, "results/x_test_preds may be the test predictions of another"),
    *(({"experiments": {name: {}}}, f"invalid experiment name {name!r}") for name in ("a/b", "..", 2012)),
])  # fmt: skip
def test_a_malformed_file_is_named_in_one_line(content, message):
    with refused(message):
        config.resolve(content)


@pytest.mark.parametrize("target", [
    "results/demo_test_preds", "results/demo_test_preds.tar", "results/demo/report.html", "--cores",
    "results/demo/implicit/s2k2-s3k4/classifier.pt", "results/demo/logs/explicit/s4k2/classify.log", "other/file.txt",
])  # fmt: skip
def test_possible_targets_pass(target):
    config.check_target(target, config.resolve(CONFIG))


@pytest.mark.parametrize(("target", "message"), [
    ("results/none_test_preds", "unknown experiment 'none'; choose one of voc"),
    ("results/none_test_preds.tar", "'none'; choose one of voc, "),
    ("results/none_test_preds.tar", ", demo, or name the file of its settings by --configfile"),
    ("results/none/report.html", "unknown experiment 'none'"),
    ("results/demo/explicit/s9k1/sweep.csv", "'s9k1' is not a grid"),
    ("results/demo/explicit/s4k17/sweep.csv", "'s4k17' is not a grid"),
    ("results/demo/explicit/s04k2/sweep.csv", "name each stage once"),
    ("results/demo/implict/s4k2/sweep.csv", "method 'implict'"),
    ("results/demo/baseline/s4k2/sweep.csv", "`plain` belongs to the baseline"),
])  # fmt: skip
def test_impossible_targets_are_refused_in_one_line(target, message):
    with refused(message):
        config.check_target(target, config.resolve(CONFIG))


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


def test_defaults_of_a_file_hold_for_its_experiments_and_give_way_to_theirs():
    demo = {"source": "demo"}
    file = {"defaults": {"cam": {"threshold": 0.5, "maps": {"fusion": "sum"}}}}
    resolved = config.resolve(
        {**file, "experiments": {"a": {"data": demo}, "b": {"data": demo, "cam": {"threshold": 1}}}}
    )
    assert [resolved[name].settings.cam.threshold for name in "ab"] == [0.5, 1]
    assert {resolved[name].settings.cam.maps.fusion for name in "ab"} == {"sum"}


@pytest.mark.parametrize(("variant", "lr", "keep_classifier"), [
    ("baseline/plain", 0.2, ()),
    ("explicit/s4k2", 0.01, ("explicit",)),
    ("implicit/s2k2", 0.01, ()),  # it has no earlier classifier
    ("implicit/s2k2-s3k4", 0.01, ("implicit",)),
    ("local/s4k2", 0.01, ()),
])  # fmt: skip
def test_patch_training_applies_to_all_but_the_baseline(variant, lr, keep_classifier):
    training = {"lr": 0.2, "epochs": 7, "keep_classifier": ["implicit", "explicit"]}
    of_variant = parameters.training(settings("classify", {"training": training}).classify, *variant.split("/"))
    assert (of_variant.lr, of_variant.epochs, of_variant.keep_classifier) == (lr, 7, keep_classifier)


def test_patch_training_overrides_training_key_by_key():
    section = {"training": {"epochs": 7, "batch_size": 3}, "patch_training": {"epochs": 2, "lr": 1.0}}
    classify: Classify = settings("classify", section).classify
    assert (classify.patch_training.epochs, classify.patch_training.batch_size, classify.patch_training.lr) == (2, 3, 1)
    assert (classify.training.epochs, classify.training.lr) == (7, 0.1)


def test_settings_of_devices_tables_and_unused_entries_decide_no_result():
    before = stored.result_settings(config.resolve(CONFIG)["demo"].settings)
    assert {"cam", "classify", "data", "main", "compare"} <= before.keys()
    unused = {"hardware.gpu": 8, "hardware.workers": 9, "tables": {}, "cam.scorecam.channels": 7}
    unused |= {"refine.affinitynet.training.lr": 1, "data.voc.path": "there", "segment.smp.encoder": "resnet18"}
    for key, value in unused.items():
        assert stored.result_settings(settings(key, value)) == before, key
    for key, value in {"hardware.precision": "16-mixed", "segment.training.lr": 1}.items():
        assert stored.result_settings(settings(key, value)) != before, key


def test_stored_settings_are_read_back(tmp_path):
    """All but those of devices and tables, which no result depends on."""
    for name, experiment in config.resolve(overlaid()).items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(stored.result_settings(experiment.settings)))
        back = stored.read(file)
        assert stored.result_settings(back) == stored.result_settings(experiment.settings)
        for section in ("cam", "main"):
            assert getattr(back, section) == getattr(experiment.settings, section)


@pytest.mark.parametrize(("text", "message"), [
    ("", "no keys"), ("a: [", "not the settings"), ("cam: {threshold: 3}", "cam.threshold: 3 should be less"),
    ("seeds: [1]", "seeds: unknown key"), (None, "No such file"),
])  # fmt: skip
def test_a_damaged_settings_file_is_refused_in_one_line(tmp_path, text, message):
    file = tmp_path / "settings.yaml"
    if text is not None:
        file.write_text(text)
    with refused(message):
        stored.read(file)


def test_flags_are_keys_and_only_of_the_chosen_entry():
    text = parameters.flags(Experiment(), "cam.threshold", "refine.network", "refine.{network}.walk", "data.source")
    words = shlex.split(text)
    assert words[:4] == ["--cam.threshold", "0.15", "--refine.network", "irnet"]
    assert {"--refine.irnet.walk.background", "--refine.irnet.walk.crf"} <= set(words)
    assert not [word for word in words if "affinitynet" in word]
    assert parameters.flags(Experiment(), "cam.{method}") == ""  # plain CAM has no settings


def test_equal_values_are_equal_flags():
    for section in ({"scales": [1, 0.5]}, {"scales": [1.0, 0.5]}):
        text = parameters.flags(settings("cam", {"maps": section}), "cam.maps.scales")
        assert text == "--cam.maps.scales 1 0.5"


def test_settings_of_an_own_module_are_one_flag(tmp_path, monkeypatch):
    lines = [
        "from dataclasses import dataclass, field",
        "from ppl.jobs.fields import Section",
        "@dataclass(frozen=True, kw_only=True)",
        "class Settings(Section):",
        "    training: dict",
        "    walk: dict = field(default_factory=dict)",
        "    width: int = 3",
        "NAME = build = parameter_groups = augmentation = loss = walk = None",
    ]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    values = {"training": {"lr": 1}, "width": 5, "walk": {"name": "a 'b' $(c)"}}
    own = settings("refine", {"network": "own/mine", "own": values})
    flag, text = shlex.split(parameters.flags(own, "refine.{network}"))
    assert (flag, json.loads(text)) == ("--refine.own", values)
    flag, text = shlex.split(parameters.flags(own, "refine.{network}", without="walk"))
    assert (flag, json.loads(text)) == ("--refine.own", {"training": {"lr": 1}, "width": 5})
    digests = {parameters.code(e, "ppl.refine.walk_split", "refine.network") for e in (own, Experiment())}
    assert len(digests) == 2
    with refused("experiments.demo.refine.own: training: missing"):
        settings("refine", {"network": "own/mine"})


@given(st.text(min_size=1).filter(lambda text: not re.search(r"[\0\n]|^-", text) and text.isprintable()))
def test_a_path_is_one_shell_word_whatever_it_holds(path):
    data = Data(source="folder", folder=fields.read(type(Data().folder), {"path": path}, "here", "-"))
    words = shlex.split(parameters.flags(Experiment(data=data), "data.{source}"))
    assert words[:2] == ["--data.folder.path", path]
    others = "--data.folder.orientation auto --data.folder.bits auto --data.folder.skip_broken False"
    assert words[2:] == others.split()


@pytest.mark.parametrize(("key", "module"), [
    ("cam.method", "ppl.cam.gradcam_plus_plus"), ("classify.architecture.backbone", "ppl.networks.vgg16"),
    ("refine.network", "ppl.refine.affinitynet"), ("refine.irnet.training.backbone", "ppl.networks.vgg16"),
    ("segment.network", "ppl.segment.smp"), ("segment.deeplab_v2.backbone", "ppl.networks.vgg16"),
])  # fmt: skip
def test_the_code_of_a_step_holds_that_of_its_entry_and_of_no_other(key, module):
    other = {"ppl.networks.vgg16": "vgg16", "ppl.segment.smp": "smp/Unet"}.get(module, module.rpartition(".")[2])
    above = key.rpartition(".")[0]
    used = (key, f"{above}.{{{key.rpartition('.')[2]}}}") if above in ("cam", "refine", "segment") else (above,)

    def modules(experiment: Experiment) -> set[str]:
        return {entry for used_key in used for entry in parameters._modules(experiment, used_key)}

    assert module not in modules(Experiment())
    assert module in modules(settings(key, other))


def test_every_training_of_a_repetition_draws_from_its_seed():
    resolved = config.resolve(with_change("random_seeds", [3, 7]))
    assert {"demo", "demo-seed7"} <= resolved.keys()
    for name, seed in {"demo": 3, "demo-seed7": 7}.items():
        assert resolved[name].random_seed == seed
        assert resolved[name].repeats == "demo"
        assert resolved[name].settings == resolved["demo"].settings  # the data are the same for any seed


@pytest.mark.parametrize(("changes", "message"), [
    ({"classify.architecture.backbone": "timm/resnet26dd"}, "classify.architecture.backbone: timm/resnet26dd: timm"),
    ({"segment.network": "smp/Unett"}, "segment.network: segment.network: segmentation_models.pytorch has no"),
    ({"segment.network": "smp/Unet", "segment.smp.encoder": "resnet19"}, "has no encoder 'resnet19'; choose one such"),
])  # fmt: skip
def test_a_name_that_a_library_does_not_have_is_refused_before_any_job(changes, message):
    changed = CONFIG
    for key, value in changes.items():
        changed = config.overlay(changed, {"experiments": {"demo": nested(key, value)}})
    with refused(message):
        config.check_families(config.resolve(changed).values())


def test_a_repetition_may_not_take_the_name_of_an_experiment():
    changed = with_change("random_seeds", [0, 1])
    changed["experiments"]["demo-seed1"] = changed["experiments"]["demo"] | {"random_seeds": [0]}
    with refused("'demo-seed1' is also random seed 1 of 'demo'"):
        config.resolve(changed)


def test_deeplab_has_the_steps_of_its_public_recipes():
    """COCO has eight times the photos of VOC; 100,000 steps are 12 epochs, VOC's 20,000 are 19."""
    experiments = config.resolve(CONFIG)
    steps = {name: experiments[name].settings.segment.training.steps for name in ("voc", "voc-vgg16", "coco")}
    assert steps == {"voc": 20_000, "voc-vgg16": 20_000, "coco": 100_000}


def test_sections_of_the_paper_are_the_defaults():
    assert (Cam().threshold, Cam().maps.scales) == (0.15, (1, 0.5, 1.5, 2))
    assert (Classify().training.lr, Classify().patch_training.lr, Classify().training.epochs) == (0.1, 0.01, 5)
    assert (Refine().irnet.training.epochs, Refine().irnet.walk.background) == (3, 0.25)


def test_vgg16_has_the_settings_of_affinitynets_reference():
    """Its last stage is dilated at stride 8, its seeds are cut at 0.2, its classifier and its labels are as there."""
    vgg16 = config.resolve(CONFIG)["voc-vgg16"].settings
    architecture, training = vgg16.classify.architecture, vgg16.classify.training
    assert (architecture.output_stride, architecture.dilated, architecture.frozen_stages) == (8, True, 1)
    assert (vgg16.cam.threshold, vgg16.cam.maps.cam_exponent, vgg16.refine.reliable.scores) == (0.2, 0.5, "alphas")
    assert (training.bias_lr_factor, training.decay_biases, training.jitter) == (2, False, 0.3)
    assert not config.resolve(CONFIG)["voc"].settings.classify.architecture.dilated  # the paper's ResNet-50


@pytest.mark.parametrize("name", ["voc", "voc-vgg16", "coco"])
def test_trainings_of_the_paper_have_the_momentum_of_the_references_code(name):
    """IRNet and AffinityNet pass their weight decay as momentum; DeepLab's is really 0.9."""
    settings = config.resolve(CONFIG)[name].settings
    refiner = getattr(settings.refine, settings.refine.network)
    for training in (settings.classify.training, settings.classify.patch_training, refiner.training):
        assert training.optimizer == "sgd"
        assert training.momentum == training.weight_decay
        assert training.poly_power == 0.9
    assert settings.segment.training.momentum == 0.9
