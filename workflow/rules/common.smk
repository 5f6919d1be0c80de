"""Resolved settings of each experiment, and how they reach a command line."""

import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ppl.jobs.code_hash import code_hash
from ppl.jobs.command import explain
from ppl.jobs.errors import UserError
from ppl.jobs.files import file_digest
from ppl.report import overview
from ppl.workflow import config as configuration
from ppl.workflow import job_progress as follow
from ppl.workflow import locks as instance
from ppl.workflow import paths, plan

IS_MODULE = not workflow.modifier.is_main_snakefile()
"""Whether another workflow uses this one (docs/module.md): folder, targets and locks are then that one's."""
PREFIX = workflow.modifier.path_modifier.prefix or ""
"""Folder below which a `module` statement wants all results; inputs and outputs get it from Snakemake."""

try:
    given = configuration.with_shipped_defaults(config, Path(workflow.source_path("../../config/config.yaml"))) if IS_MODULE else config
    EXPERIMENTS = configuration.resolve(given, Path(workflow.source_path("../schemas/config.schema.yaml")))
    # Rules see a target only after Snakemake has wrapped whatever they raise in several lines.
    for target in [] if IS_MODULE else configuration.possible_targets(sys.argv[1:]):
        configuration.check_target(target, EXPERIMENTS)
except UserError as error:
    sys.exit(f"error: {error}")  # a WorkflowError would come wrapped in the place where it was raised

if workflow.is_main_process and not IS_MODULE and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    try:
        instance.take_over(Path(".snakemake"))
        instance.bring_to_present(Path("results"), Path("resources"))
    except OSError as error:
        sys.exit(f"error: {explain(error) or error}")


jobs = follow.Jobs()


def quiet():
    """Whether the user wants to hear nothing of progress."""
    return any(about.name in ("PROGRESS", "ALL") for about in workflow.output_settings.quiet or ())


def tell_end(lines):
    """Prints lines below all that Snakemake has said; what goes wrong with them is no fault of the run."""
    try:
        if found := list(lines):
            print("", *found, "", sep="\n", file=sys.stderr, flush=True)
    except (OSError, UserError) as error:
        print(f"no overview of the results: {error}", file=sys.stderr)


def overview_of_run():
    """Figures of the experiments that this run has worked on, and where to look."""
    ran = {name: settings for name, settings in EXPERIMENTS.items() if name in jobs.experiments}
    if ran and not quiet():
        yield overview.overview({Path("results", name): settings["cam"]["threshold"] for name, settings in ran.items()})


onstart:
    instance.pass_on_sigterm()
    jobs.follow(quiet=quiet())


onsuccess:
    tell_end(overview_of_run())


onerror:
    tell_end(follow.why_failed(jobs.failed.values()))


def interpreter():
    """Shell code that has jobs use the Python of Snakemake, activated or not; nothing where they get one of their own.

    In another workflow's folder, what is called `ppl` there is not this package.
    """
    if workflow.deployment_settings and workflow.deployment_settings.deployment_method:
        return ""
    folder = shlex.quote(str(Path(sys.executable).parent)).replace("{", "{{").replace("}", "}}")
    return f"export PATH={folder}:$PATH; {'export PYTHONSAFEPATH=1; ' if IS_MODULE else ''}"


# As Snakemake has it without a prefix: the first command that fails ends a job. Jobs end with the Snakemake that started
# them (ppl/jobs/command.py). Large tensors otherwise come from fresh pages each time: a third of a CPU step was spent in the
# kernel. Threads spin for some microseconds before they sleep: not at all makes steps of many small operations several
# times slower, as long as by default takes the cores from other jobs.
shell.prefix(
    f"set -euo pipefail; {interpreter()}"
    "export PPL_PARENT=$PPID; export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=67108864 GOMP_SPINCOUNT=1000; "
)


E = {name: paths.Experiment(name, settings) for name, settings in EXPERIMENTS.items()}
"""Experiments and their repetitions by name; ppl/workflow/paths.py has the functions of them."""


def setting(*keys):
    """One value of the experiment's settings, as a function of the wildcards."""
    return lambda wildcards: E[wildcards.experiment].setting(*keys)


def files(function, *arguments):
    """Files of the experiment by a function of ppl/workflow/paths.py, as a function of the wildcards."""
    return lambda wildcards: function(E[wildcards.experiment], *arguments)


def if_masks(function):
    """The same, but none if the dataset has no masks to measure with."""
    return lambda wildcards: (
        function(E[wildcards.experiment]) if configuration.has_masks(E[wildcards.experiment].settings) else []
    )


def user_lists(wildcards):
    """List files of a user's dataset folder; absolute in a module, as its prefix does not apply to them."""
    lists = paths.folder_lists(E[wildcards.experiment])
    return [str(file.absolute() if IS_MODULE else file) for file in lists]


data_folder, data_check = files(paths.data_folder), files(paths.data_check)


def shards(pattern):
    """All shards of the output of an image-by-image step, as a function of the wildcards."""
    return lambda wildcards: [path.format(**wildcards) for path in paths.shards(E[wildcards.experiment], pattern)]


def cams_of(split):
    """CAMs of a split, named by its key: the job's own shard, which has the same images, or else all shards."""
    return lambda wildcards: paths.cams(
        E[wildcards.experiment], split, f"{wildcards.method}/{wildcards.grids}", wildcards.get("shard")
    )


def predictions_of(split):
    """All shards of the predictions of a split, named by its key."""
    return lambda wildcards: paths.predictions(E[wildcards.experiment], split, f"{wildcards.method}/{wildcards.grids}")


def refining_network(wildcards):
    """Checkpoint of the network that guides the random walk."""
    network = setting("refine", "network")(wildcards)
    return f"results/{wildcards.experiment}/{wildcards.method}/{wildcards.grids}/{network}.pt"


def starting_classifier(wildcards):
    """The classifier whose backbone a variant starts from; none if it starts from ImageNet weights."""
    try:
        return paths.starting_classifier(E[wildcards.experiment], wildcards.method, wildcards.grids)
    except UserError as error:
        raise WorkflowError(str(error)) from error


def cli_flag(name, *keys):
    """One setting with its flag: Snakemake compares params as a set, in which bare values could change places."""
    return lambda wildcards: configuration.cli_flags({name: setting(*keys)(wildcards)})


def cli_flag_if_set(name, *keys):
    """The same, but empty if the experiment leaves the setting out."""
    return lambda wildcards: cli_flag(name, *keys)(wildcards) if keys[-1] in setting(*keys[:-1])(wildcards) else ""


def cli_flags(*keys, prefix):
    """Command-line flags of a section of the experiment's settings, in an order that does not depend on the file."""
    return lambda wildcards: configuration.cli_flags(setting(*keys)(wildcards), prefix)


def classifier_training(wildcards):
    """Command-line flags of the training of a variant's classifier."""
    section = setting("classify")(wildcards)
    training = configuration.classifier_training(section, wildcards.method, wildcards.grids)
    return configuration.cli_flags(training, "training")


def precision(wildcards):
    """Flag of the arithmetic that networks compute in."""
    return f"--hardware.precision {setting('hardware', 'precision')(wildcards)}"


def crf_on(wildcards):
    """Flag of the device that solves CRFs."""
    return f"--crf-on {setting('hardware', 'crf')(wildcards)}"


def crf_gpus(wildcards):
    """GPUs of a step that solves only CRFs."""
    return one_gpu(wildcards) if setting("hardware", "crf")(wildcards) == "gpu" else 0


def workers(wildcards):
    """Processes that read and compute image by image."""
    return setting("hardware", "workers")(wildcards)


def network_threads(wildcards):
    """CPU threads of a step that runs a network: the workers beside a GPU, all cores if the CPU does everything."""
    return workers(wildcards) if gpus(wildcards) else all_cores(wildcards)


def all_cores(wildcards):
    """All cores of a local run; on a cluster, which has no such number, as many as there are workers.

    A job on a cluster sees all cores of its node, but must not use more than it has requested.
    """
    if workflow.remote_exec:
        return workers(wildcards)
    try:
        return workflow.cores
    except WorkflowError:
        return workers(wildcards)


def gpus(wildcards):
    """GPUs of a training."""
    return setting("hardware", "gpu")(wildcards)


def one_gpu(wildcards):
    """GPUs of an image-by-image step, which uses several through shards instead."""
    return min(1, gpus(wildcards))


def experiments_with(*keys, among, repetitions=True):
    """Pattern of the experiments whose setting is one of `among`; a pattern that never matches if there are none."""
    names = [e.name for e in E.values() if e.setting(*keys) in among and (repetitions or not e.is_repetition)]
    return "|".join(map(re.escape, names)) or "(?!)"


def own_data(source):
    """Pattern of the experiments whose data come from `source`; repetitions share those of their experiment."""
    return experiments_with("data", "source", among=[source], repetitions=False)


def with_prefix(text):
    """Paths in results/ that are neither input nor output, or a JSON text with some, below the prefix of a module."""
    return re.sub(r'(^|")results/', rf"\1{PREFIX}results/", text)


def part_hash(*names):
    """Digests of files of ppl/report that are not Python and so not part of a code hash."""
    folder = Path(overview.__file__).parent
    return " ".join(file_digest(folder / name)[:16] for name in names)
