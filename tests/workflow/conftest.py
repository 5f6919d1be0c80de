"""A project of three experiments in a temporary folder with all results: tests ask what a change would rerun.

The workflow and the code are copies. One real run makes the results, with a stand-in for `python` that writes empty
outputs and logs its arguments; Snakemake records parameters, inputs and code of every job as always.
"""

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

from ppl.jobs import code_hash
from ppl.report import overview

REPOSITORY = Path(__file__).parents[2]
PHOTOS = "the user's $(touch injected) photos; touch injected"
TRAINED_WITH = "weights $(touch injected) 'of' mine.pt"
SPLITS = ("train", "val", "test")
DEMO = {"source": "demo", "train_split": "train", "demo": {"size": 64, "train": 30, "val": 20, "test": 10}}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "drawn": {
        "data": DEMO,
        "main": "implicit/s2k2-s3k4",
        "compare": ["baseline/plain"],
        "tables": {"V": {"variants": ["baseline/plain", "implicit/s2k2-s3k4"], "measures": ["seed", "crf"]}},
        "figures": {"figure-6": {"shows": "cams", "variants": ["baseline/plain"]}},
        "hardware": {"shards": 2},
    },
    "own": {
        "data": {"source": "folder", "folder": {"path": PHOTOS, "max_side": 640}, "train_split": "train"},
        "main": "explicit/s4k2",
        "compare": [],
        "segment": {"training": {"weights": TRAINED_WITH}},
    },
    "public": {
        "data": {"source": "coco", "coco": {"path": "their photos"}, "train_split": "train"},
        "main": "baseline/plain",
        "compare": [],
        "cam": {"method": "scorecam", "threshold": "auto"},
        "refine": {"network": "affinitynet", "reliable": {"scores": "alphas"}},
        "segment": {"network": "smp/Unet"},
    },
}
STAND_IN = """#!/bin/sh
printf '%s\\0' "$@" '
' >> "$ARGUMENTS"  # in one piece: two jobs write at once
while [ $# -gt 0 ]; do
  case $1 in
    --out|--log|--tar|--out-*)
      case ${2##*/} in *.*) : > "$2" ;; *) mkdir -p "$2" ;; esac ;;
  esac
  shift
done
"""


@dataclass(frozen=True)
class Job:
    """One job of a plan."""

    rule: str
    experiment: str
    variant: str
    """method/grids; empty where the job serves a whole experiment."""
    split: str
    """Where the rule has such a wildcard, else empty."""
    outputs: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    """Outputs, log and benchmark."""
    module: str
    """Of ppl, as in the command; empty if it runs none."""
    code: str
    """Digest of the code among its params."""


@dataclass(frozen=True)
class Plan:
    """Jobs that lead to the targets, what each needs, and those that would run now."""

    needs: Mapping[Job, frozenset[Job]]
    rerun: frozenset[Job]

    def select(self, condition: Callable[[Job], bool]) -> set[Job]:
        """Return the jobs that fulfil a condition."""
        return {job for job in self.needs if condition(job)}

    def following(self, first: Iterable[Job]) -> set[Job]:
        """Return `first` and all jobs that depend on their outputs."""
        reached = set(first)
        while more := {job for job, needs in self.needs.items() if job not in reached and needs & reached}:
            reached |= more
        return reached


@dataclass(frozen=True)
class Project:
    """A folder with workflow, configuration, code and results."""

    root: Path
    experiments: Mapping[str, Any]
    """Those of its configuration."""

    def targets(self) -> list[str]:
        """Return the final results of all experiments."""
        files = []
        for name, settings in self.experiments.items():
            measured = [f"{settings['main']}/{file}.csv" for file in ("pseudo", "val-raw", "val-crf")]
            files.append(f"results/{name}_test_preds")
            files += [f"results/{name}/{file}" for file in ("curves.png", "summary.csv", "report.html", *measured)]
        return [*files, "results/drawn/tables"]

    def command(
        self, *arguments: str, python: str = sys.executable, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `snakemake` as a user does, stdout and stderr together; jobs use the programs beside `python`."""
        packages = os.pathsep.join([str(self.root), *site.getsitepackages()])
        own = {"PYTHONPATH": packages, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command, out = [python, "-m", "snakemake", "--cores", "2", *arguments], subprocess.PIPE
        environment = os.environ | own | environment
        return subprocess.run(
            command, cwd=self.root, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True, check=False
        )

    @contextmanager
    def changed(self, texts: Mapping[Path, str]) -> Iterator[None]:
        """Replace the text of files within a `with` block."""
        before = {path: path.read_text() for path in texts}
        try:
            for path, text in texts.items():
                path.write_text(text)
            forget_code()
            yield
        finally:
            for path, text in before.items():
                path.write_text(text)
            forget_code()

    def rules(self) -> list[Any]:
        """Return Snakemake's own description of every rule."""
        with self._opened({}) as workflow:
            workflow.dag()
            return list(workflow._workflow_store.rules)

    @contextmanager
    def _opened(self, change: Mapping[str, Any]) -> Iterator[Any]:
        with SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.ALL})) as api:
            yield api.workflow(
                resource_settings=ResourceSettings(cores=2),
                config_settings=ConfigSettings(config=dict(change)),
                snakefile=self.root / "workflow" / "Snakefile",
                workdir=self.root,
            )

    def plan(self, change: Mapping[str, Any] | None = None, targets: Iterable[str] | None = None) -> Plan:
        """Return what Snakemake would do, with `change` laid over the configuration; computed in this process."""
        wanted = frozenset(self.targets() if targets is None else targets)
        with self._opened(change or {}) as workflow:
            workflow.dag(DAGSettings(targets=wanted)).execute_workflow(executor="dryrun")
            dag = workflow._workflow_store.dag
            named = {job: _job(job) for job in dag.jobs}
            needs = {
                ours: frozenset(named[n] for n in dag.dependencies[job] if _reads(job, n))
                for job, ours in named.items()
            }
            return Plan(needs, frozenset(named[job] for job in dag.jobs if dag.needrun(job)))


def _reads(job: Any, needed: Any) -> bool:
    """Whether a job depends on the content of another's output: on more than its existence (`ancient`)."""
    ancient = {str(file) for file in job.input if file.flags.get("ancient")}
    return bool(({str(file) for file in job.input} - ancient) & {str(file) for file in needed.output})


def forget_code() -> None:
    """Clear the digests of code, which are cached for the life of a process: here the code changes within it."""
    for function in vars(code_hash).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def _job(job: Any) -> Job:
    wildcards = dict(job.wildcards_dict)
    outputs = tuple(map(str, job.output))
    command = re.search(r"python -m (\S+)", job.shellcmd or "")
    return Job(
        rule=job.rule.name,
        experiment=wildcards.get("experiment", ""),
        variant=f"{wildcards['method']}/{wildcards['grids']}" if "grids" in wildcards else "",
        split=wildcards.get("split", ""),
        outputs=outputs,
        reads=tuple(map(str, job.input)),
        writes=(*outputs, *map(str, job.log), *([str(job.benchmark)] if job.benchmark else [])),
        module=command[1] if command else "",
        code=str(job.params.get("code", "")),
    )


def add_stand_in(root: Path, *, real: str = "") -> Path:
    """Write the stand-in for `python`, which runs the module `real` as it is; return the folder of both programs."""
    tools, (first, rest) = root / "stand-in", STAND_IN.split("\n", 1)
    tools.mkdir()
    as_it_is = f'if [ "$2" = {real} ]; then exec {shlex.quote(sys.executable)} "$@"; fi\n' if real else ""
    (tools / "python").write_text(f"{first}\n{as_it_is}{rest}")
    (tools / "python").chmod(0o755)
    (tools / "snakemakes").symlink_to(sys.executable)
    return tools


def copy_project(root: Path, experiments: Mapping[str, Any] = EXPERIMENTS) -> Project:
    """Copy workflow, environments and code of the repository, with experiments of its own."""
    for folder in ("workflow", "envs", "ppl"):
        ignored = shutil.ignore_patterns("demo_photos", "__pycache__")
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=ignored)
    (root / "config").mkdir()
    (root / "config" / "config.yaml").write_text(yaml.safe_dump({"experiments": dict(experiments)}))
    return Project(root, experiments)


def write_lists(folder: Path) -> None:
    """Write the lists of a user's dataset folder, and create the folders of photos and masks."""
    lists = folder / "ImageSets" / "Segmentation"
    for needed in (lists, folder / "JPEGImages", folder / "SegmentationClass"):
        needed.mkdir(parents=True)
    for file in (folder / "classes.txt", folder / "labels.csv", *(lists / f"{split}.txt" for split in SPLITS)):
        file.write_text("a\n")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with all results."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    write_lists(project.root / PHOTOS)
    tools = add_stand_in(project.root)
    python = str(tools / "snakemakes")
    done = project.command(*project.targets(), python=python, ARGUMENTS=str(project.root / "arguments"))
    assert done.returncode == 0, done.stdout
    return project


@pytest.fixture(scope="session")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project without results on a dataset folder `mine`, still to be written; only the dataset is not a stand-in."""
    data = {"source": "folder", "folder": {"path": "mine", "max_side": 64}, "train_split": "train"}
    experiments = {"mine": {"data": data, "main": "baseline/plain", "compare": []}}
    project = copy_project(tmp_path_factory.mktemp("unfinished"), experiments)
    add_stand_in(project.root, real="ppl.data.prepare")
    return project


@pytest.fixture(scope="session")
def project(finished: Project) -> Iterator[Project]:
    """The finished project; code is hashed from its copy, and pytest's own arguments are not targets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_hash, "ROOT", finished.root / "ppl")
        patch.setattr(overview, "__file__", str(finished.root / "ppl" / "report" / "overview.py"))
        patch.setattr(sys, "argv", ["snakemake"])
        forget_code()
        yield finished
    forget_code()
