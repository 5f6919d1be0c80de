"""Files of an experiment as functions of its settings, for the rules and for the planning of tables (plan.py).

Paths are relative to the folder that the workflow runs in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppl.classify import variants
from ppl.measure.measures import NETWORK, PSEUDO, SWEEP, prediction_kinds
from ppl.workflow import config

ARCHIVES = {
    "voc": ("VOCtrainval_11-May-2012.tar", "benchmark.tgz"),
    "coco": ("train2014.zip", "val2014.zip", "annotations_trainval2014.zip"),
}
"""Archives of the public datasets."""
VOC_TEST = "VOC2012test.tar"
"""VOC's test photos, which need a login."""


@dataclass(frozen=True)
class Experiment:
    """An experiment with its resolved settings, or its repetition with another random seed."""

    name: str
    settings: Mapping[str, Any]

    def setting(self, *keys: str) -> Any:
        """Return one value of the settings, or one section."""
        value: Any = self.settings
        for key in keys:
            value = value[key]
        return value

    @property
    def folder(self) -> str:
        """The folder of its results."""
        return f"results/{self.name}"

    @property
    def main(self) -> str:
        """The folder of its main variant."""
        return f"{self.folder}/{self.settings['main']}"

    @property
    def is_repetition(self) -> bool:
        """Whether it repeats another experiment, with which it shares the dataset."""
        return self.settings["repeats"] != self.name


# ---- dataset


def data_folder(experiment: Experiment) -> str:
    """Return the dataset folder, which repetitions share."""
    return f"results/{experiment.settings['repeats']}/data"


def data_check(experiment: Experiment) -> str:
    """Return the result of checking the dataset."""
    return f"results/{experiment.settings['repeats']}/check.json"


def splits(experiment: Experiment) -> dict[str, str]:
    """Return the names of the splits by their keys below `data:`."""
    return {key: experiment.setting("data", key) for key in ("train_split", "seed_split", "val_split", "test_split")}


def folder_lists(experiment: Experiment) -> list[Path]:
    """Return the list files of a user's dataset folder that exist: a change in them reruns what depends on them."""
    root = Path(experiment.settings["data"]["path"])
    names = [f"ImageSets/Segmentation/{split}.txt" for split in sorted(set(splits(experiment).values()))]
    return [root / name for name in ("classes.txt", "labels.csv", *names) if (root / name).exists()]


def unpacked_archives(experiment: Experiment) -> list[str]:
    """Return the unpacked archives of a public dataset; none if the user has it in a folder."""
    data = experiment.settings["data"]
    return [] if "path" in data else [f"resources/{data['source']}"]


def archives(dataset: str, experiments: Iterable[Experiment]) -> list[str]:
    """Return the archives of a public dataset; VOC's test photos only if an experiment predicts them."""
    data = [experiment.settings["data"] for experiment in experiments]
    is_tested = dataset == "voc" and any(d["source"] == "voc" and d["test_split"] == "test" for d in data)
    names = [*ARCHIVES[dataset], *([VOC_TEST] if is_tested else [])]
    return [f"resources/archives/{name}" for name in names]


def without_download(experiments: Iterable[Experiment]) -> list[str]:
    """Return the names of the experiments, without repetitions, whose data are composed or in a user's folder."""
    return [
        experiment.name
        for experiment in experiments
        if not experiment.is_repetition
        and (experiment.settings["data"]["source"] == "demo" or "path" in experiment.settings["data"])
    ]


# ---- shards


def shards(experiment: Experiment, pattern: str) -> list[str]:
    """Return a path for every shard of an image-by-image step; `pattern` holds {shard}."""
    count = experiment.setting("hardware", "shards")
    return [pattern.replace("{shard}", f"{i}of{count}") for i in range(1, count + 1)]


def cams(experiment: Experiment, split: str, variant: str, shard: str | None = None) -> list[str]:
    """Return the CAM files of a split, named by its key below `data:`; with `shard`, that of one shard."""
    pattern = f"{experiment.folder}/{variant}/cams/{experiment.setting('data', split)}-{{shard}}.h5"
    return [pattern.replace("{shard}", shard)] if shard else shards(experiment, pattern)


def predictions(experiment: Experiment, split: str, variant: str | None = None) -> list[str]:
    """Return the folders of a split's predictions, each with raw/ and, if there is a CRF, crf/.

    The split is named by its key below `data:`; without `variant`, they are those of the main one.
    """
    folder = f"{experiment.folder}/{variant or experiment.settings['main']}"
    return shards(experiment, f"{folder}/predictions/{experiment.setting('data', split)}-{{shard}}")


def reliable_labels(experiment: Experiment) -> list[str]:
    """Return the folders of the main variant's reliable labels; none if no network is trained on them."""
    is_trained = experiment.setting("refine", "network") != "none"
    return shards(experiment, f"{experiment.main}/confident/{{shard}}") if is_trained else []


def pseudo_labels(experiment: Experiment) -> list[str]:
    """Return the folders of the main variant's pseudo labels."""
    return shards(experiment, f"{experiment.main}/pseudo/{{shard}}")


# ---- networks


def starting_classifier(experiment: Experiment, method: str, grids: str) -> list[str]:
    """Return the classifier whose backbone a variant starts from; none if it starts from ImageNet weights.

    UserError if there is no such variant.
    """
    start = variants.start(method, grids)
    return [f"{experiment.folder}/{'/'.join(start)}/classifier.pt"] if start else []


def training_logs(experiment: Experiment) -> list[str]:
    """Return the logs of the trainings that the report shows."""
    return _of_networks(experiment, classifier="classify", suffix="csv")


def checkpoints(experiment: Experiment) -> list[str]:
    """Return the checkpoints of the trainings that the report shows."""
    return _of_networks(experiment, classifier="classifier", suffix="pt")


def _of_networks(experiment: Experiment, *, classifier: str, suffix: str) -> list[str]:
    """Return one file of each classifier, then those of the main variant's other networks."""
    classifiers = [f"{experiment.folder}/{v}/{classifier}.{suffix}" for v in reported_variants(experiment)]
    refiner = experiment.setting("refine", "network")
    networks = ["deeplab"] if refiner == "none" else [refiner, "deeplab"]
    return [*classifiers, *(f"{experiment.main}/{network}.{suffix}" for network in networks)]


# ---- measures


def best_kind(experiment: Experiment) -> str:
    """Return the kind of predictions that are the result: those after the CRF if there is one."""
    return prediction_kinds(crf=experiment.setting("segment", "crf"))[-1]


def compared_variants(experiment: Experiment) -> list[str]:
    """Return the variants to compare, the main one last unless the configuration lists it earlier."""
    return list(dict.fromkeys([*experiment.settings["compare"], experiment.settings["main"]]))


def sweeps(experiment: Experiment) -> list[str]:
    """Return the threshold sweeps of the compared variants."""
    return [f"{experiment.folder}/{variant}/{SWEEP}" for variant in compared_variants(experiment)]


def measures(experiment: Experiment) -> list[str]:
    """Return the IoU tables of the main variant: of its pseudo labels and of every kind of predictions."""
    kinds = prediction_kinds(crf=experiment.setting("segment", "crf"))
    return [f"{experiment.main}/{measure.file}" for measure in (PSEUDO, *(NETWORK[kind] for kind in kinds))]


def repetitions(experiment: Experiment) -> list[Experiment]:
    """Return an experiment under the name of each of its random seeds, itself first."""
    seeds = experiment.settings["seeds"]
    return [replace(experiment, name=config.repetition(experiment.name, seeds, seed)) for seed in seeds]


def repeated_measures(experiment: Experiment) -> list[str]:
    """Return sweeps and measures of the repetitions of an experiment; none for a repetition itself."""
    others = [] if experiment.is_repetition else repetitions(experiment)[1:]
    return [file for other in others for file in (*sweeps(other), *measures(other))]


# ---- report


def reported_variants(experiment: Experiment) -> list[str]:
    """Return the variants that the report shows: without masks nothing is compared, so only the main one."""
    return compared_variants(experiment) if config.has_masks(experiment.settings) else [experiment.settings["main"]]


def reported_cams(experiment: Experiment) -> list[str]:
    """Return CAMs of the reported variants that hold the seed split.

    Those of the main variant are of the training split, which holds the seed split: they are needed in any case.
    """
    main = experiment.settings["main"]
    others = [variant for variant in reported_variants(experiment) if variant != main]
    files = [file for variant in others for file in cams(experiment, "seed_split", variant)]
    return [*files, *cams(experiment, "train_split", main)]


def summary_files(experiment: Experiment) -> list[str]:
    """Return the files that Snakemake's own report shows beside the page of an experiment."""
    return [f"{experiment.folder}/{name}" for name in ("summary.csv", "curves.png")]
