"""Changing a key of the configuration or a module reruns exactly what depends on it."""

import ast
import dataclasses
import operator
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl.data.masks import write_mask
from ppl.experiment.settings import Experiment
from ppl.jobs.code_hash import NOT_HASHED
from ppl.jobs.fields import plain
from ppl.jobs.slots import used
from ppl.workflow import config as configuration

REPOSITORY = Path(__file__).parents[2]


def leaves(section: Any, above: str = "") -> Iterator[str]:
    """Yield the dotted names of all keys that hold a value."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{above}{field.name}.")
        else:
            yield above + field.name


KEYS = tuple(leaves(Experiment()))


def only(*rules: str, variants: str = ".*", split: str = ".*", experiments: str = ".*") -> Callable[[Any], bool]:
    """Jobs of these rules whose variant, split and experiment match the patterns."""
    return lambda job: (
        job.rule in rules
        and bool(re.fullmatch(variants, job.variant))
        and bool(re.fullmatch(split, job.split))
        and bool(re.fullmatch(experiments, job.experiment))
    )


def either(*conditions: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Jobs that fulfil one of the conditions."""
    return lambda job: any(condition(job) for condition in conditions)


nothing = only()
NETWORKS = ("train_classifier", "export_cams", "train_refiner", "walk", "train_segmenter", "predict")
CRF_SEEDS = ("crf_seeds", "best_crf_seeds")
CHANGED_SPLIT = "another"
OF_TRAININGS = ("draw_trainings", "tabulate_costs")  # their inputs are the trainings of all shown variants

# Jobs that read a key; those that depend on their outputs follow. Of the names that start a key the longest applies.
# Keys of an entry that no experiment of the project names rerun nothing, and need no line.
FIRST: dict[str, Callable[[Any], bool]] = {
    "data": only("prepare_data"),
    # Trainings wait for the check of all splits. `ancient` would take them out of what follows it, but Snakemake 9.27
    # does not look for other reasons to run a job behind an ancient input whose own job runs.
    "data.train_split": either(
        only("check_data", "train_classifier", "label_reliable", "train_refiner", "walk", "train_segmenter"),
        only("count_classes"),
        only("export_cams", split=CHANGED_SPLIT),
    ),
    "data.seed_split": either(
        only("check_data", "sweep_seeds", *CRF_SEEDS, *(f"measure_{what}" for what in (*CRF_SEEDS, "pseudo"))),
        only("export_cams", split=CHANGED_SPLIT),
    ),
    "data.val_split": either(
        only("check_data", "train_classifier", "measure_predictions", "count_classes"),
        only("predict", split=CHANGED_SPLIT),
    ),
    "data.test_split": either(
        only("check_data", "gather_test_predictions"),
        only("predict", split=CHANGED_SPLIT),
    ),
    # implicit/s2k2 is the first step of the main variant: its classifier exists, but neither its CAMs nor their sweep.
    "compare": either(
        only("export_cams", "sweep_seeds", "choose_threshold", variants="implicit/s2k2"),
        only("draw_curves", *OF_TRAININGS),
    ),
    # The baseline is compared, so its classifier and CAMs exist; what follows is new, and draw_curves drops a curve.
    "main": either(
        only("label_reliable", "train_refiner", "walk", "train_segmenter", "predict", variants="baseline/plain"),
        only("count_classes", variants="baseline/plain"),
        only("gather_test_predictions", "draw_curves", *OF_TRAININGS),
    ),
    "random_seeds": only("train_classifier", "train_refiner", "train_segmenter"),
    "tables": only("tabulate"),
    "figures": only("tabulate"),
    "hardware.gpu": nothing,
    "hardware.workers": nothing,
    "hardware.compile": nothing,
    "hardware.precision": only(*NETWORKS),
    "hardware.crf": only("label_reliable", *CRF_SEEDS, "walk", "predict"),
    # The number of shards is part of file names: all are written again, and trainings have other inputs.
    "hardware.require_gpu": nothing,
    "hardware.shards": only("export_cams", "label_reliable", *CRF_SEEDS, "walk", "predict"),
    "classify.architecture": only("train_classifier"),
    "classify.architecture.backbone": only("train_classifier", "export_cams"),  # another module runs
    "classify.training": only("train_classifier"),  # patch_training takes what it does not set
    "classify.training.lr": only("train_classifier", variants="baseline/.*"),  # it has its own
    # Of the trained methods only the implicit one is new in the list, and its first step has no earlier classifier.
    "classify.training.keep_classifier": only("train_classifier", variants="implicit/s2k2-s3k4"),
    "classify.patch_training.keep_classifier": only("train_classifier", variants="implicit/s2k2-s3k4"),
    "classify.patch_training": only("train_classifier", variants="(?!baseline).*"),
    "cam.method": only("export_cams"),
    "cam.maps": only("export_cams"),
    "cam.prototypes": only("export_cams"),
    "cam.scorecam": only("export_cams"),
    "cam.threshold": only("choose_threshold"),
    "refine.network": only("crf_pseudo", "write_report", *OF_TRAININGS),  # none: no training
    "refine.reliable": only("label_reliable"),
    "refine.reliable.confidence": only("label_reliable", *CRF_SEEDS),
    "refine.reliable.iterations": only("label_reliable", *CRF_SEEDS),
    "refine.labels.margins": only("walk"),
    # The labels of the baseline are new, and so is the agreement; its own network is not trained.
    "refine.labels.agree": either(
        only("label_reliable", "train_refiner", "walk", variants="baseline/plain"), only("agree_labels")
    ),
    "refine.keep_classes": only("label_reliable", "walk"),
    "refine.irnet.training": only("train_refiner"),
    "refine.irnet.walk": only("walk"),
    "refine.affinitynet.training": only("train_refiner"),
    "refine.affinitynet.walk": only("walk"),
    "refine.pairwise": only("label_reliable", *CRF_SEEDS, "walk"),
    "segment.network": only("train_segmenter", "predict"),
    "segment.deeplab_v2": only("train_segmenter"),
    "segment.smp": only("train_segmenter"),
    "segment.training": only("train_segmenter"),
    "segment.prediction": only("predict"),
}
BACKBONES = {
    "refine.irnet.training.backbone": only("train_refiner", "walk"),
    "refine.affinitynet.training.backbone": only("train_refiner", "walk"),
    "segment.deeplab_v2.backbone": only("train_segmenter", "predict"),
}
"""Another backbone is another module, which the steps after the training run too."""
FIRST |= BACKBONES

# Other valid values of keys that are not numbers, by the whole key or its last part.
OTHER: dict[str, Any] = {
    "path": "other photos",
    "data.coco.convention": "B",
    "data.folder.orientation": "stored",
    "data.folder.bits": "each",
    "own": {"a": 1},
    "data.train_split": CHANGED_SPLIT,
    "data.seed_split": CHANGED_SPLIT,
    "data.val_split": CHANGED_SPLIT,
    "data.test_split": CHANGED_SPLIT,
    "compare": ["baseline/plain", "implicit/s2k2"],
    "main": "baseline/plain",
    "tables": {"VI": {"variants": ["baseline/plain"], "measures": ["seed"]}},
    "figures": {"figure-9": {"shows": "thresholds", "variants": ["baseline/plain"]}},
    "precision": "16-mixed",
    "hardware.compile": "always",
    "hardware.crf": "gpu",
    "keep_classifier": ["implicit", "explicit", "local"],
    "backbone": "efficientnet_lite0",
    "output_stride": 32,
    "segment.deeplab_v2.output_stride": 16,
    "phi_init": "identity",
    "weights": "none",
    "optimizer": "adamw",
    "fusion": "sum",
    "encoder": "resnet18",
    "cam.method": "scorecam",
    "refine.network": "none",
    "segment.network": "smp/Unet",
    "scores": "alphas",
    "agree": ["baseline/plain"],
}


def another(key: str, value: Any) -> Any:
    """Return a valid value of the key that differs from `value`."""
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
    raise AssertionError(f"{key}: add another valid value to OTHER")


def put(experiment: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a change of the configuration from values by their dotted keys."""
    change: dict[str, Any] = {}
    for key, value in values.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        change = configuration.overlay(change, value)
    return {"experiments": {experiment: change}}


def value_of(project, experiment: str, key: str) -> Any:
    """Return the value of a key in an experiment of the project."""
    settings = configuration.resolve({"experiments": project.experiments})[experiment].settings
    return plain(operator.attrgetter(key)(settings))


def users_of(project, key: str) -> list[str]:
    """Return the experiments that use a key: it belongs to no entry, or to one that they name."""
    experiments = configuration.resolve({"experiments": project.experiments})
    return [name for name, experiment in experiments.items() if holds(used(experiment.settings), key)]


def holds(values: Any, key: str) -> bool:
    """Return whether nested values have a dotted key."""
    first, _, rest = key.partition(".")
    return isinstance(values, dict) and first in values and (not rest or holds(values[first], rest))


def change_of(project, key: str) -> tuple[str, dict[str, Any]]:
    """Return the experiment in which a key is changed, the first that uses it, and the change."""
    if key == "data.source":
        return "own", {"experiments": {"own": {"data": project.experiments["drawn"]["data"]}}}
    experiment = [*users_of(project, key), "drawn"][0]
    return experiment, put(experiment, {key: another(key, value_of(project, experiment, key))})


def expected(project, key: str) -> Callable[[Any], bool]:
    if not users_of(project, key):
        return nothing
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if condition := FIRST.get(".".join(parts[:length])):
            return condition
    raise AssertionError(f"{key}: add to FIRST which jobs depend on it")


def names(jobs) -> list[str]:
    return sorted(f"{job.rule}: {', '.join(job.outputs)}" for job in jobs)


def test_with_all_results_nothing_would_run(project):
    plan = project.plan()
    assert names(plan.rerun) == []
    assert {job.experiment for job in plan.needs} == {"drawn", "own", "public"}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_reruns_exactly_what_depends_on_it(project, key):
    experiment, change = change_of(project, key)
    if key.endswith(".path"):
        (project.root / OTHER["path"]).mkdir(exist_ok=True)
    plan, condition = project.plan(change), expected(project, key)
    first = plan.select(lambda job: job.experiment == experiment and condition(job))
    assert first or condition is nothing
    if first and key not in ("tables", "figures"):  # settings.yaml lists every setting that decides a result
        first |= plan.select(lambda job: job.experiment == experiment and job.rule == "write_settings")
    assert names(plan.rerun) == names(plan.following(first))
    assert {job.experiment for job in plan.rerun} <= {experiment}


def test_a_threshold_chosen_without_masks_in_place_of_a_number_reruns_what_reads_it(project):
    plan = project.plan(put("drawn", {"cam.threshold": "auto"}))
    first = plan.select(only("choose_threshold", "write_settings", experiments="drawn"))
    assert {job.variant for job in first} == {"", "baseline/plain", "implicit/s2k2-s3k4"}
    assert names(plan.rerun) == names(plan.following(first))
    for job in first - plan.select(only("write_settings")):
        cams = [f"results/drawn/{job.variant}/cams/train-{i}of2.h5" for i in (1, 2)]
        assert set(job.reads) == {"results/drawn/data", f"results/drawn/{job.variant}/classifier.pt", *cams}


def test_a_number_as_threshold_needs_no_input(project):
    jobs = project.plan().select(only("choose_threshold", experiments="drawn|own"))
    assert len(jobs) == 3
    assert {job.reads for job in jobs} == {()}


def test_an_order_of_keys_and_a_repeated_default_rerun_nothing(project):
    reordered = dict(reversed(value_of(project, "drawn", "classify.training").items()))
    assert not project.plan(put("drawn", {"classify.training": reordered})).rerun


# Snakemake compares the values of params without their names.
@pytest.mark.parametrize(("key", "with_key", "rule"), [
    ("data.demo.train", "data.demo.val", "prepare_data"),
    ("data.train_split", "data.val_split", "train_classifier"),
    ("segment.prediction.batch_size", "segment.prediction.iterations", "predict"),
])  # fmt: skip
def test_two_keys_that_swap_values_rerun_their_job(project, key, with_key, rule):
    plan = project.plan(
        put("drawn", {key: value_of(project, "drawn", with_key), with_key: value_of(project, "drawn", key)})
    )
    assert plan.select(lambda job: job.rule == rule and job.experiment == "drawn") <= plan.rerun


MODULES: dict[str, Callable[[Any], bool]] = {
    "data/prepare": only("prepare_data"),
    "data/sources/demo": only("prepare_data", experiments="drawn"),
    "data/sources/folder": only("prepare_data", experiments="own"),
    "data/sources/coco": only("prepare_data", experiments="public"),
    "data/check": only("check_data"),
    "classify/train": only("train_classifier"),
    "classify/network": only("train_classifier", "export_cams"),
    "cam/maps": only("export_cams"),
    "cam/prototypes": only("export_cams"),
    "cam/scorecam": only("export_cams", experiments="public"),
    "cam/gradcam_plus_plus": nothing,
    # Only `public` chooses its threshold.
    "cam/separation": only("choose_threshold", experiments="public"),
    "cam/measure_separation": only("choose_threshold", experiments="public"),
    "cam/threshold": only(
        *("choose_threshold", *CRF_SEEDS, "draw_curves", "summary", "draw_trainings", "write_report", "tabulate"),
        *("label_reliable", "walk", "count_classes"),
    ),
    "measure/sweep": only("sweep_seeds"),
    "measure/best_crf_seeds": only("best_crf_seeds"),
    "measure/thresholds": only(
        "best_crf_seeds", "draw_curves", "summary", "draw_trainings", "write_report", "tabulate"
    ),
    "measure/curves": only("draw_curves", "write_report", "tabulate"),
    "measure/label_maps": only(*(f"measure_{what}" for what in (*CRF_SEEDS, "pseudo", "predictions"))),
    "refine/reliable": only("label_reliable"),
    "refine/labelling": only("label_reliable", *CRF_SEEDS),
    "refine/crf_seeds": only(*CRF_SEEDS),
    "refine/passes": only("label_reliable", *CRF_SEEDS, "walk"),
    "refine/presence": only("label_reliable", *CRF_SEEDS, "walk"),
    "refine/pseudo": only("walk"),
    "refine/agree": nothing,  # no experiment of the project lets variants agree
    "refine/irnet": only("train_refiner", "walk", experiments="drawn|own"),
    "refine/affinitynet": only("train_refiner", "walk", experiments="public"),
    "refine/losses": only("train_refiner", "walk", experiments="drawn|own"),
    "refine/walk": only("walk"),
    "refine/walk_irnet": only("walk", experiments="drawn|own"),
    "refine/train_refiner": only("train_refiner"),
    "training/label_grids": only("train_refiner", "walk", "train_segmenter", "predict"),
    "segment/train": only("train_segmenter"),
    "segment/deeplab_v2": only("train_segmenter", "predict", experiments="drawn|own"),
    "segment/smp": only("train_segmenter", "predict", experiments="public"),
    "segment/predict_split": only("predict"),
    "segment/inference": only("predict"),
    "segment/postprocess": only("predict"),
    "segment/voc_server": only("gather_test_predictions"),
    "experiment/stored": only("write_settings", "summary", "draw_trainings", "write_report", "tabulate"),
    "report/summary": only("summary", "draw_trainings", "write_report", "tabulate"),
    "report/gallery": only("write_report"),
    "report/tables": only("tabulate"),
    "report/count_classes": only("count_classes"),
    "report/classes": only("count_classes", "write_report"),
    "report/page.html": only("write_report"),
    "crf/dense": only("label_reliable", *CRF_SEEDS, "walk", "predict"),
    "networks/backbones": only(*NETWORKS),
    "networks/resnet": either(
        only(*NETWORKS, experiments="drawn|own"), only("train_classifier", "export_cams", experiments="public")
    ),
    "networks/vgg16": only("train_refiner", "walk", experiments="public"),
    "networks/timm_backbone": nothing,
    "segment/settings": nothing,  # its values are parameters
    "workflow/config": nothing,
}


@pytest.mark.parametrize("module", MODULES)
def test_a_changed_module_reruns_its_step_and_what_follows(project, module):
    path = project.root / "ppl" / module if "." in module else project.root / "ppl" / f"{module}.py"
    with project.changed({path: f"{path.read_text()}\nCHANGED = 1\n"}):
        plan = project.plan()
    assert names(plan.rerun) == names(plan.following(plan.select(MODULES[module])))


class Reworded(ast.NodeTransformer):
    """Change the text of all messages: strings of raised exceptions, of user errors and of prints."""

    messages = 0

    def reword(self, node: ast.AST) -> ast.AST:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value += " (reworded)"
                self.messages += 1
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return self.reword(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_message = isinstance(node.func, ast.Name) and node.func.id in ("UserError", "print")
        return self.reword(node) if is_message else self.generic_visit(node)


def test_comments_formatting_messages_and_plumbing_rerun_nothing(project):
    folder, reworded, changed = project.root / "ppl", Reworded(), {}
    for path in folder.rglob("*.py"):
        tree = reworded.visit(ast.parse(path.read_text()))
        changed[path] = f'"""Another text."""\n{ast.unparse(tree)}\n\n\n# a comment\n'
    plumbing = {folder.parent.joinpath(*module.split(".")).with_suffix(".py") for module in NOT_HASHED} & changed.keys()
    changed |= {path: f"{changed[path]}CHANGED = 1\n" for path in plumbing}
    assert reworded.messages > 200
    assert len(plumbing) > 5
    with project.changed(changed):
        plan = project.plan()
    assert names(plan.rerun) == []


@pytest.fixture
def turned(project) -> Iterator[Path]:
    """The dataset folder of the experiment `own` with a photo that EXIF turns by a quarter: the mask decides for it."""
    root, exif = project.root / project.experiments["own"]["data"]["folder"]["path"], Image.Exif()
    exif[0x0112] = 6
    photo = root / "JPEGImages" / "a.jpg"
    Image.new("RGB", (30, 20)).save(photo, exif=exif)
    yield root
    for path in (*(root / "JPEGImages").iterdir(), *(root / "SegmentationClass").iterdir()):
        path.unlink()


def test_an_unreadable_photo_or_contradictory_masks_do_not_stop_the_plan(project, turned):
    photos, masks, lists = turned / "JPEGImages", turned / "SegmentationClass", turned / "ImageSets" / "Segmentation"
    shutil.copyfile(photos / "a.jpg", photos / "b.jpg")
    write_mask(masks / "a.png", np.zeros((20, 30), np.uint8))
    write_mask(masks / "b.png", np.zeros((30, 20), np.uint8))
    exif = Image.open(photos / "a.jpg").getexif()
    Image.new("RGB", (20, 20)).save(photos / "c.jpg", exif=exif)
    write_mask(masks / "c.png", np.zeros((20, 20), np.uint8))
    with project.changed({lists / "val.txt": "a\nb\nc\n"}):
        assert "prepare_data" in {job.rule for job in project.plan().rerun}
        (photos / "a.jpg").write_bytes(b"no photo")
        assert "prepare_data" in {job.rule for job in project.plan().rerun}


def rules_of(output: str) -> set[str]:
    """Return the rules that a dry run lists."""
    counts = re.search(r"^Job stats:\n.*?\n(?=\n)", output, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"^(\w+) +\d+$", counts[0], flags=re.MULTILINE)) - {"total"} if counts else set()


def test_the_command_line_plans_the_same(project):
    dry_run = ("--dry-run", *project.targets())
    walk = project.root / "ppl" / "refine" / "walk.py"
    before = walk.read_text()
    with project.changed({walk: f"{before}\n# a comment\n"}):
        done = project.command(*dry_run)
    assert "Nothing to be done" in done.stdout, done.stdout

    with project.changed({walk: re.sub(r"^TOLERANCE = .*$", "TOLERANCE = 1e-3", before, flags=re.MULTILINE)}):
        done = project.command(*dry_run)
        assert rules_of(done.stdout) == {job.rule for job in project.plan().rerun}, done.stdout
    assert "walk" in rules_of(done.stdout)


def test_another_network_takes_the_place_of_irnet(project):
    targets = ["results/drawn_test_preds", "results/drawn/report.html"]
    plan = project.plan(put("drawn", {"refine.network": "affinitynet"}), targets=targets)
    first = plan.select(lambda job: job.rule in ("train_refiner", "walk", "write_settings"))
    assert names(plan.rerun) == names(plan.following(first))
    plan = project.plan(put("drawn", {"refine.network": "none"}), targets=targets)
    assert not {"label_reliable", "train_refiner", "walk"} & {job.rule for job in plan.needs}
