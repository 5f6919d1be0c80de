"""Another repository uses the workflow as a Snakemake module, below its own folder and below a prefix."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SNAKEFILE = """
configfile: "experiments.yaml"

module ppl:
    snakefile: "{repository}/workflow/Snakefile"
    config: config
    {prefix}

use rule * from ppl as ppl_*

rule all:
    default_target: True
    input: "{folder}results/mine/check.json", "results/theirs/photos.txt"

rule count_photos:
    input: "{folder}results/mine/check.json"
    output: "results/theirs/photos.txt"
    shell: "ls {folder}results/mine/data/JPEGImages | {filter} | wc -l > {{output}}"
"""
EXPERIMENTS = """
experiments:
  mine:
    data: {source: demo, train_split: train, demo: {size: 64, train: 24, val: 6, test: 4}}
    main: baseline/plain
    compare: []
    tables: {I: {variants: [baseline/plain], measures: [seed]}}
    hardware: {gpu: 0, workers: 1}
  published: {data: {source: voc}}
  photographed: {data: {source: folder, folder: {path: photos}, train_split: train}}
"""


@pytest.fixture(params=["", "weak/"], ids=["beside", "prefix"])
def folder(request, tmp_path: Path) -> str:
    """A repository in `tmp_path`; the prefix of what the module makes there."""
    write_snakefile(tmp_path, request.param)
    (tmp_path / "experiments.yaml").write_text(EXPERIMENTS)
    (tmp_path / "ppl").mkdir()  # a folder of the user's, not the package
    (tmp_path / "photos" / "SegmentationClass").mkdir(parents=True)
    (tmp_path / "photos" / "classes.txt").write_text("bird\n")
    return request.param


def write_snakefile(root: Path, folder: str, filter: str = "cat") -> None:
    prefix = f'prefix: "{folder.rstrip("/")}"' if folder else ""
    text = SNAKEFILE.format(repository=REPOSITORY, prefix=prefix, folder=folder, filter=filter)
    (root / "Snakefile").write_text(text)


def snakemake(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Snakemake of an environment that is not activated, in another repository."""
    command = [Path(sys.executable).parent / "snakemake", "--cores", "2", *arguments]
    environment, out = {**os.environ, "PATH": os.defpath, "COLUMNS": "200"}, subprocess.PIPE
    return subprocess.run(
        command, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True, check=False
    )


def test_a_step_runs_in_another_repository(tmp_path, folder):
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / f"{folder}results/mine/check.json").exists()
    assert (tmp_path / "results/theirs/photos.txt").read_text().strip() == "34"
    assert not (tmp_path / ".snakemake" / "ppl.present").exists()  # locks are the other workflow's business
    again = snakemake(tmp_path)
    assert "Nothing to be done" in again.stdout, again.stdout

    write_snakefile(tmp_path, folder, filter="false")
    failed = snakemake(tmp_path, "--forcerun", "count_photos")
    assert failed.returncode != 0  # as without the module: a pipe fails with any of its commands


def test_every_path_of_the_module_is_below_its_prefix(tmp_path, folder):
    targets = ("mine/tables", "mine/report.html", "mine_test_preds", "published_test_preds", "photographed_test_preds")
    plan = snakemake(tmp_path, "--dry-run", "--printshellcmds", *(f"{folder}results/{target}" for target in targets))
    assert plan.returncode == 0, plan.stdout
    commands = [line for line in plan.stdout.splitlines() if "python -m ppl." in line]
    steps = {re.search(r"python -m (\S+)", line)[1] for line in commands}
    expected = ("data.sources.download", "data.prepare", "report.tables", "report.page")
    assert {f"ppl.{step}" for step in expected} <= steps
    for line in commands:
        assert set(re.findall(r"([\w./-]*)\b(?:results|resources)/", line)) <= {folder}, line
