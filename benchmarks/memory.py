"""Memory of every step at one and at twenty times as many photos: it must not grow with their number.

    python benchmarks/memory.py            # about ten minutes on two cores; Linux

Runs tests/tiny.yaml with both numbers of photos, one epoch a training. A stand-in for `python` runs the steps and adds
up, every few milliseconds, what a step and its worker processes hold of memory (PSS: shared pages count once). Prints
the peaks as a Markdown table.
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
PEAKS = "PPL_PEAKS"  # file that the stand-in writes to
PAUSE = 0.02  # seconds between two looks
STAND_IN = '#!/bin/sh\nexec "{python}" "{script}" --step "$@"\n'


@dataclass(frozen=True)
class Settings:
    photos: int = 60
    """For training; half as many to validate, a quarter to predict."""
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
    """Peak of each step in MB, over its jobs, for a run with that many photos."""
    folder.mkdir()
    config = yaml.safe_load((REPOSITORY / "tests" / "tiny.yaml").read_text())
    own = config["experiments"]["tiny"]
    own["data"] |= {"train": photos, "val": photos // 2, "test": photos // 4}
    for section in (own["classify"]["training"], own["classify"]["patch_training"], own["refine"]["irnet"]):
        section["epochs"] = 1
    own["hardware"]["shards"] = 1
    own["tables"] = {"III": {"variants": [own["main"]], "measures": ["seed", "crf", "val"], "per_class": True}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    python, notes = folder / "bin" / "python", folder / "peaks"
    python.parent.mkdir()
    python.write_text(STAND_IN.format(python=sys.executable, script=Path(__file__).resolve()))
    python.chmod(0o755)
    targets = ["results/tiny_test_preds", "results/tiny/report.html", "results/tiny/summary.csv", "results/tiny/tables"]
    where = ["--snakefile", str(REPOSITORY / "workflow" / "Snakefile"), "--directory", str(folder)]
    options = ["--cores", str(cores), "--configfile", str(folder / "config.yaml"), "--"]
    # Jobs use the `python` beside Snakemake's own: a link to this one, which would not find its packages by itself.
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
    """Runs a step as `python` would, and notes its peak."""
    peak = 0.0
    with subprocess.Popen([sys.executable, *arguments]) as process:
        while process.poll() is None:
            peak = max(peak, held(process.pid))
            time.sleep(PAUSE)
    with open(os.environ[PEAKS], "a") as notes:
        notes.write(f"{arguments[1]} {peak:.1f}\n")
    return process.returncode


def held(process: int) -> float:
    """MB that a process and its descendants hold."""
    total = 0
    try:
        root = psutil.Process(process)
        for each in (root, *root.children(recursive=True)):
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (psutil.NoSuchProcess, OSError, StopIteration):
        pass  # one of them has just ended
    return total / 1e3


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        sys.exit(step(sys.argv[2:]))
    main(tyro.cli(Settings, description=__doc__))
