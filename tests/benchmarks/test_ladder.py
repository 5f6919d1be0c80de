"""The ladder of labels: what its jobs read and share, that it resumes, and which masks it opens."""

import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import IGNORE, read_mask, write_mask
from ppl.jobs.command import parse
from ppl.jobs.errors import UserError
from ppl.measure import label_maps

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PLAIN, IMPLICIT = "baseline/plain", "implicit/s4k2"


@pytest.fixture
def ladder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, which is in no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("ladder")


@pytest.fixture
def data(scenes) -> Path:
    """The scenes, all in each of the splits."""
    lists = scenes.root / "ImageSets" / "Segmentation"
    for split in ("trainaug", "train", "val"):
        shutil.copyfile(lists / "all.txt", lists / f"{split}.txt")
    return scenes.root


@pytest.fixture
def settings(ladder: ModuleType, data: Path, tmp_path: Path) -> Any:
    return ladder.Settings(data=data, out=tmp_path / "recipes", seeds=(0, 1))


@pytest.fixture
def executed(ladder: ModuleType, scenes, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Outputs of the jobs that ran: label maps are the masks, other files are empty."""
    outputs = []

    def execute(job: Any) -> float:
        outputs.append(job.out)
        assert all(path.exists() for path in job.inputs)
        job.out.parent.mkdir(parents=True, exist_ok=True)
        if job.out.suffix:
            job.out.touch()
        for folder in [job.out / kind for kind in ladder.KINDS] if "predictions" in job.out.parts else [job.out]:
            for path in [] if job.out.suffix else find_maps(scenes.labels, scenes.images):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / path.name)
        return 0.0

    monkeypatch.setattr(ladder, "execute", execute)
    return outputs


def plan(ladder: ModuleType, settings: Any) -> list[Any]:
    rungs = ladder.Ladder(settings)
    return rungs.jobs(rungs.runs())


def test_every_command_is_valid_and_reads_what_earlier_ones_write(ladder: ModuleType, settings: Any) -> None:
    written = set()
    for job in plan(ladder, replace(settings, final=True)):
        kind = importlib.import_module(job.module).Settings
        assert isinstance(parse(kind, job.arguments), kind)
        assert {path for path in job.inputs if path != settings.data / "SegmentationClass"} <= written
        assert job.out not in written
        written.add(job.out)
    networks = [path.relative_to(settings.out).parts for path in written if path.name == "segmenter.pt"]
    assert {parts[0] for parts in networks} == set(ladder.read_rungs(ladder.RUNGS))
    assert {parts[3] for parts in networks} == {"0", "1"}


def test_rungs_share_classifiers_cams_and_chosen_thresholds(ladder: ModuleType, settings: Any) -> None:
    for module, fixed in (("ppl.classify.train", 0), ("ppl.cam.export", 0), ("ppl.cam.choose_threshold", 1)):
        jobs = [job for job in plan(ladder, settings) if job.module == module]
        assert len(jobs) == (1 + fixed) * 2 * len(settings.seeds)
        shared = [job.out for job in jobs if job.out.is_relative_to(settings.out / "classifiers")]
        assert len(shared) == 2 * len(settings.seeds)


def test_all_networks_train_alike(ladder: ModuleType, settings: Any) -> None:
    """Their commands differ in labels, outputs and random seed."""
    own = ("--labels", "--out", "--log", "--random_seed")
    jobs = [job.arguments for job in plan(ladder, settings) if job.module == "ppl.segment.train"]
    common = {tuple(w for i, w in enumerate(a) if w not in own and a[i - 1] not in own) for a in jobs}
    assert len(jobs) > 10
    assert len(common) == 1


def test_agreement_is_that_of_both_variants_or_of_two_random_seeds(ladder: ModuleType, settings: Any) -> None:
    settings = replace(settings, rungs=("agree", "control"))
    reliable = settings.out / "reliable"
    inputs = {
        job.out.relative_to(settings.out).parent.as_posix(): [path.parent for path in job.inputs]
        for job in plan(ladder, settings)
        if job.module == "ppl.refine.agree"
    }
    assert inputs == {
        f"agree/{IMPLICIT}/0": [reliable / IMPLICIT / "0", reliable / PLAIN / "0"],
        f"agree/{IMPLICIT}/1": [reliable / IMPLICIT / "1", reliable / PLAIN / "1"],
        f"control/{PLAIN}/0": [reliable / PLAIN / "0", reliable / PLAIN / "1"],
        f"control/{PLAIN}/1": [reliable / PLAIN / "1", reliable / PLAIN / "0"],
    }


def test_a_run_resumes_and_ends_in_a_table(ladder: ModuleType, settings: Any, executed: list[Path], capsys) -> None:
    settings = replace(settings, rungs=("reliable", "agree"))
    ladder.main(settings)
    assert executed == [job.out for job in plan(ladder, settings)]
    table = pd.read_csv(settings.out / "ladder.csv")
    assert list(table) == [
        *("rung", "variant", "seed", "labelled", "right", "foreground", "background", "labels"),
        *("choice raw", "choice crf"),
    ]
    assert (table.iloc[:, 3:] == 100).all(axis=None)
    assert "100.0 ± 0.0" in capsys.readouterr().out
    executed.clear()
    lost = settings.out / "agree" / IMPLICIT / "1" / "segmenter.pt"
    lost.unlink()
    ladder.main(settings)
    assert executed == [lost]


def test_masks_of_the_other_half_of_val_are_opened_for_the_final_figures_alone(
    ladder: ModuleType, settings: Any, executed: list[Path], scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.data / "ImageSets" / "Segmentation" / "train.txt").write_text(f"{scenes.images[0]}\n")
    opened, read_truth = set(), ladder.read_truth
    monkeypatch.setattr(ladder, "read_truth", lambda path, size: opened.add(path.stem) or read_truth(path, size))
    settings = replace(settings, rungs=("crf",))
    ladder.main(settings)
    assert opened == set(scenes.images[::2])
    assert not [path for path in executed if path.name == "final"]
    ladder.main(replace(settings, final=True))
    assert opened == set(scenes.images)
    assert {"final raw", "final crf"} <= set(pd.read_csv(settings.out / "ladder.csv"))


def test_figures_are_measured_again_after_a_new_prediction(ladder, settings, executed, scenes) -> None:
    settings = replace(settings, rungs=("crf",), seeds=(0,))
    ladder.main(settings)
    folder = settings.out / "crf" / PLAIN / "0"
    shutil.rmtree(folder / "predictions" / "choice")
    text = (folder / "figures.json").read_text()
    (folder / "figures.json").write_text(text.replace("100.0", "1.0"))
    ladder.main(settings)
    assert json.loads((folder / "figures.json").read_text())["choice"] == {"choice raw": 100.0, "choice crf": 100.0}


def test_results_of_other_settings_are_refused(ladder: ModuleType, settings: Any, executed: list[Path]) -> None:
    settings = replace(settings, rungs=("crf",))
    ladder.main(settings)
    with pytest.raises(UserError, match="the results here have other settings"):
        ladder.main(replace(settings, side=384))


def test_labels_of_a_rung_that_another_takes_have_its_settings(ladder, settings, executed, monkeypatch) -> None:
    ladder.main(replace(settings, rungs=("agree",)))
    rungs = ladder.read_rungs(ladder.RUNGS)
    changed = {"refine": {"network": "none", "labels": {"margins": {"background": 0.4}}}}
    monkeypatch.setattr(
        ladder, "read_rungs", lambda _: rungs | {"reliable": rungs["reliable"]._replace(settings=changed)}
    )
    with pytest.raises(UserError, match=r"recipes/(agree|reliable)/.* have other settings"):
        ladder.main(replace(settings, rungs=("agree",)))
    shutil.rmtree(settings.out)
    ladder.main(replace(settings, rungs=("agree",)))


@pytest.mark.parametrize(("changes", "message"), [
    ({"rungs": ("nowhere",)}, "unknown rung 'nowhere'; choose of crf, "),
    ({"rungs": ("control",), "seeds": (0,)}, "rung control: needs two random seeds"),
])  # fmt: skip
def test_a_wrong_ladder_is_refused_in_one_line(ladder: ModuleType, settings: Any, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ladder.main(replace(settings, **changes))


def test_without_masks_of_all_training_photos_the_truth_is_left_out(ladder: ModuleType, settings: Any, scenes) -> None:
    settings = replace(settings, rungs=("truth",))
    (job, *_) = plan(ladder, settings)
    assert job.inputs == (settings.data / "SegmentationClass",)
    (settings.data / "SegmentationClass" / f"{scenes.images[0]}.png").unlink()
    assert plan(ladder, settings) == []


@pytest.mark.parametrize(("side", "crop"), [(256, 224), (384, 352), (512, 448)])
def test_crops_grow_with_the_photos(ladder: ModuleType, settings: Any, side: int, crop: int) -> None:
    experiment = ladder.Ladder(replace(settings, side=side)).experiment("walk")
    trainings = (experiment.classify.training, experiment.classify.patch_training, experiment.segment.training)
    assert {training.crop for training in (*trainings, experiment.refine.irnet.training)} == {crop}
    assert experiment.classify.training.long_side == (192 * side // 256, 352 * side // 256)


def test_figures_of_partial_labels_are_those_of_the_package(ladder: ModuleType, data: Path, scenes, tmp_path) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "pseudo"
    folder.mkdir()
    for path in find_maps(scenes.labels, scenes.images):
        labels = read_mask(path)
        labels[rng.random(labels.shape) < 0.3] = 1
        labels[rng.random(labels.shape) < 0.2] = IGNORE
        write_mask(folder / path.name, labels)
    out = tmp_path / "pseudo.csv"
    label_maps.main(label_maps.Settings(data, "train", (folder,), "labels", out, partial=True))
    table = pd.read_csv(out).set_index("class")
    figures = ladder.of_labels(Dataset.open(data), folder)
    expected = {"labels": ("mean", "iou"), "labelled": ("mean", "labelled"), "right": ("mean", "precision"),
                "background": ("background", "precision")}  # fmt: skip
    assert {name: round(figures[name], 2) for name in expected} == {n: table.loc[cell] for n, cell in expected.items()}


@pytest.fixture
def recipes(ladder: ModuleType) -> ModuleType:
    return importlib.import_module("recipes")


def test_recipes_are_those_of_patch_learning_unless_labels_are_named(recipes, ladder, monkeypatch) -> None:
    calls: list[Any] = []
    for module in (recipes, ladder):
        monkeypatch.setattr(module, "main", calls.append)
    recipes.run([])
    recipes.run(["patches", "--cores", "3"])
    recipes.run(["labels", "--seeds", "5", "--rungs", "crf", "walk"])
    assert calls == [recipes.Settings(), recipes.Settings(cores=3), ladder.Settings(seeds=(5,), rungs=("crf", "walk"))]


def test_the_ladder_for_a_gpu_plans_jobs_on_it(data: Path, tmp_path: Path) -> None:
    command = ["sh", str(BENCHMARKS / "gpu-ladder.sh"), str(data), "--dry-run"]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(BENCHMARKS.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all("--data results/animals-384 " in line for line in lines)
    assert all("--hardware.gpu 1 " in line for line in lines if "ppl.refine.agree" not in line)
    assert any("--segment.training.crop 352 " in line for line in lines)
    assert len([line for line in lines if "ppl.segment.train" in line]) == 5
