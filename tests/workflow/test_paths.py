"""Files of an experiment: which follow from which settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ppl.jobs.errors import UserError
from ppl.workflow import config, paths
from ppl.workflow.config import Experiment

PLAIN, MAIN = "baseline/plain", "explicit/s4k2"


SPLITS = {"train_split": "train", "seed_split": "seeds", "val_split": "val", "test_split": "t"}


def experiment(name: str = "demo", **changes: Any) -> Experiment:
    """An experiment of two shards; `changes` are laid over its settings."""
    settings = {"data": {"source": "demo", **SPLITS}, "main": MAIN, "compare": [PLAIN], "hardware": {"shards": 2}}
    settings = config.overlay(settings, changes)
    repeats = name.split("-seed")[0]
    return replace(config.resolve({"experiments": {repeats: settings}})[repeats], name=name)


def test_a_repetition_has_its_own_results_on_the_same_data():
    repetition = experiment("demo-seed7", random_seeds=[0, 7])
    assert paths.data_folder(repetition) == "results/demo/data"
    assert paths.data_check(repetition) == "results/demo/check.json"
    assert paths.sweeps(repetition)[0] == f"results/demo-seed7/{PLAIN}/sweep.csv"
    assert paths.repeated_measures(repetition) == []
    names = [other.name for other in paths.repetitions(experiment(random_seeds=[4, 0, 7]))]
    assert names == ["demo", "demo-seed0", "demo-seed7"]
    repeated = paths.repeated_measures(experiment(random_seeds=[0, 7]))
    of_repetition = (paths.sweeps, paths.thresholds, paths.measures)
    assert repeated == [file for function in of_repetition for file in function(repetition)]


def test_there_is_a_file_for_every_shard():
    assert paths.shards(experiment(), "x/{shard}.h5") == ["x/1of2.h5", "x/2of2.h5"]
    cams = [f"results/demo/{PLAIN}/cams/seeds-{shard}.h5" for shard in ("1of2", "2of2")]
    assert paths.cams(experiment(), "seed_split", PLAIN) == cams
    assert paths.cams(experiment(), "seed_split", PLAIN, "2of2") == cams[1:]
    assert paths.predictions(experiment(), "val_split") == paths.predictions(experiment(), "val_split", MAIN)


@pytest.mark.parametrize(("crf", "kinds"), [(True, ["raw", "crf"]), (False, ["raw"])])
def test_the_last_kind_of_predictions_is_the_result(crf, kinds):
    with_crf = experiment(segment={"prediction": {"crf": crf}})
    assert paths.best_kind(with_crf) == kinds[-1]
    names = ["pseudo", *(f"val-{kind}" for kind in kinds)]
    assert paths.measures(with_crf) == [f"results/demo/{MAIN}/{name}.csv" for name in names]


def test_the_main_variant_is_compared_once():
    for compare, expected in ([PLAIN], [PLAIN, MAIN]), ([MAIN, PLAIN], [MAIN, PLAIN]), ([], [MAIN]):
        assert paths.compared_variants(experiment(compare=compare)) == expected


@pytest.mark.parametrize("network", ["irnet", "affinitynet", "none"])
def test_the_report_shows_the_networks_that_are_trained(network):
    refined = experiment(refine={"network": network})
    networks = ["refiner", "segmenter"] if network != "none" else ["segmenter"]
    assert paths.checkpoints(refined) == [
        *(f"results/demo/{variant}/classifier.pt" for variant in (PLAIN, MAIN)),
        *(f"results/demo/{MAIN}/{name}.pt" for name in networks),
    ]
    assert [Path(log).stem for log in paths.training_logs(refined)] == ["classify", "classify", *networks]
    assert bool(paths.reliable_labels(refined)) == (network != "none")


@pytest.mark.parametrize(("agree", "others"), [
    ([], []),
    ([MAIN], []),  # a variant always agrees with itself
    ([f"demo/{MAIN}"], []),
    ([PLAIN, MAIN, f"demo-seed7/{MAIN}"], [f"demo/{PLAIN}", f"demo-seed7/{MAIN}"]),
])  # fmt: skip
def test_a_network_learns_from_its_own_labels_or_from_those_on_which_the_others_agree(agree, others):
    agreeing = experiment(refine={"labels": {"agree": agree}}, random_seeds=[0, 7])
    assert paths.agreeing(agreeing, MAIN) == [f"results/{other}" for other in others]
    kind = "agreed" if others else "pseudo"
    labels = [f"results/demo/{MAIN}/{kind}/{shard}" for shard in ("1of2", "2of2")]
    assert paths.pseudo_labels(agreeing) == paths.pseudo_labels(agreeing, MAIN) == labels


def test_a_repetition_agrees_with_its_own_variants():
    agree = {"labels": {"agree": [PLAIN, f"demo/{MAIN}"]}}
    repetition = experiment("demo-seed7", refine=agree, random_seeds=[0, 7])
    assert paths.agreeing(repetition, MAIN) == [f"results/demo-seed7/{PLAIN}", f"results/demo/{MAIN}"]


@pytest.mark.parametrize(("refine", "needed"), [
    ({}, (False, False)),
    ({"reliable": {"scores": "margins"}}, (True, False)),
    ({"irnet": {"walk": {"background": "seed"}}}, (False, True)),
    ({"network": "affinitynet", "irnet": {"walk": {"background": "seed"}}}, (False, False)),
    ({"network": "none"}, (False, False)),
])  # fmt: skip
def test_only_what_is_relative_to_the_threshold_of_the_seeds_needs_it(refine, needed):
    assert paths.needs_threshold(experiment(refine=refine)) == needed


def test_without_masks_the_report_shows_the_main_variant_only(tmp_path):
    unmeasured = experiment(data={"source": "folder", "folder": {"path": str(tmp_path)}})
    assert paths.reported_variants(unmeasured) == [MAIN]
    assert {path.split("/")[2] for path in paths.reported_cams(unmeasured)} == {"explicit"}
    (tmp_path / "SegmentationClass").mkdir()
    assert paths.reported_variants(unmeasured) == [PLAIN, MAIN]
    expected = [f"{split}-{shard}" for split in ("seeds", "train") for shard in ("1of2", "2of2")]
    assert [Path(path).stem for path in paths.reported_cams(unmeasured)] == expected


def test_test_photos_of_voc_are_needed_only_if_an_experiment_predicts_them():
    voc, own = experiment(data={"source": "voc"}), experiment(data={"source": "voc", "voc": {"path": "/mine"}})
    names = {"resources/archives/VOCtrainval_11-May-2012.tar", "resources/archives/benchmark.tgz"}
    assert set(paths.archives("voc", [voc])) == names
    tested = experiment(data={"source": "voc", "test_split": "test"})
    assert set(paths.archives("voc", [voc, tested])) == {*names, "resources/archives/VOC2012test.tar"}
    assert len(paths.archives("coco", [experiment(data={"source": "coco"})])) == 3
    assert paths.unpacked_archives(voc) == ["resources/voc"]
    assert paths.unpacked_archives(own) == []
    everything = [voc, own, experiment(), experiment("demo-seed7")]
    assert paths.without_download(everything) == [own.name, "demo"]


def test_a_variant_starts_from_an_earlier_classifier_of_the_same_experiment():
    for variant, start in {PLAIN: [], MAIN: [PLAIN], "implicit/s3k4-s4k2": ["implicit/s3k4"]}.items():
        classifiers = [f"results/demo/{v}/classifier.pt" for v in start]
        assert paths.starting_classifier(experiment(), *variant.split("/")) == classifiers
    with pytest.raises(UserError, match="is not a grid"):
        paths.starting_classifier(experiment(), "implicit", "s9k9")
