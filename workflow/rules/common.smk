"""Resolved settings of each experiment, and how they reach a command line."""

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
from ppl.report import overview
from ppl.workflow import config as configuration
from ppl.workflow import job_progress as follow
from ppl.workflow import locks as instance
from ppl.workflow import plan as tabulated

IS_MODULE = not workflow.modifier.is_main_snakefile()
"""Whether another workflow uses this one (docs/module.md): folder, targets and locks are then that one's."""
PREFIX = workflow.modifier.path_modifier.prefix or ""
"""Folder below which a `module` statement wants all results; inputs and outputs get it from Snakemake."""

try:
    given = configuration.completed(config, Path(workflow.source_path("../../config/config.yaml"))) if IS_MODULE else config
    EXPERIMENTS = configuration.resolve(given, Path(workflow.source_path("../schemas/config.schema.yaml")))
    # Rules see a target only after Snakemake has wrapped whatever they raise in several lines.
    for target in [] if IS_MODULE else configuration.targets(sys.argv[1:]):
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
