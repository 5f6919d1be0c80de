"""Settings of each experiment, what Snakemake does at its start and end, and how settings reach a command line."""

import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ppl.classify import variants
from ppl.jobs.code_hash import code_hash
from ppl.jobs.command import explain
from ppl.jobs.errors import UserError
from ppl.jobs.files import file_digest
from ppl.jobs.lifetime import forward_sigterm_to_jobs
from ppl.report import overview
from ppl.workflow import config as configuration
from ppl.workflow import plan as tabulated
from ppl.workflow.job_progress import Jobs, why_failed
from ppl.workflow.locks import remove_stale_locks

IS_MODULE = not workflow.modifier.is_main_snakefile()
"""Whether another workflow uses this one (docs/module.md), to which folder, targets and locks then belong."""
PREFIX = workflow.modifier.path_modifier.prefix or ""
"""Prefix of a `module` statement for all results; Snakemake itself adds it to inputs and outputs."""

try:
    complete = configuration.completed(config, Path(workflow.source_path("../../config/config.yaml"))) if IS_MODULE else config
    EXPERIMENTS = configuration.resolve(complete, Path(workflow.source_path("../schemas/config.schema.yaml")))
    # Rules see a target only after Snakemake has wrapped their errors in several lines.
    for target in [] if IS_MODULE else configuration.targets(sys.argv[1:]):
        configuration.check_target(target, EXPERIMENTS)
    if workflow.is_main_process and not IS_MODULE and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
        remove_stale_locks(Path(".snakemake"))
except (UserError, OSError) as error:
    sys.exit(f"error: {explain(error) or error}")  # a WorkflowError would come wrapped in the place where it was raised


jobs = Jobs()


def quiet():
    """Whether `--quiet` turns progress messages off."""
    return any(option.name in ("PROGRESS", "ALL") for option in workflow.output_settings.quiet or ())


def print_summary(lines):
    """Print lines below all of Snakemake's messages; an error in them must not fail the run."""
    try:
        if lines := list(lines):
            print("", *lines, "", sep="\n", file=sys.stderr, flush=True)
    except (OSError, UserError) as error:
        print(f"no overview of the results: {error}", file=sys.stderr)


def overview_of_run():
    """Yield an overview of the experiments that this run has computed."""
    thresholds = {
        Path("results", name): settings["cam"]["threshold"]
        for name, settings in EXPERIMENTS.items()
        if name in jobs.experiments
    }
    if thresholds and not quiet():
        yield overview.overview(thresholds)


onstart:
    forward_sigterm_to_jobs()
    jobs.start(quiet=quiet())


onsuccess:
    print_summary(overview_of_run())


onerror:
    print_summary(why_failed(jobs.failed.values()))


def python_path():
    """Shell prefix that puts Snakemake's Python first on PATH; empty if jobs run in their own conda environment."""
    if workflow.deployment_settings and workflow.deployment_settings.deployment_method:
        return ""
    folder = shlex.quote(str(Path(sys.executable).parent)).replace("{", "{{").replace("}", "}}")
    # In another workflow's folder, a `ppl` there is not this package.
    return f"export PATH={folder}:$PATH; {'export PYTHONSAFEPATH=1; ' if IS_MODULE else ''}"


# Strict mode as Snakemake sets it without a prefix. PPL_PARENT: jobs end with Snakemake (ppl/jobs/lifetime.py). MALLOC_*: keep
# freed memory, as fresh pages for large tensors took a third of a CPU step. GOMP_SPINCOUNT: threads spin for microseconds
# before they sleep; without it small operations are several times slower, with the default they take cores from other jobs.
shell.prefix(
    f"set -euo pipefail; {python_path()}"
    "export PPL_PARENT=$PPID; export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=67108864 GOMP_SPINCOUNT=1000; "
)


def of_source(source):
    """Pattern of the experiments whose data come from `source`."""
    own = {name: settings for name, settings in EXPERIMENTS.items() if name == settings["repeats"]}
    return one_of(name for name, settings in own.items() if settings["data"]["source"] == source)


def of_network(*networks):
    """Pattern of the experiments that refine CAMs by one of these networks."""
    return one_of(name for name, settings in EXPERIMENTS.items() if settings["refine"]["network"] in networks)


def one_of(names):
    """Pattern of any of the names; one that matches nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def data_folder(wildcards):
    """The dataset of an experiment, which its repetitions with other seeds share."""
    return f"results/{EXPERIMENTS[wildcards.experiment]['repeats']}/data"


def data_check(wildcards):
    """What tells that the dataset is sound."""
    return f"results/{EXPERIMENTS[wildcards.experiment]['repeats']}/check.json"


def value(*keys):
    """One value of the experiment's settings, as a function of the wildcards."""

    def of_job(wildcards):
        section = EXPERIMENTS[wildcards.experiment]
        for key in keys:
            section = section[key]
        return section

    return of_job


def flag(name, *keys):
    """One value of the settings with its flag: Snakemake compares params as a set, in which bare values could swap."""
    return lambda wildcards: configuration.flags({name: value(*keys)(wildcards)})


def flags(*keys, prefix):
    """Command-line flags of a section of the experiment's settings, in an order that does not depend on the file."""
    return lambda wildcards: configuration.flags(value(*keys)(wildcards), prefix)


def precision(wildcards):
    """Flag of the arithmetic that networks compute in."""
    return f"--hardware.precision {value('hardware', 'precision')(wildcards)}"


def crf_on(wildcards):
    """Flag of where CRFs are solved."""
    return f"--crf-on {value('hardware', 'crf')(wildcards)}"


def crf_gpus(wildcards):
    """GPUs that a step claims which does nothing but CRFs."""
    return one_gpu(wildcards) if value("hardware", "crf")(wildcards) == "gpu" else 0


def workers(wildcards):
    """Processes that read and compute image by image."""
    return value("hardware", "workers")(wildcards)


def network_threads(wildcards):
    """CPU threads of a step that runs a network: the workers beside a GPU, all cores where the CPU does everything."""
    return workers(wildcards) if gpus(wildcards) else all_cores(wildcards)


def all_cores(wildcards):
    """All cores of a local run; on a cluster, where there is no such number, as many as there are workers.

    The process that runs a job there sees the cores of its node: it must not take more than was asked for.
    """
    if workflow.remote_exec:
        return workers(wildcards)
    try:
        return workflow.cores
    except WorkflowError:
        return workers(wildcards)


def gpus(wildcards):
    """GPUs that a training claims."""
    return value("hardware", "gpu")(wildcards)


def one_gpu(wildcards):
    """GPUs that an image-by-image step claims: it is spread by shards instead."""
    return min(1, gpus(wildcards))


def shards(pattern):
    """All shards of what an image-by-image step writes; the experiment says how many."""

    def of_job(wildcards):
        count = value("hardware", "shards")(wildcards)
        named = dict(wildcards.items())
        return [pattern.format(**named | {"shard": f"{i}of{count}"}) for i in range(1, count + 1)]

    return of_job


def variant_of(name, pattern):
    """Files of the variant that the experiment names as `name`, in its folder; all shards where there is {shard}."""

    def of_job(wildcards):
        path = f"results/{wildcards.experiment}/{value(name)(wildcards)}/{pattern}"
        return shards(path)(wildcards) if "{shard}" in path else [path]

    return of_job


def splits(experiment):
    """Names of the splits by what they serve, as flags of `ppl.data.check` name them."""
    data = EXPERIMENTS[experiment]["data"]
    return {f"{part}-split": data[f"{part}_split"] for part in ("train", "seed", "val", "test")}


def folder_lists(experiment):
    """The lists of a user's dataset folder that exist: a change in them reruns what depends on the data."""
    root = Path(EXPERIMENTS[experiment]["data"]["path"])
    names = [f"ImageSets/Segmentation/{split}.txt" for split in sorted(set(splits(experiment).values()))]
    found = [root / name for name in ("classes.txt", "labels.csv", *names) if (root / name).exists()]
    return [str(file.absolute() if IS_MODULE else file) for file in found]  # absolute ones stay as they are


def placed(text):
    """A path of results that is no input or output, or a JSON text with some, below the prefix of a `module` statement."""
    return re.sub(r'(^|")results/', rf"\1{PREFIX}results/", text)


def has_masks(experiment):
    """Whether there is anything to measure with."""
    return configuration.has_masks(EXPERIMENTS[experiment])
