"""Input files that depend on the settings of the experiment, step by step."""

import json
from types import SimpleNamespace


def published_input(wildcards):
    """The unpacked archives of a public dataset; nothing where the user has a folder."""
    data = EXPERIMENTS[wildcards.experiment]["data"]
    return [] if "path" in data else f"resources/{data['source']}"


def published_path(wildcards, input):
    """Where a public dataset is: the user's folder, or that of the unpacked archives."""
    return EXPERIMENTS[wildcards.experiment]["data"].get("path") or str(input)


def max_side(wildcards):
    """Flag of the longer side to which photos are shrunk; nothing where they stay as they are."""
    data = value("data")(wildcards)
    return configuration.flags({"max_side": data["max_side"]}) if "max_side" in data else ""


def at_hand():
    """Experiments whose data need no download: composed, or in a folder of the user's."""
    own = {name: settings for name, settings in EXPERIMENTS.items() if name == settings["repeats"]}
    return [name for name, s in own.items() if s["data"]["source"] == "demo" or "path" in s["data"]]


def archives(wildcards):
    """Archives of a dataset; that of VOC's test photos, behind a login, only where they are to be predicted."""
    names = {"voc": ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"]}
    names["coco"] = ["train2014.zip", "val2014.zip", "annotations_trainval2014.zip"]
    users = [s["data"] for s in EXPERIMENTS.values() if s["data"]["source"] == wildcards.dataset]
    tested = wildcards.dataset == "voc" and any(data["test_split"] == "test" for data in users)
    return [f"resources/archives/{n}" for n in [*names[wildcards.dataset], *(["VOC2012test.tar"] if tested else [])]]


def start(wildcards):
    """The classifier whose backbone a variant starts from; nothing for ImageNet weights."""
    try:
        earlier = variants.start(wildcards.method, wildcards.grids)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    return f"results/{wildcards.experiment}/{'/'.join(earlier)}/classifier.pt" if earlier else []


def classify_training(wildcards):
    """Flags of the training of a variant: those of its method, and the earlier classifier only where there is one."""
    section = configuration.patched(value("classify")(wildcards), wildcards.method)
    kept = wildcards.method in section["keep_classifier"] and bool(start(wildcards))
    return configuration.flags({**section, "keep_classifier": kept}, "training")


def cams_of(split):
    """The CAMs of a split, named by its key: of the job's shard, which has the same images, or else all shards."""

    def of_job(wildcards):
        name = value("data", split)(wildcards)
        path = f"results/{{experiment}}/{{method}}/{{grids}}/cams/{name}-{{shard}}.h5"
        return path.format(**wildcards) if "shard" in wildcards.keys() else shards(path)(wildcards)

    return of_job


def measured_variants(experiment):
    """The compared variants and the main one, in this order."""
    settings = EXPERIMENTS[experiment]
    return list(dict.fromkeys([*settings["compare"], settings["main"]]))


def sweeps(wildcards):
    """Threshold sweeps of the compared variants and the main one."""
    return [f"results/{wildcards.experiment}/{variant}/sweep.csv" for variant in measured_variants(wildcards.experiment)]


def refining_network(wildcards):
    """Checkpoint of the network that the walk asks."""
    network = value("refine", "network")(wildcards)
    return f"results/{wildcards.experiment}/{wildcards.method}/{wildcards.grids}/{network}.pt"


def predictions(split):
    """All shards of the predictions of a split, each a folder with raw/ and, where a CRF is asked for, crf/."""

    def of_job(wildcards):
        name = value("data", split)(wildcards)
        return shards(f"results/{{experiment}}/{{method}}/{{grids}}/predictions/{name}-{{shard}}")(wildcards)

    return of_job


def best_kind(experiment):
    """Which predictions are the result: those after the CRF where there is one."""
    return "crf" if EXPERIMENTS[experiment]["segment"]["crf"] else "raw"


def test_folders(wildcards):
    """All shards of the main variant's test predictions."""
    name = value("data", "test_split")(wildcards)
    return variant_of("main", f"predictions/{name}-{{shard}}")(wildcards)


def where_measured(files):
    """The files that `files` names, or none where the dataset has no masks to measure with."""
    return lambda wildcards: files(wildcards) if has_masks(wildcards.experiment) else []


def measures(wildcards):
    """IoU of the main variant's pseudo labels, and of its network with every kind of predictions there is."""
    kinds = list(dict.fromkeys(["raw", best_kind(wildcards.experiment)]))
    names = ["pseudo.csv", *(f"val-{kind}.csv" for kind in kinds)]
    return [file for name in names for file in variant_of("main", name)(wildcards)]


def shown_variants(experiment):
    """Variants whose training the report shows: where nothing is measured, there is nothing to compare either."""
    return measured_variants(experiment) if has_masks(experiment) else [EXPERIMENTS[experiment]["main"]]


def of_networks(classifier, suffix):
    """Files of all shown trainings: one of each classifier, and those of the networks of the main variant."""

    def of_job(wildcards):
        folder = f"results/{wildcards.experiment}"
        classifiers = [f"{folder}/{v}/{classifier}.{suffix}" for v in shown_variants(wildcards.experiment)]
        main = f"{folder}/{EXPERIMENTS[wildcards.experiment]['main']}"
        networks = [EXPERIMENTS[wildcards.experiment]["refine"]["network"], "deeplab"]
        return [*classifiers, *(f"{main}/{name}.{suffix}" for name in networks if name != "none")]

    return of_job


def shown_cams(wildcards):
    """CAMs of all shown variants that hold the seed split.

    Of the main one those of the training split, of which it is a part: they are needed in any case, masks or none.
    """
    data = EXPERIMENTS[wildcards.experiment]["data"]
    main = EXPERIMENTS[wildcards.experiment]["main"]
    others = [variant for variant in shown_variants(wildcards.experiment) if variant != main]
    folder = f"results/{wildcards.experiment}"
    patterns = [f"{folder}/{variant}/cams/{data['seed_split']}-{{shard}}.h5" for variant in others]
    patterns.append(f"{folder}/{main}/cams/{data['train_split']}-{{shard}}.h5")
    return [file for pattern in patterns for file in shards(pattern)(wildcards)]


def repeated(wildcards):
    """What is measured in the repetitions of an experiment with other seeds; nothing for a repetition itself."""
    settings = EXPERIMENTS[wildcards.experiment]
    if settings["repeats"] != wildcards.experiment:
        return []
    names = [configuration.repetition(wildcards.experiment, settings["seeds"], seed) for seed in settings["seeds"][1:]]
    return [file for name in names for files in (sweeps, measures) for file in files(SimpleNamespace(experiment=name))]


def main_shards(folder, split):
    """All shards of what the main variant has in `folder` of a split; {split} and {shard} are filled in."""

    def of_job(wildcards):
        name = value("data", split)(wildcards)
        return variant_of("main", folder.replace("{split}", name))(wildcards)

    return of_job


def main_confident(wildcards):
    """Confident labels of the main variant where a network learns from them."""
    learns = value("refine", "network")(wildcards) != "none"
    return variant_of("main", "confident/{shard}")(wildcards) if learns else []


def part_hash(*names):
    """Digests of files of ppl/report that are no Python and so no part of a code hash."""
    folder = Path(overview.__file__).parent
    return " ".join(file_digest(folder / name)[:16] for name in names)


def beside_page(wildcards):
    """What Snakemake's own report shows of an experiment beside its page."""
    return [f"results/{wildcards.experiment}/{name}" for name in ("summary.csv", "curves.png")]


def what_counts(experiment):
    """Settings that the results depend on: all but what computes them, and how they are repeated and tabulated."""
    settings = EXPERIMENTS[experiment]
    counting = {k: v for k, v in settings.items() if k not in ("seeds", "repeats", "tables", "figures")}
    machine = {key: v for key, v in settings["hardware"].items() if key not in ("gpu", "workers")}
    unused = {"irnet", "affinitynet"} - {settings["refine"]["network"]}
    refine = {key: v for key, v in settings["refine"].items() if key not in unused}
    return {**counting, "hardware": machine, "refine": refine}


def tables_of(wildcards):
    """What the tables and figures of an experiment are made of."""
    return tabulated.plan(wildcards.experiment, EXPERIMENTS)
