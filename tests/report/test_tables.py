"""Tables and figures: ours beside the paper's, mean and spread over seeds, every file that was planned."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from ppl.cam.settings import Cam
from ppl.cam.threshold import THRESHOLD, Threshold, write_threshold
from ppl.data.settings import SOURCES, Data
from ppl.experiment.settings import Experiment as Settings
from ppl.experiment.settings import Figure, Table
from ppl.measure.measures import SEED_BEST_CRF, SEED_CRF, files_of
from ppl.report import tables
from ppl.report.paper import read_paper
from ppl.report.tables import compare, markdown
from ppl.segment.settings import Prediction, Segment
from ppl.workflow.config import Experiment
from ppl.workflow.plan import files, place, plan

EXPLICIT, PLAIN = "explicit/s4k2", "baseline/plain"
FIXED, BEST = "seed, fixed threshold", "seed, best threshold"
FIXED_THRESHOLD = Threshold(threshold=0.3, rule="fixed")


def experiment_named(name, **changes):
    """An experiment on the data of the miniature."""
    data = Data(source="demo", seed_split="seeds", val_split="held_out")
    settings = Settings(data=data, cam=Cam(threshold=0.3), **changes)
    return Experiment(name, settings, name, settings.random_seeds[0])


@pytest.fixture
def planned(experiment):
    """The plan of the miniature, with the paths that it has there."""
    shows = {"cams": EXPLICIT, "precision_recall": PLAIN, "thresholds": PLAIN, "segmentations": EXPLICIT}
    shown_tables = {
        "V": Table(variants=(PLAIN, EXPLICIT), measures=("seed",)),
        "III": Table(variants=(EXPLICIT,), measures=("pseudo", "val"), per_class=True),
    }
    figures = {name: Figure(shows=name, variants=(variant,)) for name, variant in shows.items()}
    text = json.dumps(plan("mini", {"mini": experiment_named("mini", tables=shown_tables, figures=figures)}))
    return text.replace("results/mini", str(experiment.root))


def test_every_table_is_written_as_csv_markdown_and_picture(experiment, planned, tmp_path):
    tables.main(tables.Settings(plan=planned, data=experiment.root / "data", out=tmp_path / "out"))
    files_written = {path.name for path in (tmp_path / "out").iterdir()}
    names = ("table-V", "table-III", "cams", "precision_recall", "thresholds", "segmentations")
    assert files_written == {"README.md", *(f"{name}.{kind}" for name in names for kind in ("csv", "md", "png"))}
    table = pd.read_csv(tmp_path / "out" / "table-V.csv").set_index(["variant", "measure"])
    ours = {(PLAIN, FIXED): 32.2, (EXPLICIT, FIXED): 42.2, (EXPLICIT, BEST): 43.3}
    assert {row: table.loc[row, "ours"] for row in ours} == ours
    assert table["paper"].isna().all()  # other data than the paper's
    classes = pd.read_csv(tmp_path / "out" / "table-III.csv", keep_default_na=False)
    assert set(classes["class"]) == {"background", '<b>&"', "null", "mean"}
    readme = (tmp_path / "out" / "README.md").read_text()
    assert all(f"{name}.png" in readme for name in names)


def test_seeds_of_chosen_thresholds_are_named_as_such_and_measured_at_their_own(experiment, planned, tmp_path):
    for variant, threshold in {PLAIN: 0.31, EXPLICIT: 0.29}.items():
        write_threshold(experiment.root / variant / THRESHOLD, Threshold(threshold=threshold, rule="auto"))
    tables.main(tables.Settings(plan=planned, data=experiment.root / "data", out=tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out" / "table-V.csv").set_index(["variant", "measure"])
    title = "seed, threshold chosen without masks"
    assert {variant: table.loc[(variant, title), "ours"] for variant in (PLAIN, EXPLICIT)} == {
        PLAIN: 30.3,
        EXPLICIT: 43.3,
    }
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"Thresholds chosen without masks: {PLAIN} 0.31, {EXPLICIT} 0.29." in readme
    assert "fixed threshold" not in readme


def test_partial_pseudo_labels_are_named_as_such(experiment, planned, tmp_path):
    for share, note in (100, False), (78.26, True):
        experiment.write_labelled(share)
        out = tmp_path / str(share)
        tables.main(tables.Settings(plan=planned, data=experiment.root / "data", out=out))
        text = (out / "README.md").read_text()
        assert (f"mIoU is that of the labelled ones: {EXPLICIT} 78 %." in text) == note
        assert ("unlabelled" in text) == note


def test_the_same_results_make_the_same_files(experiment, planned, tmp_path):
    for name in ("one", "two"):
        tables.main(tables.Settings(plan=planned, data=experiment.root / "data", out=tmp_path / name))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def sweep(path, best: float) -> str:
    """Write a sweep that is best at 0.2; at the fixed threshold 0.3 its mIoU is 40."""
    header = "threshold,miou,precision,recall,iou_background,iou_cat"
    path.write_text(f"{header}\n0.2,{best},1,1,1,1\n0.3,40,1,1,1,1\n")
    return str(path)


def beside_table_v(rows):
    """Compare the sweeps of some variants with the paper's table V."""
    paper = read_paper()
    table = {"per_class": False, "rows": {variant: {"seed": paths} for variant, paths in rows.items()}}
    thresholds = dict.fromkeys([path for paths in rows.values() for path in paths], FIXED_THRESHOLD)
    return compare(table, thresholds, paper[paper["table"] == "V"])


def test_ours_stands_beside_the_papers_with_mean_spread_and_difference(tmp_path):
    seeds = [sweep(tmp_path / f"{i}.csv", best) for i, best in enumerate((48.0, 50.0, 52.0))]
    rows = beside_table_v({PLAIN: seeds}).set_index(["variant", "measure"])
    best = rows.loc[(PLAIN, BEST)]
    assert (best["ours"], best["seeds"], best["spread"], best["paper"]) == (50.0, 3, 2.0, 48.4)
    assert best["difference"] == pytest.approx(1.6)
    assert rows.loc[(PLAIN, FIXED), "ours"] == 40
    assert np.isnan(rows.loc[(PLAIN, FIXED), "paper"])  # the paper reports its best thresholds
    unmeasured = rows.loc[("implicit/s2k2", BEST)]
    assert unmeasured["seeds"] == 0
    assert np.isnan(unmeasured["ours"])
    assert unmeasured["paper"] == 49.74


def test_seeds_with_crf_stand_beside_the_papers_at_the_best_threshold_and_alone_at_the_fixed_one(tmp_path):
    for name, value in (("seed-crf", 50.0), ("seed-best-crf", 55.0)):
        (tmp_path / f"{name}.csv").write_text(f"class,iou,pixels\nbackground,80,1\nmean,{value},1\n")
    files = [str(tmp_path / name) for name in files_of("crf", crf=True)]
    paper = read_paper()
    table = {"per_class": False, "rows": {PLAIN: {"crf": files}}}
    rows = compare(table, dict.fromkeys(files, FIXED_THRESHOLD), paper[paper["table"] == "I"])
    ours = rows[(rows["variant"] == PLAIN) & rows["ours"].notna()].set_index("measure")
    assert ours["ours"].to_dict() == {SEED_CRF.title: 50.0, SEED_BEST_CRF.title: 55.0}
    assert np.isnan(ours.loc[SEED_CRF.title, "paper"])
    assert ours.loc[SEED_BEST_CRF.title, "paper"] == 53.7


def test_the_table_for_readers_has_one_line_per_variant(tmp_path):
    text = markdown(beside_table_v({v: [sweep(tmp_path / f"{i}.csv", 50)] for i, v in enumerate((PLAIN, EXPLICIT))}))
    (line,) = [line for line in text.splitlines() if PLAIN in line]
    assert "48.4" in line
    assert "+1.6" in line
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_a_plan_names_one_file_per_seed_also_of_other_experiments():
    shown = {"V": Table(variants=(PLAIN, f"vgg/{PLAIN}"), measures=("seed", "val"))}
    experiments = {
        "mine": experiment_named("mine", random_seeds=(3, 5), tables=shown),
        "vgg": experiment_named("vgg", segment=Segment(prediction=Prediction(crf=False))),
    }
    named = files(plan("mine", experiments))
    expected = ("mine/{}/sweep.csv", "mine-seed5/{}/sweep.csv", "mine-seed5/{}/val-crf.csv", "vgg/{}/val-raw.csv")
    expected += ("mine/settings.yaml", "mine-seed5/{}/threshold.json", "vgg/{}/threshold.json")
    assert {f"results/{name.format(PLAIN)}" for name in expected} <= set(named)
    assert len(named) == len(set(named)) == 10
    # a name with an experiment in front is of that experiment
    assert place("mine", PLAIN) == ("mine", PLAIN)
    assert place("mine", f"vgg/{PLAIN}") == ("vgg", PLAIN)


@pytest.mark.parametrize("source", SOURCES)
def test_only_the_papers_data_stand_beside_the_paper(experiment, tmp_path, source):
    shown = {"V": Table(variants=(PLAIN,), measures=("seed",))}
    planned = json.dumps(plan("mini", {"mini": experiment_named("mini", tables=shown)}))
    settings = experiment.root / "settings.yaml"
    resolved = yaml.safe_load(settings.read_text())
    settings.write_text(yaml.safe_dump(resolved | {"data": resolved["data"] | {"source": source}}))
    planned = planned.replace("results/mini", str(experiment.root))
    tables.main(tables.Settings(plan=planned, data=experiment.root / "data", out=tmp_path / "out"))
    paper = pd.read_csv(tmp_path / "out" / "table-V.csv")["paper"]
    assert paper.notna().any() == (source in ("voc", "coco"))
