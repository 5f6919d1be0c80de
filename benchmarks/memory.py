"""Measure the memory of every step at N and at 20 N photos: it must not grow with the number of photos.

    python benchmarks/memory.py            # about ten minutes on two cores; Linux

Runs tests/tiny.yaml with both numbers of photos, one epoch per training. A wrapper of `python` runs the steps and sums,
every few milliseconds, the memory of a step and its worker processes (PSS: shared pages count once). Prints the peaks
as a Markdown table.
"""

import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil
import tyro
import yaml

REPOSITORY = Path(__file__).parents[1]
PEAKS = "PPL_PEAKS"  # environment variable: file for the peaks
PAUSE = 0.02  # seconds between two measurements
STAND_IN = '#!/bin/sh\nexec "{python}" "{script}" --step "$@"\n'


@dataclass(frozen=True)
class Settings:
    photos: int = 60
    """Number of training photos; half as many for validation, a quarter for prediction."""
    times: int = 20
    cores: int = 2


def main(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        numbers = (settings.photos, settings.photos * settings.times)
        peaks = {number: measured(number, Path(folder) / str(number), settings.cores) for number in numbers}
    few, many = peaks.values()
    print(f"| step | MB at {numbers[0]} photos | MB at {numbers[1]} | ratio | KB per added photo |")
    print("| --- | --- | --- | --- | --- |")
    for step in few:
        added = 1e3 * (many[step] - few[step]) / (numbers[1] - numbers[0])
        print(f"| {step} | {few[step]:.0f} | {many[step]:.0f} | {many[step] / few[step]:.2f} | {added:.1f} |")


def measured(photos: int, folder: Path, cores: int) -> dict[str, float]:
    """Return the peak memory of each step in MB, over its jobs, for a run with `photos` training photos."""
    folder.mkdir()
    config = yaml.safe_load((REPOSITORY / "tests" / "tiny.yaml").read_text())
    experiment = config["experiments"]["tiny"]
    experiment["data"]["demo"] |= {"train": photos, "val": photos // 2, "test": photos // 4}
    for section in (
        experiment["classify"]["training"],
        experiment["classify"]["patch_training"],
        experiment["refine"]["irnet"]["training"],
    ):
        section["epochs"] = 1
    experiment["hardware"]["shards"] = 1
    experiment["tables"] = {
        "III": {"variants": [experiment["main"]], "measures": ["seed", "crf", "val"], "per_class": True}
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    python, notes = folder / "bin" / "python", folder / "peaks"
    python.parent.mkdir()
    python.write_text(STAND_IN.format(python=sys.executable, script=Path(__file__).resolve()))
    python.chmod(0o755)
    targets = ["results/tiny_test_preds", "results/tiny/report.html", "results/tiny/summary.csv", "results/tiny/tables"]
    where = ["--snakefile", str(REPOSITORY / "workflow" / "Snakefile"), "--directory", str(folder)]
    options = ["--cores", str(cores), "--configfile", str(folder / "config.yaml"), "--"]
    # Jobs run the `python` in the folder of Snakemake's Python. Snakemake runs from a link beside the wrapper, so that
    # jobs run the wrapper; PYTHONPATH replaces the site packages, which a Python behind a link does not find.
    beside = python.with_name("snakemakes")
    beside.symlink_to(sys.executable)
    packages = os.pathsep.join([str(REPOSITORY), *site.getsitepackages()])
    done = subprocess.run(
        [str(beside), "-m", "snakemake", *where, *options, *targets],
        env=os.environ | {"PYTHONPATH": packages, PEAKS: str(notes)}, cwd=REPOSITORY, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"error: the run with {photos} photos failed\n{done.stdout[-4000:]}")
    shutil.rmtree(folder / "results")
    peaks: dict[str, float] = defaultdict(float)
    for line in notes.read_text().splitlines():
        step, peak = line.split()
        peaks[step] = max(peaks[step], float(peak))
    return dict(sorted(peaks.items()))


def step(arguments: list[str]) -> int:
    """Run a step as `python` would, and record its peak memory."""
    peak = 0.0
    with subprocess.Popen([sys.executable, *arguments]) as process:
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(PAUSE)
    with open(os.environ[PEAKS], "a") as notes:
        notes.write(f"{arguments[1]} {peak:.1f}\n")
    return process.returncode


def memory_of(process: int) -> float:
    """Return the memory of a process and its descendants in MB."""
    total = 0
    try:
        root = psutil.Process(process)
        for each in (root, *root.children(recursive=True)):
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (psutil.NoSuchProcess, OSError, StopIteration):
        pass  # a process has just ended
    return total / 1e3


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        sys.exit(step(sys.argv[2:]))
    main(tyro.cli(Settings, description=__doc__))
