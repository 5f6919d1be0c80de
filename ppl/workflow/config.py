"""Configuration of the workflow: resolve and check the experiments, turn settings into command-line flags."""

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from ppl.classify import variants
from ppl.jobs.errors import UserError

TEST_PREDICTIONS = "_test_preds"
TRAININGS = (("classify", "training"), ("refine", "irnet"), ("refine", "affinitynet"), ("segment", "training"))
"""Sections of the trainings, each of which gets the random seed of the experiment."""
BESIDE_VARIANTS = {"data", "logs", "benchmarks", "tables"}
"""Folders of results/EXPERIMENT beside those of the methods."""
FILE_OPTIONS = {
    *("--report", "--archive", "--export-cwl", "--generate-unit-tests", "--runtime-profile", "--directory", "-d"),
    *("--configfile", "--configfiles", "--report-metadata", "--report-stylesheet", "--snakefile", "-s"),
}
"""Options of Snakemake whose value is a file or folder, but not a target."""
UNUSED_BY_RESULTS = {"seeds", "repeats", "tables", "figures"}
"""Settings of how an experiment is repeated and tabulated, on which none of its own results depends."""
NEEDED_DATA = {
    "demo": ("size", "train", "val", "test", "seed"),
    "folder": ("path",),
    "voc": (),
    "coco": ("coco_convention",),
}
"""Keys below `data:` that a source needs."""
STRICT_INTEGER = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
"""JSON accepts 5.0 as an integer; the command line of a step does not."""
Validator = extend(Draft202012Validator, type_checker=STRICT_INTEGER)
MAX_NAME = 100  # characters of an experiment's name, which is also a folder
MAX_MESSAGE = 200  # characters of a message, which may quote a whole section


def resolve(config: Mapping[str, Any], schema: Path) -> dict[str, dict[str, Any]]:
    """Return the complete settings by experiment, its repetitions with other random seeds included.

    UserError, one line, for the first key that is unknown or has an invalid value.
    """
    config = _section(config, "top level")
    unknown = sorted(config.keys() - {"defaults", "experiments"}, key=str)
    if unknown:
        raise UserError("configuration", f"unknown key {unknown[0]!r}", "the top level holds defaults and experiments")
    defaults = _section(config.get("defaults"), "defaults")
    experiments = _section(config.get("experiments"), "experiments")
    if not experiments:
        raise UserError("configuration", "experiments is empty", "config/README.md shows an entry")
    validator = Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    resolved = {}
    for name, changes in experiments.items():
        _check_name(name)
        try:
            settings = overlay(defaults, _section(changes, f"experiments.{name}"))
            _check(name, settings, validator)
        except RecursionError as error:
            what = f"experiments.{name} contains itself"
            raise UserError("configuration", what, "remove the YAML anchor") from error
        for seed in settings["seeds"]:
            repeated = repetition(name, settings["seeds"], seed)
            if repeated != name and repeated in experiments:
                what = f"experiment {repeated!r} is also seed {seed} of {name!r}"
                raise UserError("configuration", what, "rename it")
            resolved[repeated] = {**with_seed(settings, seed), "repeats": name}
    _check_references(resolved)
    return resolved


def with_shipped_defaults(config: Mapping[str, Any], shipped: Path) -> dict[str, Any]:
    """Lay the `defaults` of a workflow that uses this one as a module over the shipped ones."""
    ours = yaml.safe_load(shipped.read_text(encoding="utf-8"))["defaults"]
    return {**config, "defaults": overlay(ours, _section(config.get("defaults"), "defaults"))}


def repetition(experiment: str, seeds: Sequence[int], seed: int) -> str:
    """Return the name under which an experiment runs with one of its seeds: its own name for the first of them."""
    return experiment if seed == seeds[0] else f"{experiment}-seed{seed}"


def with_seed(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the settings with `seed` as the random seed of every training."""
    resolved = dict(settings)
    for step, training in TRAININGS:
        if training in resolved[step]:
            section = {**resolved[step][training], "seed": seed}
            resolved[step] = {**resolved[step], training: section}
    return resolved


def overlay(below: Any, above: Any) -> Any:
    """Lay `above` over `below`: mappings key by key, anything else replaced."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {key: overlay(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}
    return above


def method_training(classify: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the training settings of a method: for all but the baseline, `patch_training` over `training`."""
    return overlay(classify["training"], {} if method == "baseline" else classify["patch_training"])


def classifier_training(classify: Mapping[str, Any], method: str, grids: str) -> dict[str, Any]:
    """Return the training settings of a variant's classifier.

    `keep_classifier`, a list of methods, becomes whether this variant keeps its earlier classifier's weights.
    UserError if there is no such variant.
    """
    section = method_training(classify, method)
    has_earlier = variants.start(method, grids) is not None
    return {**section, "keep_classifier": has_earlier and method in section["keep_classifier"]}


def result_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that results depend on: all but those of repetitions, tables and devices."""
    used = {key: value for key, value in settings.items() if key not in UNUSED_BY_RESULTS}
    hardware = {key: value for key, value in settings["hardware"].items() if key not in ("gpu", "workers")}
    other_networks = {"irnet", "affinitynet"} - {settings["refine"]["network"]}
    refine = {key: value for key, value in settings["refine"].items() if key not in other_networks}
    return {**used, "hardware": hardware, "refine": refine}


def cli_flags(section: Mapping[str, Any], prefix: str = "") -> str:
    """Return the command-line flags of a section, nested keys joined by dots.

    They are sorted, so that equal settings give equal text.
    """
    parts = []
    for key in sorted(section):
        value, name = section[key], f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            parts.append(cli_flags(value, name))
        else:
            values = value if isinstance(value, list) else [value]
            parts.append(" ".join([f"--{name.replace('_', '-')}", *(shlex.quote(str(v)) for v in values)]))
    return " ".join(parts)


def possible_targets(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of Snakemake's command line without the files that its options read or write."""
    return [target for option, target in pairwise(("", *arguments)) if option not in FILE_OPTIONS]


def check_target(target: str, experiments: Mapping[str, Any]) -> None:
    """Raise UserError if a requested file names an experiment or a variant that cannot exist."""
    parts = Path(target).parts
    if len(parts) < 2 or parts[0] != "results":
        return
    name, below = parts[1], parts[2:]
    suffixes = ("", TEST_PREDICTIONS, f"{TEST_PREDICTIONS}.tar")
    if name not in {f"{experiment}{suffix}" for experiment in experiments for suffix in suffixes}:
        raise UserError(target, f"unknown experiment {name!r}", f"choose one of {', '.join(experiments)}")
    if name not in experiments:
        return
    if len(below) > 1 and below[0] not in BESIDE_VARIANTS:
        variants.parse(below[0], below[1])
    if below[:1] == ("tables",):
        settings = experiments[name]
        if not has_masks(settings):
            raise UserError(target, "the dataset has no masks to measure with", "add SegmentationClass")
        if not settings["tables"] and not settings["figures"]:
            raise UserError(target, f"experiments.{name} has no tables", "config/README.md shows how to add one")


def has_masks(settings: Mapping[str, Any]) -> bool:
    """Return whether the dataset has masks, before the data are prepared, as the plan depends on it."""
    data = settings["data"]
    return data["source"] != "folder" or (Path(data["path"]) / "SegmentationClass").is_dir()


def _section(value: Any, where: str) -> Mapping[str, Any]:
    """Return a mapping of the file, empty for null; UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        what = f"{where}: {str(value)[:MAX_MESSAGE]!r} is not a section"
        raise UserError("configuration", what, "write keys below it")
    return value


def _check_name(name: Any) -> None:
    """Raise UserError for an invalid name: it is used as a folder, a wildcard and a part of command lines."""
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or len(name) > MAX_NAME:
        what = f"invalid experiment name {repr(name)[:MAX_NAME]}"
        raise UserError("configuration", what, "use letters, digits, - and _")
    if name.endswith(TEST_PREDICTIONS):
        what = f"results/{name} may be the test predictions of another experiment"
        raise UserError("configuration", what, f"choose a name that does not end in {TEST_PREDICTIONS}")


def _check_references(resolved: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError if a table or figure shows a variant of an experiment that does not exist."""
    for name, settings in resolved.items():
        for part in ("tables", "figures"):
            for title, table in settings[part].items():
                others = {variant.split("/")[0] for variant in table["variants"] if variant.count("/") == 2}
                if unknown := sorted(others - resolved.keys()):
                    what = f"experiments.{name}.{part}.{title}: unknown experiment {unknown[0]!r}"
                    raise UserError("configuration", what, f"choose one of {', '.join(resolved)}")


def _check(name: str, settings: dict[str, Any], validator: Draft202012Validator) -> None:
    errors = sorted(validator.iter_errors(settings), key=lambda error: [str(part) for part in error.path])
    faults = [*((error.path, _message(error)) for error in errors), *_not_finite(settings)]
    if faults:
        path, message = faults[0]
        key = " ".join(".".join([f"experiments.{name}", *map(str, path)]).split())
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError("configuration", f"{key}: {message}{more}", "config/README.md explains the key")
    where = f"configuration: experiments.{name}"
    data = settings["data"]
    missing = [key for key in NEEDED_DATA[data["source"]] if key not in data]
    if missing:
        raise UserError(f"{where}.data", f"source {data['source']} needs {', '.join(missing)}", "add it")
    for key, variant in _variants(settings):
        try:
            variants.parse(*variant.split("/")[-2:])
        except UserError as error:
            raise UserError(f"{where}.{key}: {error.where}", error.what, error.remedy) from error
    for key in (
        "classify.training.long_side",
        "segment.training.scale",
        "refine.irnet.scale",
        "refine.affinitynet.long_side",
    ):
        step, training, setting = key.split(".")
        low, high = settings[step][training][setting]
        if low > high:
            raise UserError(f"{where}.{key}", f"{low} is greater than {high}", "write the smaller number first")
    _check_background(f"{where}.refine", settings["refine"])


def _variants(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield all variants that an experiment names, each with its key."""
    yield "main", settings["main"]
    for variant in settings["compare"]:
        yield "compare", variant
    for part in ("tables", "figures"):
        for title, table in settings[part].items():
            for variant in table["variants"]:
                yield f"{part}.{title}.variants", variant


def _message(error: ValidationError) -> str:
    """Return the message of a schema error as one bounded line, with a hint for numbers that YAML reads as text."""
    message = " ".join(error.message.split())
    if len(message) > MAX_MESSAGE:
        message = f"{message[: MAX_MESSAGE // 2]} ... {message[-MAX_MESSAGE // 2 :]}"
    if error.validator_value == "number" and re.fullmatch(r"[-+.\d]+e[-+]?\d+", str(error.instance), re.IGNORECASE):
        message += " (in YAML, a number with an exponent needs a decimal point, as in 1.0e-4)"
    return message


def _not_finite(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield paths and messages of NaN and infinity, which satisfy many ranges of the schema."""
    if isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _not_finite(part, (*path, key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"{value} is not finite; write a number"


def _check_background(where: str, refine: Mapping[str, Any]) -> None:
    confident = refine["confident"]
    foreground, background = confident["foreground"], confident["background"]
    if confident["scores"] == "constant":
        # A lower threshold assigns fewer pixels to background; of powers the higher one does.
        if max(foreground, background) > 1:
            raise UserError(f"{where}.confident", "a threshold is greater than 1", "powers need scores: power")
        if background > foreground:
            what = f"background {background} is greater than foreground {foreground}"
            raise UserError(f"{where}.confident", what, "lower it")
    elif foreground > background:
        what = f"as powers, foreground {foreground} is greater than background {background}"
        raise UserError(f"{where}.confident", what, "write the smaller number first")
    walk_background = refine["walk"]["background"]
    if refine["network"] == "affinitynet" and walk_background < 1:
        what = f"{walk_background} is a score, which only IRNet takes"
        raise UserError(f"{where}.walk.background", what, "with AffinityNet, write a power such as 16")
    if refine["network"] == "irnet" and walk_background > 1:
        what = f"{walk_background} is a power, which only AffinityNet takes"
        raise UserError(f"{where}.walk.background", what, "with IRNet, write a score of at most 1")
