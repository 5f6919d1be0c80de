"""Files of an experiment as functions of its settings, for the rules and for the planning of tables (plan.py).

Paths are relative to the folder that the workflow runs in.
"""

from collections.abc import Iterable
from dataclasses import replace

from ppl.cam.threshold import THRESHOLD
from ppl.classify import variants
from ppl.data import source
from ppl.jobs.slots import module_of, settings_of, slots_of
from ppl.measure.measures import NETWORK, PSEUDO, SWEEP, prediction_kinds
from ppl.report import classes
from ppl.workflow.config import Experiment, repetition

# ---- dataset


def data_folder(experiment: Experiment) -> str:
    """Return the dataset folder, which repetitions share."""
    return f"results/{experiment.repeats}/data"


def data_check(experiment: Experiment) -> str:
    """Return the result of checking the dataset."""
    return f"results/{experiment.repeats}/check.json"


def unpacked_archives(experiment: Experiment) -> list[str]:
    """Return the folder of the unpacked archives of a public dataset; none if its source needs none."""
    return [f"resources/{experiment.settings.data.source}"] if source.archives(experiment.settings.data) else []


def archives(dataset: str, experiments: Iterable[Experiment]) -> list[str]:
    """Return the archives that experiments on a public dataset need together."""
    of_dataset = [e.settings.data for e in experiments if e.settings.data.source == dataset]
    names = dict.fromkeys(name for data in of_dataset for name in source.archives(data))
    return [f"resources/archives/{name}" for name in names]


def without_download(experiments: Iterable[Experiment]) -> list[str]:
    """Return the names of the experiments, without repetitions, whose data need no download."""
    return [e.name for e in experiments if not e.is_repetition and not source.archives(e.settings.data)]


# ---- shards


def shards(experiment: Experiment, pattern: str) -> list[str]:
    """Return a path for every shard of an image-by-image step; `pattern` holds {shard}."""
    count = experiment.settings.hardware.shards
    return [pattern.replace("{shard}", f"{i}of{count}") for i in range(1, count + 1)]


def cams(experiment: Experiment, split: str, variant: str, shard: str | None = None) -> list[str]:
    """Return the CAM files of a split, named by its key below `data:`; with `shard`, that of one shard."""
    pattern = f"{experiment.folder}/{variant}/cams/{getattr(experiment.settings.data, split)}-{{shard}}.h5"
    return [pattern.replace("{shard}", shard)] if shard else shards(experiment, pattern)


def threshold(experiment: Experiment, variant: str) -> str:
    """Return the file of the background threshold of a variant's seeds."""
    return f"{experiment.folder}/{variant}/{THRESHOLD}"


def predictions(experiment: Experiment, split: str, variant: str | None = None) -> list[str]:
    """Return the folders of a split's predictions, each with raw/ and, if there is a CRF, crf/.

    The split is named by its key below `data:`; without `variant`, they are those of the main one.
    """
    folder = f"{experiment.folder}/{variant or experiment.settings.main}"
    return shards(experiment, f"{folder}/predictions/{getattr(experiment.settings.data, split)}-{{shard}}")


def reliable_labels(experiment: Experiment) -> list[str]:
    """Return the folders of the main variant's reliable labels; none if no network is trained on them."""
    return shards(experiment, f"{experiment.main}/reliable/{{shard}}") if has_refiner(experiment) else []


def pseudo_labels(experiment: Experiment, variant: str | None = None) -> list[str]:
    """Return the folders of the pseudo labels from which the network of a variant, by default the main one, learns."""
    variant = variant or experiment.settings.main
    kind = "agreed" if agreeing(experiment, variant) else "pseudo"
    return shards(experiment, f"{experiment.folder}/{variant}/{kind}/{{shard}}")


def agreeing(experiment: Experiment, variant: str) -> list[str]:
    """Return the folders of the other variants with which the pseudo labels of a variant must agree, may be none."""
    names = experiment.settings.refine.labels.agree
    places = (f"results/{name}" if name.count("/") > 1 else f"{experiment.folder}/{name}" for name in names)
    return [folder for folder in places if folder != f"{experiment.folder}/{variant}"]


# ---- networks


def has_refiner(experiment: Experiment) -> bool:
    """Return whether a refinement network is trained: an entry without a module, `none`, has no network."""
    refine = experiment.settings.refine
    return module_of(slots_of(type(refine))["network"], refine.network) is not None


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
    networks = ["refiner", "segmenter"] if has_refiner(experiment) else ["segmenter"]
    return [*classifiers, *(f"{experiment.main}/{network}.{suffix}" for network in networks)]


# ---- measures


def needs_threshold(experiment: Experiment) -> tuple[bool, bool]:
    """Return whether reliable labels, and whether the walk, are relative to the threshold of the seeds."""
    refine = experiment.settings.refine
    walk = getattr(settings_of(refine, "network"), "walk", None)
    return refine.reliable.scores == "margins", getattr(walk, "background", None) == "seed"


def best_kind(experiment: Experiment) -> str:
    """Return the kind of predictions that are the result: those after the CRF if there is one."""
    return prediction_kinds(crf=experiment.settings.segment.prediction.crf)[-1]


def compared_variants(experiment: Experiment) -> list[str]:
    """Return the variants to compare, the main one last unless the configuration lists it earlier."""
    return list(dict.fromkeys([*experiment.settings.compare, experiment.settings.main]))


def sweeps(experiment: Experiment) -> list[str]:
    """Return the threshold sweeps of the compared variants."""
    return [f"{experiment.folder}/{variant}/{SWEEP}" for variant in compared_variants(experiment)]


def thresholds(experiment: Experiment) -> list[str]:
    """Return the files of the thresholds of the reported variants."""
    return [threshold(experiment, variant) for variant in reported_variants(experiment)]


def measures(experiment: Experiment) -> list[str]:
    """Return the IoU tables of the main variant: of its pseudo labels and of every kind of predictions."""
    kinds = prediction_kinds(crf=experiment.settings.segment.prediction.crf)
    return [f"{experiment.main}/{measure.file}" for measure in (PSEUDO, *(NETWORK[kind] for kind in kinds))]


def class_counts(experiment: Experiment) -> str:
    """Return the table of pixels per class of the main variant."""
    return f"{experiment.main}/{classes.FILE}"


def repetitions(experiment: Experiment) -> list[Experiment]:
    """Return an experiment under the name of each of its random seeds, itself first."""
    seeds = experiment.settings.random_seeds
    return [replace(experiment, name=repetition(experiment.name, seeds, s), random_seed=s) for s in seeds]


def repeated_measures(experiment: Experiment) -> list[str]:
    """Return sweeps, thresholds and measures of the repetitions of an experiment; none for a repetition itself."""
    others = [] if experiment.is_repetition else repetitions(experiment)[1:]
    return [file for other in others for file in (*sweeps(other), *thresholds(other), *measures(other))]


# ---- report


def reported_variants(experiment: Experiment) -> list[str]:
    """Return the variants that the report shows: without masks nothing is compared, so only the main one."""
    return compared_variants(experiment) if source.has_masks(experiment.settings.data) else [experiment.settings.main]


def reported_cams(experiment: Experiment) -> list[str]:
    """Return CAMs of the reported variants that hold the seed split.

    Those of the main variant are of the training split, which holds the seed split: they are needed in any case.
    """
    main = experiment.settings.main
    others = [variant for variant in reported_variants(experiment) if variant != main]
    files = [file for variant in others for file in cams(experiment, "seed_split", variant)]
    return [*files, *cams(experiment, "train_split", main)]


def summary_files(experiment: Experiment) -> list[str]:
    """Return the files that Snakemake's own report shows beside the page of an experiment."""
    return [f"{experiment.folder}/{name}" for name in ("summary.csv", "curves.png")]
