"""Settings of each experiment, handlers of Snakemake's start and end, and parameters of rules from the settings."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from ppl.cam.settings import AUTO
from ppl.data import source
from ppl.data.settings import SOURCES
from ppl.jobs.code_hash import code_hash
from ppl.jobs.command import explain
from ppl.jobs.errors import UserError
from ppl.jobs.files import file_digest
from ppl.jobs.lifetime import forward_sigterm_to_jobs
from ppl.jobs.settings import REQUIRE_GPU
from ppl.report import overview
from ppl.workflow import config as configuration
from ppl.workflow import datasets, parameters, paths, plan, snakemake_records
from ppl.workflow.job_progress import Jobs, why_failed
from ppl.workflow.locks import remove_stale_locks

IS_MODULE = not workflow.modifier.is_main_snakefile()
"""Whether another workflow uses this one (docs/module.md), to which folder, targets and locks then belong."""
FORCES = {"-F", "-R", "-f", "--force", "--forceall", "--forcerun", "--touch", "-t"}
"""Options of Snakemake with which the user decides what is computed again."""
PREFIX = workflow.modifier.path_modifier.prefix or ""
"""Prefix of a `module` statement for all results; Snakemake itself adds it to inputs and outputs."""
IN_CLONE = not IS_MODULE and Path(workflow.basedir).resolve().parent == Path.cwd()
"""Whether this workflow runs in the root of its repository, from which jobs then import the package."""
DEPLOYMENT = workflow.deployment_settings.deployment_method if workflow.deployment_settings else ()
"""Methods named by --sdm."""
BACKEND = str(getattr(workflow.workflow_settings, "persistence_backend", "file"))
"""Where Snakemake has its records; only those in files are looked up here (ppl/workflow/snakemake_records.py)."""
DATASETS = datasets.Datasets(PREFIX)

try:
    E = configuration.resolve(config)
    # Check targets here: Snakemake would wrap the error of a rule in several lines.
    for target in [] if IS_MODULE else configuration.possible_targets(sys.argv[1:]):
        configuration.check_target(target, E)
    if DeploymentMethod.CONDA in DEPLOYMENT and not IN_CLONE and not IS_MODULE:
        remedy = "run snakemake in the root of a clone, or without --sdm conda"
        raise UserError("--sdm conda", "its environment has the package only in a clone of the repository", remedy)
    if workflow.is_main_process:
        configuration.check_families(E.values())
    if workflow.is_main_process and not IS_MODULE and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
        remove_stale_locks(Path(".snakemake"))
    if workflow.is_main_process and not IS_MODULE:
        snakemake_records.restore_times()
        snakemake_records.remember_place()
        for experiment in E.values() if BACKEND == "file" and not FORCES & set(sys.argv) else ():
            snakemake_records.refuse_changed_settings(experiment)
            if datasets.has_parts(experiment.settings.data):
                DATASETS.refuse_changed_files(experiment)
except (UserError, OSError) as error:
    sys.exit(f"error: {explain(error) or error}")  # a WorkflowError would come wrapped in the place where it was raised

os.environ[REQUIRE_GPU] = " ".join(name for name, experiment in E.items() if experiment.settings.hardware.require_gpu)

for experiment in E.values() if workflow.is_main_process else ():
    if datasets.has_parts(experiment.settings.data):
        datasets.keep_places(DATASETS.folder(experiment), Path(f"{PREFIX}{paths.data_check(experiment)}"))


jobs = Jobs()


def quiet():
    """Return whether `--quiet` turns progress messages off."""
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
    folders = [Path("results", name) for name in E if name in jobs.experiments]
    if folders and not quiet():
        yield overview.overview(folders)


onstart:
    forward_sigterm_to_jobs()
    jobs.start(quiet=quiet())


onsuccess:
    print_summary(overview_of_run())
    DATASETS.remember()  # reads all photos, once
    snakemake_records.remember_place()


onerror:
    print_summary(why_failed(jobs.failed.values()))
    DATASETS.remember()
    snakemake_records.remember_place()


def python_path():
    """Return a shell prefix that puts Snakemake's Python first on PATH; empty if jobs run in their own conda environment."""
    if DEPLOYMENT:
        return ""
    folder = shlex.quote(str(Path(sys.executable).parent)).replace("{", "{{").replace("}", "}}")
    # In a user's folder, a `ppl` there is not this package, and a random.py not Python's.
    return f"export PATH={folder}:$PATH; {'' if IN_CLONE else 'export PYTHONSAFEPATH=1; '}"


# Strict mode as Snakemake sets it without a prefix. PPL_PARENT: jobs end with Snakemake (ppl/jobs/lifetime.py). MALLOC_*: keep
# freed memory, as fresh pages for large tensors took a third of a CPU step. GOMP_SPINCOUNT: threads spin for microseconds
# before they sleep; without it small operations are several times slower, with the default they take cores from other jobs.
shell.prefix(
    f"set -euo pipefail; {python_path()}"
    "export PPL_PARENT=$PPID; export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=67108864 GOMP_SPINCOUNT=1000; "
)


def settings_of(wildcards):
    """Return the settings of an experiment."""
    return E[wildcards.experiment].settings


def flags(*keys, without=""):
    """Return command-line flags of settings by their keys, as a function of the wildcards (ppl/workflow/parameters.py).

    Snakemake compares params as a set: with their flags two values that swap places are seen as a change.
    """
    return lambda wildcards: parameters.flags(settings_of(wildcards), *keys, without=without)


def uncompared_flags(*keys):
    """Return flags of settings that decide no result: Snakemake does not compare them, so a change reruns nothing."""
    return lambda wildcards: datasets.NotCompared(parameters.flags(settings_of(wildcards), *keys))


def code(module, *keys):
    """Return the digest of a module's code and of the entries that the settings of `keys` name."""
    return lambda wildcards: parameters.code(settings_of(wildcards), module, *keys)


def split(key):
    """Return the name of a split by its key below `data:`, as a function of the wildcards."""
    return lambda wildcards: getattr(settings_of(wildcards).data, key)


def files(function, *arguments):
    """Return files of the experiment by a function of ppl/workflow/paths.py, as a function of the wildcards."""
    return lambda wildcards: function(E[wildcards.experiment], *arguments)


def if_masks(function):
    """Return the same, but no files if the dataset has no masks to measure with."""
    return lambda wildcards: (
        function(E[wildcards.experiment]) if source.has_masks(settings_of(wildcards).data) else []
    )


def source_files(wildcards):
    """Return the files from which a dataset is prepared; the user's are absolute in a module, as its prefix is not theirs."""
    data = settings_of(wildcards).data
    files = [Path(file).absolute() if IS_MODULE else file for file in source.inputs(data)]
    return [*map(str, files)]


def source_state(wildcards):
    """Return the state of the files of a source, which is no flag: it only reruns the preparation."""
    experiment = E[wildcards.experiment]
    if not datasets.has_parts(experiment.settings.data):
        return source.version(experiment.settings.data)
    return DATASETS.prepared_from(experiment) if workflow.is_main_process else ""


def state_of(*reads):
    """Return the state of what a job reads of the dataset, such as "photos+labels train_split"; without, of all."""

    def state(wildcards):
        experiment = E[wildcards.experiment]
        # The Snakemake of a job on a cluster compares nothing.
        if not datasets.has_parts(experiment.settings.data) or not workflow.is_main_process:
            return datasets.NotCompared()
        return DATASETS.state(experiment, datasets.names_of(experiment, wildcards, reads))

    return state


def data_of(*reads):
    """Return the dataset folder; a job that reads only unchanged parts of it does not depend on its preparation.

    `ancient` alone is not enough: Snakemake does not look for other reasons to run a job behind the job of an ancient
    input. Jobs on a cluster could run at the same time as the preparation, so there they wait for it.
    """

    def folder(wildcards):
        experiment = E[wildcards.experiment]
        path = paths.data_folder(experiment)
        if not datasets.has_parts(experiment.settings.data) or not workflow.is_main_process:
            return path
        names = [] if workflow.non_local_exec else datasets.names_of(experiment, wildcards, reads)
        keeps = DATASETS.folder(experiment).exists() and DATASETS.unchanged(experiment, names)
        return ancient(before_update(path)) if keeps else path

    return folder


data_folder = files(paths.data_folder)
"""Of jobs that read all of a dataset: through them its preparation belongs to the jobs of every target."""


def check_before(*reads):
    """Return the check of the data, on which a training does not depend if it has run on the same parts before."""

    def check(wildcards):
        experiment = E[wildcards.experiment]
        path = paths.data_check(experiment)
        if not datasets.has_parts(experiment.settings.data) or not workflow.is_main_process:
            return path
        classifier = f"{PREFIX}{experiment.folder}/{wildcards.method}/{wildcards.grids}/classifier.pt"
        state = repr(DATASETS.state(experiment, datasets.names_of(experiment, wildcards, reads)))
        keeps = Path(f"{PREFIX}{path}").exists() and state in snakemake_records.params_of(classifier)
        return ancient(before_update(path)) if keeps else path

    return check


def preparation_threads(wildcards):
    """Return the workers; all cores to prepare a dataset again, so that no job reads it meanwhile (see `data_of`)."""
    experiment = E[wildcards.experiment]
    again = datasets.has_parts(experiment.settings.data) and DATASETS.folder(experiment).exists()
    return all_cores(wildcards) if again else workers(wildcards)


def source_settings(wildcards):
    """Return the flags of the source of data, with the names of the splits if the source depends on them."""
    data = settings_of(wildcards).data
    names = [f"data.{key}" for key in data.splits] if source.needs_splits(data) else []
    return flags("data.source", "data.{source}", *names)(wildcards)


def split_flags(wildcards):
    """Return the flags of all splits for the check, which is also a command for users and so has flags of its own."""
    return " ".join(f"--{key} {name}" for key, name in settings_of(wildcards).data.splits.items())


def shards(pattern):
    """Return all shards of the output of an image-by-image step, as a function of the wildcards."""
    return lambda wildcards: [path.format(**wildcards) for path in paths.shards(E[wildcards.experiment], pattern)]


def cams_of(split):
    """Return CAMs of a split, named by its key: the job's own shard, which has the same images, or else all shards."""
    return lambda wildcards: paths.cams(
        E[wildcards.experiment], split, f"{wildcards.method}/{wildcards.grids}", wildcards.get("shard")
    )


def predictions_of(split):
    """Return all shards of the predictions of a split, named by its key."""
    return lambda wildcards: paths.predictions(E[wildcards.experiment], split, f"{wildcards.method}/{wildcards.grids}")


def is_auto(wildcards):
    """Return whether the threshold of the seeds is chosen from CAMs and photos."""
    return settings_of(wildcards).cam.threshold == AUTO


def growing(megabytes):
    """Return the memory of a job as a function of the attempt: a retry (`retries` of a profile) gets it once more."""
    return lambda wildcards, attempt: megabytes * attempt


def if_auto(function, otherwise):
    """Return the function of the wildcards if the threshold is chosen; a number in the configuration needs nothing."""
    return lambda wildcards: function(wildcards) if is_auto(wildcards) else otherwise


def threshold_if(step):
    """Return the file of the threshold for reliable labels (0) or the walk (1) if they are relative to it, else nothing."""

    def inputs(wildcards):
        experiment, variant = E[wildcards.experiment], f"{wildcards.method}/{wildcards.grids}"
        return paths.threshold(experiment, variant) if paths.needs_threshold(experiment)[step] else []

    return inputs


def threshold_flag(wildcards, input):
    """Return the flag of the file of the threshold; empty if the job does not need it."""
    return f"--threshold {input.threshold}" if input.threshold else ""


def labels_to_agree(wildcards):
    """Return the folders of the pseudo labels of a shard, the variant's own first, on which its labels must agree."""
    experiment, variant = E[wildcards.experiment], f"{wildcards.method}/{wildcards.grids}"
    folders = [f"{experiment.folder}/{variant}", *paths.agreeing(experiment, variant)]
    return [f"{folder}/pseudo/{wildcards.shard}" for folder in folders]


def labels_to_learn(wildcards):
    """Return the folders of the pseudo labels from which the network of a variant learns."""
    return paths.pseudo_labels(E[wildcards.experiment], f"{wildcards.method}/{wildcards.grids}")


def starting_classifier(wildcards):
    """Return the classifier whose backbone a variant starts from; none if it starts from ImageNet weights."""
    try:
        return paths.starting_classifier(E[wildcards.experiment], wildcards.method, wildcards.grids)
    except UserError as error:
        raise WorkflowError(str(error)) from error


def classifier_training(wildcards):
    """Return command-line flags of the training of a variant's classifier."""
    return parameters.training_flags(settings_of(wildcards).classify, wildcards.method, wildcards.grids)


def random_seed(wildcards):
    """Return the flag of the random seed of a training."""
    return f"--random_seed {E[wildcards.experiment].random_seed}"


def crf_gpus(wildcards):
    """Return the number of GPUs of a step that solves only CRFs."""
    return one_gpu(wildcards) if settings_of(wildcards).hardware.crf == "gpu" else 0


def workers(wildcards):
    """Return the number of processes that read and compute image by image."""
    return settings_of(wildcards).hardware.workers


def network_threads(wildcards):
    """Return the CPU threads of a step that runs a network: the workers beside a GPU, all cores without one."""
    return workers(wildcards) if gpus(wildcards) else all_cores(wildcards)


def all_cores(wildcards):
    """Return the number of cores of a local run; on a cluster, the number of workers.

    A job on a cluster can use all cores of its node, but must use only those that it has requested.
    """
    if workflow.remote_exec:
        return workers(wildcards)
    try:
        return workflow.cores
    except WorkflowError:
        return workers(wildcards)


def gpus(wildcards):
    """Return the number of GPUs of a training."""
    return settings_of(wildcards).hardware.gpu


def one_gpu(wildcards):
    """Return the number of GPUs of an image-by-image step, which uses several through shards instead."""
    return min(1, gpus(wildcards))


def named(experiments):
    """Return a pattern of the names of experiments; one that never matches if there are none."""
    return "|".join(re.escape(experiment.name) for experiment in experiments) or "(?!)"


def with_prefix(text):
    """Add the prefix of a module to paths in results/ that are neither input nor output, also in a JSON text."""
    return re.sub(r'(^|")results/', rf"\1{PREFIX}results/", text)


def part_hash(*names):
    """Return digests of files of ppl/report that are not Python and so not part of a code hash."""
    folder = Path(overview.__file__).parent
    return " ".join(file_digest(folder / name)[:16] for name in names)
