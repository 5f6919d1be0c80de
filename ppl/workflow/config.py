"""The workflow's configuration: defaults overlaid by each experiment, checked, and turned into command-line flags."""

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

from ppl.classify import variants as grids
from ppl.jobs.errors import UserError

TEST_PREDICTIONS = "_test_preds"
TRAININGS = (("classify", "training"), ("refine", "irnet"), ("refine", "affinitynet"), ("segment", "training"))
"""Sections that get the experiment's seed."""
BESIDE_VARIANTS = {"data", "logs", "benchmarks", "tables"}
"""Folders directly in results/EXPERIMENT, next to those of the methods."""
FILE_OPTIONS = {
    *("--report", "--archive", "--export-cwl", "--generate-unit-tests", "--runtime-profile", "--directory", "-d"),
    *("--configfile", "--configfiles", "--report-metadata", "--report-stylesheet", "--snakefile", "-s"),
}
"""Options of Snakemake whose value is a file or folder, but none to make."""
WHOLE = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
"""JSON takes 5.0 for an integer; a step's command line does not."""
Validator = extend(Draft202012Validator, type_checker=WHOLE)
MAX_NAME = 100  # characters of an experiment's, which is a folder
SHOWN = 200  # characters of what is wrong, which may hold a whole section


def resolve(config: Mapping[str, Any], schema: Path) -> dict[str, dict[str, Any]]:
    """Complete settings by experiment. UserError, one line, for the first key that is unknown or has a wrong value."""
    config = _section(config, "top level")
    unknown = sorted(config.keys() - {"defaults", "experiments"}, key=str)
    if unknown:
        raise UserError("configuration", f"{unknown[0]!r} is no key", "the top level holds defaults and experiments")
    defaults = _section(config.get("defaults"), "defaults")
    experiments = _section(config.get("experiments"), "experiments")
    if not experiments:
        raise UserError("configuration", "experiments is empty", "config/README.md shows an entry")
    validator = Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    resolved = {}
    for name, own in experiments.items():
        if str(name).endswith(TEST_PREDICTIONS):
            raise UserError(
                "configuration", f"experiment {name!r} would share results/{name}", "do not end in that way"
            )
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or len(name) > MAX_NAME:
            shown = repr(name)[:MAX_NAME]
            raise UserError("configuration", f"{shown} is no name for an experiment", "use letters, digits, - and _")
        try:
            settings = overlay(defaults, _section(own, f"experiments.{name}"))
            _check(name, settings, validator)
        except RecursionError:
            raise UserError("configuration", f"experiments.{name} holds itself", "take the YAML anchor out") from None
        for seed in settings["seeds"]:
            repeated = repetition(name, settings["seeds"], seed)
            if repeated != name and repeated in experiments:
                raise UserError("configuration", f"experiment {repeated!r} is seed {seed} of {name!r} too", "rename it")
            resolved[repeated] = {**seeded(settings, seed), "repeats": name}
    for name, settings in resolved.items():
        for part in ("tables", "figures"):
            for title, shown in settings[part].items():
                others = {v.split("/")[0] for v in shown["variants"] if v.count("/") == 2}
                if unknown := sorted(others - resolved.keys()):
                    where = f"experiments.{name}.{part}.{title}"
                    raise UserError(
                        "configuration", f"{where}: experiment {unknown[0]!r} is unknown", "name one of yours"
                    )
    return resolved


def completed(config: Mapping[str, Any], shipped: Path) -> dict[str, Any]:
    """The configuration of a workflow that uses this one as a module: what its `defaults` leave out is as shipped."""
    ours = yaml.safe_load(shipped.read_text(encoding="utf-8"))["defaults"]
    return {**config, "defaults": overlay(ours, _section(config.get("defaults"), "defaults"))}


def repetition(experiment: str, seeds: Sequence[int], seed: int) -> str:
    """Name under which an experiment is run with one of its seeds: its own for the first of them."""
    return experiment if seed == seeds[0] else f"{experiment}-seed{seed}"


def seeded(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Settings of an experiment in which every training draws from `seed`."""
    resolved = dict(settings)
    for step, training in TRAININGS:
        if training in resolved[step]:
            section = {**resolved[step][training], "seed": seed}
            resolved[step] = {**resolved[step], training: section}
    return resolved


def overlay(below: Any, above: Any) -> Any:
    """`above` over `below`: mappings key by key, anything else replaced."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {key: overlay(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}
    return above


def patched(classify: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Training settings of a method: those of `patch_training` laid over `training` for all but the baseline."""
    return overlay(classify["training"], {} if method == "baseline" else classify["patch_training"])


def flags(section: Mapping[str, Any], prefix: str = "") -> str:
    """Command-line flags of a section, nested keys joined by dots, sorted: equal settings give equal text."""
    parts = []
    for key in sorted(section):
        value, name = section[key], f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            parts.append(flags(value, name))
        else:
            values = value if isinstance(value, list) else [value]
            parts.append(" ".join([f"--{name.replace('_', '-')}", *(shlex.quote(str(v)) for v in values)]))
    return " ".join(parts)


def targets(arguments: Sequence[str]) -> list[str]:
    """The arguments of Snakemake's command line that may be files to make: not those that an option reads or writes."""
    return [target for option, target in pairwise(("", *arguments)) if option not in FILE_OPTIONS]


def check_target(target: str, experiments: Mapping[str, Any]) -> None:
    """UserError when a file asked for names an experiment or a variant that cannot exist."""
    parts = Path(target).parts
    if len(parts) < 2 or parts[0] != "results":
        return
    suffixes = ("", TEST_PREDICTIONS, f"{TEST_PREDICTIONS}.tar")
    known = {f"{name}{suffix}" for name in experiments for suffix in suffixes}
    if parts[1] not in known:
        raise UserError(target, f"experiment {parts[1]!r} is unknown", f"there are {', '.join(experiments)}")
    if parts[1] in experiments and len(parts) > 3 and parts[2] not in BESIDE_VARIANTS:
        grids.parse(parts[2], parts[3])
    if parts[1] in experiments and parts[2:3] == ("tables",):
        settings = experiments[parts[1]]
        if not has_masks(settings):
            raise UserError(
                target, "there are no masks to measure with", "add SegmentationClass, or name another target"
            )
        if not settings["tables"] and not settings["figures"]:
            raise UserError(target, f"experiments.{parts[1]} names no tables", "config/README.md shows how to")


def has_masks(settings: Mapping[str, Any]) -> bool:
    """Whether there is anything to measure with: known before the data are there, as the plan depends on it."""
    data = settings["data"]
    return data["source"] != "folder" or (Path(data["path"]) / "SegmentationClass").is_dir()


def _section(value: Any, where: str) -> Mapping[str, Any]:
    """A mapping of the file, empty where nothing is written; UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError("configuration", f"{where}: {str(value)[:SHOWN]!r} is no section", "write keys below it")
    return value


def _check(name: str, settings: dict[str, Any], validator: Draft202012Validator) -> None:
    errors = sorted(validator.iter_errors(settings), key=lambda error: [str(part) for part in error.path])
    faults = [*((error.path, _what_is_wrong(error)) for error in errors), *_not_finite(settings)]
    if faults:
        path, wrong = faults[0]
        where = " ".join(".".join([f"experiments.{name}", *map(str, path)]).split())
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError("configuration", f"{where}: {wrong}{more}", "config/README.md explains the key")
    data = settings["data"]
    needed = {
        "demo": ("size", "train", "val", "test", "seed"),
        "folder": ("path",),
        "voc": (),
        "coco": ("coco_convention",),
    }[data["source"]]
    missing = [key for key in needed if key not in data]
    if missing:
        raise UserError(
            f"configuration: experiments.{name}.data", f"source {data['source']} lacks {', '.join(missing)}", "add it"
        )
    tabulated = [
        (f"{part}.{title}.variants", variant)
        for part in ("tables", "figures")
        for title, shown in settings[part].items()
        for variant in shown["variants"]
    ]
    for key, variant in [("main", settings["main"]), *(("compare", v) for v in settings["compare"]), *tabulated]:
        try:
            grids.parse(*variant.split("/")[-2:])
        except UserError as error:
            raise UserError(
                f"configuration: experiments.{name}.{key}: {error.where}", error.what, error.remedy
            ) from error
    classify, segment = settings["classify"]["training"], settings["segment"]["training"]
    ranges = {
        "classify.training.long_side": classify["long_side"],
        "segment.training.scale": segment["scale"],
        "refine.irnet.scale": settings["refine"]["irnet"]["scale"],
        "refine.affinitynet.long_side": settings["refine"]["affinitynet"]["long_side"],
    }
    for key, (low, high) in ranges.items():
        if low > high:
            raise UserError(
                "configuration", f"experiments.{name}.{key}: {low} is above {high}", "write the smaller first"
            )
    _check_background(f"configuration: experiments.{name}.refine", settings["refine"])


def _what_is_wrong(error: ValidationError) -> str:
    """The message of a schema's error in one line of bounded length, with the remedy where YAML sets a trap."""
    message = " ".join(error.message.split())
    if len(message) > SHOWN:
        message = f"{message[: SHOWN // 2]} ... {message[-SHOWN // 2 :]}"
    if error.validator_value == "number" and re.fullmatch(r"[-+.\d]+e[-+]?\d+", str(error.instance), re.IGNORECASE):
        message += " (YAML's numbers with an exponent have a point, as in 1.0e-4)"
    return message


def _not_finite(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where settings hold NaN or infinity, which pass many a range of the schema, and what to do."""
    if isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _not_finite(part, (*path, key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"{value} is not finite; write a number"


def _check_background(where: str, refine: Mapping[str, Any]) -> None:
    confident = refine["confident"]
    foreground, background = confident["foreground"], confident["background"]
    if confident["scores"] == "constant":
        # A lower threshold leaves less to background; of powers the higher one does.
        if max(foreground, background) > 1:
            raise UserError(f"{where}.confident", "thresholds are at most 1", "powers need scores: power")
        if background > foreground:
            what = f"background {background} is above foreground {foreground}"
            raise UserError(f"{where}.confident", what, "lower it")
    elif foreground > background:
        what = f"as powers, foreground {foreground} is above background {background}"
        raise UserError(f"{where}.confident", what, "write the smaller first")
    if refine["network"] == "affinitynet" and refine["walk"]["background"] < 1:
        raise UserError(
            f"{where}.walk.background", "below 1; IRNet takes a score", "with AffinityNet, write a power such as 16"
        )
    if refine["network"] == "irnet" and refine["walk"]["background"] > 1:
        raise UserError(
            f"{where}.walk.background", "above 1; AffinityNet takes a power", "with IRNet, write a score of at most 1"
        )
