"""A changed photo, label or mask reruns what used it and no more; copied and moved projects rerun nothing.

The dataset is prepared by the project's own code; all other steps are stand-ins that write empty outputs.
"""

import json
import os
import shutil
from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from ppl.data.lists import write_lists
from ppl.data.masks import write_mask
from ppl.data.state import Record
from ppl.jobs.errors import UserError
from ppl.jobs.provenance import content, file_of
from ppl.workflow import datasets

TRAININGS = {"train_classifier", "train_refiner", "train_segmenter"}
MEASURES = {"sweep_seeds", "measure_pseudo", "measure_predictions"}
TARGETS = ("results/mine_test_preds", "results/mine/report.html")
SPLITS = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["a", "b", "c", "d", "e", "f"]}


def photo(root: Path, image_id: str, brightness: int) -> None:
    Image.new("RGB", (30, 20), (brightness, 9, 9)).save(root / "mine" / "JPEGImages" / f"{image_id}.jpg")


def mask(root: Path, image_id: str, class_id: int) -> None:
    write_mask(root / "mine" / "SegmentationClass" / f"{image_id}.png", np.full((20, 30), class_id, np.uint8))


def lists(root: Path, labels: dict[str, list[str]] | None = None, **splits: list[str]) -> None:
    labelled = {image_id: ["cat"] for image_id in "abcde"} | (labels or {})
    write_lists(root / "mine", ["cat", "dog"], labelled, {**SPLITS, **splits})


@pytest.fixture(scope="module")
def original(unfinished):
    """The project with all results; its photos are limited in size, so they are linked one by one."""
    root = unfinished.root
    for name in ("JPEGImages", "SegmentationClass"):
        (root / "mine" / name).mkdir(parents=True)
    for brightness, image_id in enumerate("abcdef"):
        photo(root, image_id, brightness)
    for image_id in "abcde":
        mask(root, image_id, 1)
    lists(root)
    run(unfinished)
    return unfinished


@pytest.fixture
def project(original, tmp_path):
    """A copy that keeps all times."""
    root = tmp_path / "project"
    shutil.copytree(original.root, root, symlinks=True)
    return replace(original, root=root)


def start(project, *options: str) -> CompletedProcess[str]:
    python = str(project.root / "stand-in" / "snakemakes")
    return project.command(*options, "--", *TARGETS, python=python, ARGUMENTS=str(project.root / "arguments"))


def run(project, *options: str) -> str:
    done = start(project, *options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def planned(project) -> set[str]:
    """Return the rules of a dry run."""
    output = run(project, "--dry-run")
    rules = {line.split(":")[0].strip() for line in output.splitlines() if line.startswith(("rule ", "localrule "))}
    jobs = output.partition("Job stats:")[2].partition("total")[0].splitlines()[3:]
    assert jobs or "Nothing to be done" in output, output
    return rules or {line.split()[0] for line in jobs if line.strip()}


def test_with_all_results_nothing_runs_and_dates_of_photos_and_lists_alone_change_nothing(project):
    assert planned(project) == set()
    for path in (project.root / "mine").rglob("*"):
        if path.is_file():
            os.utime(path)
    assert not planned(project) & (TRAININGS | MEASURES)


def test_a_changed_mask_measures_again_and_trains_nothing(project):
    mask(project.root, "a", 2)
    mask(project.root, "d", 2)
    rules = planned(project)
    assert {"prepare_data", "check_data", "write_report"} | MEASURES <= rules
    assert not rules & {*TRAININGS, "export_cams", "walk", "predict"}
    run(project)
    assert planned(project) == set()


def test_one_more_unlabelled_photo_is_predicted_and_trains_nothing(project):
    photo(project.root, "g", 99)
    lists(project.root, test=[*SPLITS["test"], "g"])
    rules = planned(project)
    assert {"prepare_data", "predict", "gather_test_predictions"} <= rules
    assert not rules & {*TRAININGS, *MEASURES, "export_cams", "walk"}
    run(project)
    assert (project.root / "results/mine/data/JPEGImages/g.jpg").is_file()
    assert planned(project) == set()


@pytest.mark.parametrize(("image_id", "trains"), [("a", True), ("d", False), ("f", False)])
def test_a_photo_changed_under_its_name_trains_again_if_it_is_one_for_training(project, image_id, trains):
    photo(project.root, image_id, 200)
    rules = planned(project)
    assert {"prepare_data", "predict"} <= rules
    assert bool(rules & TRAININGS) == trains
    run(project)
    assert planned(project) == set()


def test_a_changed_label_of_training_trains_again(project):
    lists(project.root, labels={"a": ["dog"]})
    assert planned(project) >= TRAININGS


def test_a_setting_changed_together_with_another_photo_reruns_what_uses_it(project):
    photo(project.root, "f", 200)
    config = project.root / "config" / "config.yaml"
    config.write_text(config.read_text().replace("compare: []", "compare: []\n    segment: {training: {steps: 7}}"))
    rules = planned(project)
    assert {"prepare_data", "train_segmenter"} <= rules
    assert not rules & {"train_classifier", "train_refiner"}


def test_a_removed_dataset_and_check_are_made_again_without_trainings(project):
    shutil.rmtree(project.root / "results/mine/data")
    (project.root / "results/mine/check.json").unlink()
    rules = planned(project)
    assert {"prepare_data", "check_data"} <= rules
    assert not rules & TRAININGS
    assert not (project.root / "results/mine/data").exists()  # the dry run has left nothing
    assert not (project.root / "results/mine/check.json").exists()
    run(project)
    assert (project.root / "results/mine/data/JPEGImages/a.jpg").is_file()
    assert planned(project) == set()


def test_a_mistake_that_is_corrected_after_a_failed_run_trains_nothing(project):
    (project.root / "mine/ImageSets/Segmentation/val.txt").unlink()
    done = start(project)
    assert done.returncode != 0
    assert "mine: lacks ImageSets/Segmentation/val.txt" in done.stdout
    lists(project.root)
    rules = planned(project)
    assert {"prepare_data", "check_data"} <= rules
    assert not rules & {*TRAININGS, "export_cams", "walk", "predict"}
    run(project)
    assert planned(project) == set()


def test_a_copy_with_new_times_in_any_order_runs_nothing(project):
    # The stand-ins write no provenance.
    for path in (project.root / ".snakemake" / "metadata").iterdir():
        output = project.root / urlsafe_b64decode(path.name).decode()
        if output.name != "data":
            record = {"sha256": content(output).sha256, "settings": {}, "inputs": {}}
            file_of(output).write_text(json.dumps(record))
    copied = project.root.with_name("copied")
    shutil.copytree(project.root, copied, symlinks=True, copy_function=shutil.copyfile)
    assert not planned(replace(project, root=copied)) & TRAININGS


def test_a_moved_project_trains_nothing(project):
    moved = project.root.with_name("moved")
    project.root.rename(moved)
    assert not planned(replace(project, root=moved)) & TRAININGS


def test_results_without_the_records_of_snakemake_are_not_taken_for_those_of_other_settings(project):
    folder = project.root / "results/mine"
    record = {"name": "classifier.pt", "sha256": "", "files": 1, "inputs": {}, "settings": {}}
    record["settings"] = {"classify": {"training": {"epochs": 1}}, "random_seed": 0}
    (folder / "baseline/plain/.classifier.pt.provenance.json").write_text(json.dumps(record))
    shutil.rmtree(project.root / ".snakemake")
    done = project.command("--dry-run", "--", *TARGETS)
    assert done.returncode != 0
    assert "error: results/mine: computed with classify.training.epochs 1 (now 5)" in done.stdout
    assert "rm -r results/mine/baseline/plain/classifier.pt" in done.stdout
    assert "Traceback" not in done.stdout
    done = project.command("--dry-run", "--persistence-backend", "db", "--", *TARGETS)  # has them elsewhere
    assert done.returncode == 0, done.stdout


def test_results_without_the_records_of_snakemake_are_not_taken_for_those_of_other_photos(project):
    shutil.rmtree(project.root / ".snakemake")
    assert planned(project) == set()
    photo(project.root, "a", 200)
    done = start(project, "--dry-run")
    assert done.returncode != 0
    assert "error: results/mine: its data have changed (photos test, photos train), and .snakemake" in done.stdout
    assert "rm -r results/mine" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_full_disk_does_not_stop_the_comparison_of_files(tmp_path, monkeypatch):
    def full(folder: Path, record: Record) -> None:
        raise UserError(folder, "disk full", "free some space and run again")

    monkeypatch.setattr(datasets, "write_record", full)
    datasets._write(tmp_path, Record())
