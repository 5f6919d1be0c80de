"""Changing a key of the configuration or a piece of code reruns exactly what depends on it."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.workflow import config as configuration

REPOSITORY = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((REPOSITORY / "workflow" / "schemas" / "config.schema.yaml").read_text())
DEFAULTS = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())["defaults"]


def leaves(properties: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Dotted names of all keys that hold a value."""
    for key, schema in properties.items():
        if "properties" in schema:
            yield from leaves(schema["properties"], f"{above}{key}.")
        else:
            yield above + key


KEYS = tuple(leaves(SCHEMA["properties"]))


def only(*rules: str, variants: str = "", split: str = "") -> Callable[[Any], bool]:
    """Jobs of these rules, where asked for those of the variants that match a pattern, and of one split."""
    return lambda job: (
        job.rule in rules and bool(re.fullmatch(variants or ".*", job.variant)) and (not split or job.split == split)
    )


def nothing(job: Any) -> bool:
    """No job."""
    return False


NETWORKS = ("train_classifier", "export_cams", "train_irnet", "train_affinitynet", "walk", "train_deeplab", "predict")
CHANGED_SPLIT = "another"
OF_TRAININGS = ("draw_trainings", "tabulate_costs")  # which trainings there are is what they show

# Jobs that a key reaches first; what is computed from them follows. The longest name that starts a key's own counts.
FIRST: dict[str, Callable[[Any], bool]] = {
    "data.source": only("compose_demo"),
    "data.path": only("link_folder"),
    "data.max_side": only("link_folder"),
    "data.coco_convention": only("prepare_coco"),
    # Trainings wait for the check of all splits. `ancient` would take them out of what follows it, but Snakemake 9.27
    # does not look for other reasons to run a job behind an ancient input whose own job runs.
    "data.train_split": lambda job: (
        only("check_data", "train_classifier", "label_confident", "train_irnet", "walk", "train_deeplab")(job)
        or only("export_cams", split=CHANGED_SPLIT)(job)
    ),
    "data.seed_split": lambda job: (
        only("check_data", "sweep_seeds", "crf_seeds", "measure_crf_seeds", "measure_pseudo", "tabulate")(job)
        or only("export_cams", split=CHANGED_SPLIT)(job)
    ),
    "data.val_split": lambda job: (
        only("check_data", "train_classifier", "measure_predictions", "tabulate")(job)
        or only("predict", split=CHANGED_SPLIT)(job)
    ),
    "data.test_split": lambda job: (
        only("check_data", "gather_test_predictions")(job) or only("predict", split=CHANGED_SPLIT)(job)
    ),
    "data.size": only("compose_demo"),
    "data.train": only("compose_demo"),
    "data.val": only("compose_demo"),
    "data.test": only("compose_demo"),
    "data.seed": only("compose_demo"),
    # Shares its classifier with the chain that leads to the main variant: only its CAMs and their sweep are new.
    "compare": lambda job: (
        only("export_cams", "sweep_seeds", variants="implicit/s2k2")(job) or job.rule in ("draw_curves", *OF_TRAININGS)
    ),
    # The baseline has its classifier and CAMs, as it is compared; all that follows them is new. draw_curves drops one.
    "main": lambda job: (
        only("label_confident", "train_irnet", "walk", "train_deeplab", variants="baseline/plain")(job)
        or only("predict", variants="baseline/plain")(job)
        or only("gather_test_predictions", "draw_curves", *OF_TRAININGS)(job)
    ),
    "seeds": only("train_classifier", "train_irnet", "train_deeplab"),
    "tables": only("tabulate"),
    "figures": only("tabulate"),
    "hardware.gpu": nothing,
    "hardware.workers": nothing,
    "hardware.precision": only(*NETWORKS),
    "hardware.crf": only("label_confident", "crf_seeds", "walk", "predict"),
    # The number of shards is part of the names of files: all of them are written anew, trainings see other inputs.
    "hardware.shards": only("export_cams", "label_confident", "crf_seeds", "walk", "predict"),
    "classify.architecture": only("train_classifier"),
    "classify.training": only("train_classifier"),
    "classify.training.lr": only("train_classifier", variants="baseline/.*"),  # patch_training has its own
    # Of the methods at hand only the implicit one is new in the list, and its first step has no earlier classifier.
    "classify.training.keep_classifier": only("train_classifier", variants="implicit/s2k2-s3k4"),
    "classify.patch_training.keep_classifier": only("train_classifier", variants="implicit/s2k2-s3k4"),
    "classify.patch_training": only("train_classifier", variants="(?!baseline).*"),
    "cam.maps": only("export_cams"),
    "cam.threshold": only("draw_curves", "crf_seeds", "tabulate"),
    "refine.network": only("crf_pseudo", "write_report", *OF_TRAININGS),  # none: without a training
    "refine.confident": only("label_confident"),
    "refine.confident.confidence": only("label_confident", "crf_seeds"),
    "refine.confident.iterations": only("label_confident", "crf_seeds"),
    "refine.irnet": only("train_irnet"),
    "refine.affinitynet": only("train_affinitynet"),
    "refine.walk": only("walk"),
    "refine.pairwise": only("label_confident", "crf_seeds", "walk"),
    "segment.architecture": only("train_deeplab"),
    "segment.training": only("train_deeplab"),
    "segment.photo_scales": only("predict"),
    "segment.batch_size": only("predict"),
    "segment.crf": only("predict"),
    "segment.iterations": only("predict"),
    "segment.pairwise": only("predict"),
}

# Values that no arithmetic leads to, by the last word of a key or by all of it.
OTHER: dict[str, Any] = {
    "data.path": "other photos",
    "data.coco_convention": "B",
    "data.train_split": CHANGED_SPLIT,
    "data.seed_split": CHANGED_SPLIT,
    "data.val_split": CHANGED_SPLIT,
    "data.test_split": CHANGED_SPLIT,
    "compare": ["baseline/plain", "implicit/s2k2"],
    "main": "baseline/plain",
    "tables": {"VI": {"variants": ["baseline/plain"], "measures": ["seed"]}},
    "figures": {"figure-9": {"shows": "thresholds", "variants": ["baseline/plain"]}},
    "precision": "16-mixed",
    "hardware.crf": "gpu",
    "keep_classifier": ["implicit", "explicit", "local"],
    "backbone": "resnet18",
    "output_stride": 32,
    "segment.architecture.output_stride": 16,
    "phi_init": "identity",
    "weights": "none",
    "optimizer": "adamw",
    "fusion": "sum",
    "refine.network": "none",
    "scores": "power",
}


def another(key: str, value: Any) -> Any:
    """A value that is valid for the key and differs from `value`."""
    for name in (key, key.rsplit(".", 1)[-1]):
        if name in OTHER:
            return OTHER[name]
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * 0.9
        case [*first, last]:
            return [*first, last + 1]
    raise AssertionError(f"{key}: name another valid value in OTHER")


def get(settings: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        settings = settings[part]
    return settings


def put(experiment: str, **values: Any) -> dict[str, Any]:
    """A change of the configuration; dots in keys are written as two underscores."""
    own: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split("__")
        section = own
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return {"experiments": {experiment: own}}


def settings_of(project, experiment: str) -> dict[str, Any]:
    config = yaml.safe_load((project.root / "config" / "config.yaml").read_text())
    return configuration.overlay(config["defaults"], config["experiments"][experiment])


def change_of(project, key: str) -> tuple[str, dict[str, Any]]:
    """The experiment in which a key is changed, and the change."""
    if key == "data.source":
        generated = {"data__source": "demo", "data__size": 64, "data__train": 3, "data__val": 2, "data__test": 2}
        return "own", put("own", **generated, data__seed=0)
    if key == "refine.confident.scores":  # as powers, the defaults would be in the wrong order
        return "drawn", put(
            "drawn",
            refine__confident__scores="power",
            refine__confident__foreground=4,
            refine__confident__background=32,
        )
    experiment = {"data.path": "own", "data.max_side": "own", "data.coco_convention": "public"}.get(key, "drawn")
    experiment = "public" if key.startswith("refine.affinitynet.") else experiment
    settings = settings_of(project, experiment)
    present = settings | {"classify": settings["classify"] | {"patch_training": configuration.method_training(
        settings["classify"], "implicit"
    )}}  # fmt: skip
    return experiment, put(experiment, **{key.replace(".", "__"): another(key, get(present, key))})


def expected(key: str) -> Callable[[Any], bool]:
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        chosen = FIRST.get(".".join(parts[:length]))
        if chosen:
            return chosen
    raise AssertionError(f"{key}: say in FIRST which jobs depend on it")


def names(jobs) -> list[str]:
    return sorted(f"{job.rule}: {', '.join(job.outputs)}" for job in jobs)


def test_everything_is_there_and_nothing_would_run(project):
    plan = project.plan()
    assert names(plan.rerun) == []
    assert {job.experiment for job in plan.needs} == {"drawn", "own", "public"}


def test_the_schema_knows_every_default():
    def flat(section: Mapping[str, Any], above: str = "") -> Iterator[str]:
        for key, value in section.items():
            yield from flat(value, f"{above}{key}.") if isinstance(value, dict) else [above + key]

    assert set(flat(DEFAULTS)) <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_reruns_exactly_what_depends_on_it(project, key):
    experiment, change = change_of(project, key)
    if key == "data.path":
        (project.root / OTHER[key]).mkdir(exist_ok=True)
    plan = project.plan(change)
    first = plan.select(lambda job: job.experiment == experiment and expected(key)(job))
    assert first or expected(key) is nothing
    if first and key not in ("tables", "figures"):  # the page names every setting that decides a result
        first |= plan.select(lambda job: job.experiment == experiment and job.rule == "write_settings")
    assert names(plan.rerun) == names(plan.following(first))
    assert {job.experiment for job in plan.rerun} <= {experiment}


def test_an_order_of_keys_and_a_repeated_default_rerun_nothing(project):
    reordered = dict(reversed(settings_of(project, "drawn")["classify"]["training"].items()))
    assert not project.plan(put("drawn", classify__training=reordered)).rerun


# Snakemake compares the values of parameters without their names.
@pytest.mark.parametrize(
    ("key", "with_key", "rule"),
    [
        ("data.train", "data.val", "compose_demo"),
        ("data.train_split", "data.val_split", "train_classifier"),
        ("segment.batch_size", "segment.iterations", "predict"),
    ],
)
def test_values_that_change_places_are_seen(project, key, with_key, rule):
    settings = settings_of(project, "drawn")
    swapped = {key: get(settings, with_key), with_key: get(settings, key)}
    change = put("drawn", **{name.replace(".", "__"): value for name, value in swapped.items()})
    plan = project.plan(change)
    assert plan.select(lambda job: job.rule == rule and job.experiment == "drawn") <= plan.rerun


@pytest.mark.parametrize(
    ("module", "first"),
    [
        ("data/demo", ("compose_demo",)),
        ("data/folder", ("link_folder",)),
        ("data/coco", ("prepare_coco",)),
        ("data/check", ("check_data",)),
        ("classify/train", ("train_classifier",)),
        ("classify/network", ("train_classifier", "export_cams")),
        ("cam/maps", ("export_cams",)),
        ("cam/sweep", ("sweep_seeds",)),
        ("cam/curves", ("draw_curves", "write_report", "tabulate")),
        ("refine/confident", ("label_confident", "walk")),
        ("refine/labelling", ("label_confident", "crf_seeds", "walk")),
        ("refine/crf_seeds", ("crf_seeds",)),
        ("refine/losses", ("train_irnet",)),
        ("refine/affinitynet", ("train_irnet", "train_affinitynet", "walk")),
        ("refine/walk", ("walk",)),
        ("segment/train", ("train_deeplab",)),
        ("segment/deeplab", ("train_deeplab", "predict")),
        ("segment/predict_split", ("predict",)),
        ("segment/inference", ("predict",)),
        ("segment/predicted", ("predict",)),
        ("segment/evaluate", ("measure_crf_seeds", "measure_pseudo", "measure_predictions")),
        ("segment/server", ("gather_test_predictions",)),
        ("report/settings", ("write_settings",)),
        ("report/summary", ("summary", "draw_trainings", "write_report", "tabulate")),
        ("report/gallery", ("write_report", "tabulate")),
        ("report/tables", ("tabulate",)),
        ("crf", ("label_confident", "crf_seeds", "walk", "predict")),
        ("backbones", NETWORKS),
        ("config", ()),
        ("code_hash", ("write_report",)),  # which reads records
    ],
)
def test_a_changed_algorithm_reruns_its_step_and_what_follows(project, module, first):
    path = project.root / "ppl" / f"{module}.py"
    with project.changed({path: f"{path.read_text()}\nCHANGED = 1\n"}):
        plan = project.plan()
    assert names(plan.rerun) == names(plan.following(plan.select(only(*first))))


def test_a_changed_template_rewrites_the_page(project):
    path = project.root / "ppl" / "report" / "page.html"
    with project.changed({path: f"{path.read_text()}<!-- changed -->"}):
        plan = project.plan()
    assert {job.rule for job in plan.rerun} == {"write_report"}


def test_comments_docstrings_and_formatting_rerun_nothing(project):
    modules = (project.root / "ppl").rglob("*.py")
    with project.changed({path: f'"""Another text."""\n{path.read_text()}\n\n\n# a comment\n' for path in modules}):
        plan = project.plan()
    assert names(plan.rerun) == []


def planned(output: str) -> set[str]:
    """Rules that a dry run lists."""
    counts = re.search(r"^Job stats:\n.*?\n(?=\n)", output, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"^(\w+) +\d+$", counts[0], flags=re.MULTILINE)) - {"total"} if counts else set()


WALK_AND_AFTER = {
    "walk",
    "measure_pseudo",
    "train_deeplab",
    "predict",
    "measure_predictions",
    "gather_test_predictions",
    "summary",
    "draw_trainings",
    "tabulate_costs",
    "write_report",
}


def test_the_command_line_says_the_same(project):
    dry = ("--dry-run", *project.targets())
    changed = project.root / "changed.yaml"
    changed.write_text(yaml.safe_dump(put("drawn", refine__irnet__lr=0.05)))
    done = project.command(*dry, "--configfile", str(changed))
    assert planned(done.stdout) == {"write_settings", "train_irnet"} | WALK_AND_AFTER, done.stdout
    assert "results/own" not in re.sub(r"Command:.*", "", done.stdout)

    walk = project.root / "ppl" / "refine" / "walk.py"
    before = walk.read_text()
    with project.changed({walk: f"{before}\n# a comment\n"}):
        done = project.command(*dry)
    assert "Nothing to be done" in done.stdout, done.stdout

    with project.changed({walk: re.sub(r"^TOLERANCE = .*$", "TOLERANCE = 1e-3", before, flags=re.MULTILINE)}):
        done = project.command(*dry)
    assert planned(done.stdout) == WALK_AND_AFTER, done.stdout


def test_affinitynet_takes_the_place_of_irnet(project):
    targets = ["results/drawn_test_preds", "results/drawn/report.html"]
    plan = project.plan(put("drawn", refine__network="affinitynet", refine__walk__background=16), targets=targets)
    assert {"train_affinitynet", "walk"} <= {job.rule for job in plan.rerun}
    assert "train_irnet" not in {job.rule for job in plan.needs}
    plan = project.plan(put("drawn", refine__network="none"), targets=targets)
    assert not {"label_confident", "train_affinitynet", "train_irnet", "walk"} & {job.rule for job in plan.needs}
