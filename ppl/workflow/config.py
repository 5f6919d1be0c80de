"""Configuration of the workflow: resolve and check the experiments, and the targets that a user names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ppl.classify import variants
from ppl.classify.settings import Training
from ppl.data import source
from ppl.experiment.settings import Experiment as Settings
from ppl.jobs.errors import UserError
from ppl.jobs.fields import bounded, read
from ppl.jobs.slots import OWN, check_own, entries_named, load, used
from ppl.workflow.renamed import renamed

TEST_PREDICTIONS = "_test_preds"
BESIDE_VARIANTS = {"data", "logs", "benchmarks", "tables"}
"""Folders of results/EXPERIMENT beside those of the methods."""
FILE_OPTIONS = {
    *("--report", "--archive", "--export-cwl", "--generate-unit-tests", "--runtime-profile", "--directory", "-d"),
    *("--configfile", "--configfiles", "--report-metadata", "--report-stylesheet", "--snakefile", "-s"),
}
"""Options of Snakemake whose value is a file or folder, but not a target."""
AGREE = "refine.labels.agree"
MAX_NAME = 100  # characters of an experiment's name, which is also a folder
EXPLAINED = "config/README.md explains the key"


@dataclass(frozen=True)
class Experiment:
    """An experiment with its resolved settings, or its repetition with another random seed."""

    name: str
    settings: Settings
    repeats: str
    """The experiment that it repeats, with which it shares the dataset; its own name if it is no repetition."""
    random_seed: int

    @property
    def is_repetition(self) -> bool:
        """Whether it repeats another experiment."""
        return self.repeats != self.name

    @property
    def folder(self) -> str:
        """The folder of its results."""
        return f"results/{self.name}"

    @property
    def main(self) -> str:
        """The folder of its main variant."""
        return f"{self.folder}/{self.settings.main}"


def resolve(config: Mapping[str, Any]) -> dict[str, Experiment]:
    """Return the experiments by name, their repetitions with other random seeds included.

    An experiment overrides `defaults`, which override those of the fields. UserError, one line, for the first key that
    is unknown, renamed or has an invalid value.
    """
    config = _section(config, "top level")
    unknown = sorted(config.keys() - {"defaults", "experiments"}, key=str)
    if unknown:
        raise UserError("configuration", f"unknown key {unknown[0]!r}", "the top level holds defaults and experiments")
    defaults = _section(config.get("defaults"), "defaults")
    experiments = _section(config.get("experiments"), "experiments")
    if not experiments:
        raise UserError("configuration", "experiments is empty", "config/README.md shows an entry")
    resolved = {}
    for name, changes in experiments.items():
        _check_name(name)
        try:
            settings = _settings(defaults, _section(changes, f"experiments.{name}"), name)
        except RecursionError as error:
            what = f"experiments.{name} contains itself"
            raise UserError("configuration", what, "remove the YAML anchor") from error
        for seed in settings.random_seeds:
            repeated = repetition(name, settings.random_seeds, seed)
            if repeated != name and repeated in experiments:
                what = f"experiment {repeated!r} is also random seed {seed} of {name!r}"
                raise UserError("configuration", what, "rename it")
            resolved[repeated] = Experiment(repeated, settings, name, seed)
    _check_references(resolved)
    return resolved


def repetition(experiment: str, random_seeds: Sequence[int], random_seed: int) -> str:
    """Return the name under which an experiment runs with one of its seeds: its own name for the first of them."""
    return experiment if random_seed == random_seeds[0] else f"{experiment}-seed{random_seed}"


def overlay(below: Any, above: Any) -> Any:
    """Lay `above` over `below`: mappings key by key, anything else replaced."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {key: overlay(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}
    return above


def possible_targets(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of Snakemake's command line without the files that its options read or write."""
    return [target for option, target in pairwise(("", *arguments)) if option not in FILE_OPTIONS]


def check_target(target: str, experiments: Mapping[str, Experiment]) -> None:
    """Raise UserError if a requested file names an experiment or a variant that cannot exist."""
    parts = Path(target).parts
    if len(parts) < 2 or parts[0] != "results":
        return
    name, below = parts[1], parts[2:]
    suffixes = ("", TEST_PREDICTIONS, f"{TEST_PREDICTIONS}.tar")
    if name not in {f"{experiment}{suffix}" for experiment in experiments for suffix in suffixes}:
        experiment = name.removesuffix(".tar").removesuffix(TEST_PREDICTIONS)
        remedy = f"choose one of {', '.join(experiments)}, or name the file of its settings by --configfile"
        raise UserError(target, f"unknown experiment {experiment!r}", remedy)
    if name not in experiments:
        return
    if len(below) > 1 and below[0] not in BESIDE_VARIANTS:
        variants.parse(below[0], below[1])
    if below[:1] == ("tables",):
        settings = experiments[name].settings
        if not source.has_masks(settings.data):
            raise UserError(target, "the dataset has no masks to measure with", "add SegmentationClass")
        if not settings.tables and not settings.figures:
            raise UserError(target, f"experiments.{name} has no tables", "config/README.md shows how to add one")


def check_families(experiments: Iterable[Experiment]) -> None:
    """Raise UserError for an entry such as `timm/NAME` that does not exist, before the jobs that precede its own.

    The library knows the names; its import takes seconds, so this is not part of `resolve`.
    """
    for experiment in experiments:
        for named in entries_named(experiment.settings):
            if named.family.endswith("/") and named.family != OWN:
                try:
                    load(named.slot.entries, named.name).check(named.name, named.settings)
                except UserError as error:
                    where = f"configuration: experiments.{experiment.name}.{named.key}"
                    raise UserError(where, f"{error.where}: {error.what}", error.remedy) from error


def _settings(defaults: Mapping[str, Any], changes: Mapping[str, Any], name: str) -> Settings:
    """Return the settings of an experiment; `patch_training` takes what it does not set from `training`."""
    where = f"configuration: experiments.{name}"
    values = overlay(defaults, changes)
    for former, today in renamed(values):
        raise UserError(f"{where}.{former}", "renamed", f"write {today}")
    classify = values.get("classify")
    if isinstance(classify, Mapping) and "training" in classify:
        read(Training, classify["training"], "configuration", EXPLAINED, f"experiments.{name}.classify.training.")
        inherited = {key: value for key, value in classify["training"].items() if key != "lr"}
        values["classify"] = {**classify, "patch_training": overlay(inherited, classify.get("patch_training", {}))}
    settings = read(Settings, values, "configuration", EXPLAINED, f"experiments.{name}.")
    try:
        for name in ("data", "classify", "cam", "refine", "segment"):
            check_own(getattr(settings, name), f"{name}.")
        source.check(settings.data)
    except UserError as error:
        raise UserError(f"{where}.{error.where}", error.what, error.remedy) from error
    for key, variant in _variants(settings):
        try:
            variants.parse(*variant.split("/")[-2:])
        except UserError as error:
            raise UserError(f"{where}.{key}: {error.where}", error.what, error.remedy) from error
    return settings


def _section(value: Any, where: str) -> Mapping[str, Any]:
    """Return a mapping of the file, empty for null; UserError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError("configuration", f"{where}: {bounded(repr(value))} is not a section", "write keys below it")
    return value


def _check_name(name: Any) -> None:
    """Raise UserError for an invalid name: it is used as a folder, a wildcard and a part of command lines."""
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or len(name) > MAX_NAME:
        what = f"invalid experiment name {repr(name)[:MAX_NAME]}"
        raise UserError("configuration", what, "use letters, digits, - and _")
    if name.endswith(TEST_PREDICTIONS):
        what = f"results/{name} may be the test predictions of another experiment"
        raise UserError("configuration", what, f"choose a name that does not end in {TEST_PREDICTIONS}")


def _check_references(resolved: Mapping[str, Experiment]) -> None:
    """Raise UserError if a table, a figure or `refine.labels.agree` names an experiment that does not exist.

    Labels agree by image id and class id, so those to agree with must be of the same photos.
    """
    for name, experiment in resolved.items():
        for key, variant in _variants(experiment.settings):
            other = variant.split("/")[0] if variant.count("/") == 2 else name
            if other not in resolved:
                what = f"experiments.{name}.{key}: unknown experiment {other!r}"
                raise UserError("configuration", what, f"choose one of {', '.join(resolved)}")
            if key == AGREE and _training_data(resolved[other].settings) != _training_data(experiment.settings):
                what = f"experiments.{name}.{key}: {other!r} has other data or another data.train_split"
                raise UserError("configuration", what, "choose variants of experiments on the same photos")


def _training_data(settings: Settings) -> dict[str, Any]:
    """Return the settings of the training photos and their labels."""
    others = settings.data.splits.keys() - {"train_split"}
    return {key: value for key, value in used(settings.data).items() if key not in others}


def _variants(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield all variants that an experiment names, each with its key."""
    yield "main", settings.main
    for variant in settings.compare:
        yield "compare", variant
    for variant in settings.refine.labels.agree:
        yield AGREE, variant
    for part in ("tables", "figures"):
        for title, section in getattr(settings, part).items():
            for variant in section.variants:
                yield f"{part}.{title}.variants", variant
