"""Runs of tests/tiny.yaml, and the comparison of their results."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
TARGETS = ("results/tiny_test_preds", "results/tiny/report.html")
LIMIT = 900  # seconds that a run may take


def copy_project(folder: Path) -> None:
    """Copy what a run needs."""
    for part in ("config", "envs", "ppl", "tests", "workflow"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "results"))


def start(
    project: Path, folder: Path, *options: Any, targets: tuple[str, ...] = TARGETS, **how: Any
) -> subprocess.Popen:
    """Start the workflow of `project` in `folder`, as a user with two cores does; all output goes to stdout."""
    files = ["--snakefile", project / "workflow" / "Snakefile", "--directory", folder]
    config = ["--cores", "2", *options, "--configfile", project / "tests" / "tiny.yaml"]
    if (folder / "more.yaml").exists():
        config.append(folder / "more.yaml")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *map(str, [*files, *config]), "--", *targets],
        cwd=project, env=os.environ | {"PATH": path, "PYTHONPATH": str(project)},
        stderr=subprocess.STDOUT, text=True, **{"stdout": subprocess.PIPE} | how,
    )  # fmt: skip


def run(project: Path, folder: Path, *options: Any, targets: tuple[str, ...] = TARGETS) -> tuple[int, str]:
    """Run the workflow; return exit status and output."""
    process = start(project, folder, *options, targets=targets)
    output, _ = process.communicate(timeout=LIMIT)
    return process.returncode, output


def compare(reference: Path, results: Path) -> tuple[list[str], int]:
    """Return the files that differ or exist once only, and the number of files in both; logs and times are left out."""
    expected, actual = _files(reference), _files(results)
    common = sorted(expected & actual)
    differing = [name for name in common if _content(reference / name) != _content(results / name)]
    return sorted(expected ^ actual) + differing, len(common)


def _files(results: Path) -> set[str]:
    timed = re.compile(r"[^/]+/(logs/|benchmarks/|costs\.csv$)|(.*/)?(events\.out\.|\.)[^/]*$")
    names = (path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file())
    return {name for name in names if not timed.match(name)}


def _content(path: Path) -> bytes:
    """Return a file's bytes, without the times in tables of trainings and in the report."""
    raw = path.read_bytes()
    if path.name == "report.html":
        raw = re.sub(rb'<section aria-labelledby="costs">.*?</section>', b"", raw, flags=re.DOTALL)
        raw = re.sub(rb"<td>[\d.]+</td></tr>", b"</tr>", raw)  # minutes of the trainings, the last column
    rows = [line.split(b",") for line in raw.splitlines()] if path.suffix == ".csv" else []
    if rows and b"seconds" in rows[0]:
        column = rows[0].index(b"seconds")
        raw = b"\n".join(b",".join(row[:column] + row[column + 1 :]) for row in rows)
    return raw
