"""Spoils the ground under the workflow, looks for one clear line, mends it, and compares what then comes out.

    python tests/torture/faults.py          # as root on Linux for all of it; what cannot be done is told as skipped
    python tests/torture/faults.py clock    # only that

Every row of the table that it prints runs tests/tiny.yaml, or a step of it, on the CPU.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kills import PARTS, REPOSITORY, compare, environment

TARGET = "results/tiny_test_preds"
SWEEP = "results/tiny/implicit/s4k2/sweep.csv"
DAY = 86_400  # seconds
LIMIT = 900  # seconds


@dataclass(frozen=True)
class SkippedError(Exception):
    """This machine cannot have the fault."""

    why: str


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="faults-"))
    work.chmod(0o755)
    project = work / "project"
    for part in PARTS:
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(REPOSITORY / part, project / part, ignore=ignored)
    (work / "whole").mkdir()
    status, text = run(project, work / "whole")
    if status:
        sys.exit(f"error: the undisturbed run failed\n{text}")
    print("| fault | what is told | afterwards |\n| --- | --- | --- |")
    failed = 0
    for fault in (fault for fault in FAULTS if fault.__name__ in (sys.argv[1:] or fault.__name__)):
        folder = work / fault.__name__
        folder.mkdir()
        name = fault.__doc__.splitlines()[0].rstrip(".")
        try:
            told, after = fault(project, folder, work / "whole")
        except SkippedError as skipped:
            told, after = f"skipped: {skipped.why}", ""
        except (AssertionError, subprocess.TimeoutExpired) as error:
            told, after, failed = f"WRONG: {error}"[:600], "", failed + 1
        print(f"| {name} | {told.replace(str(work), '')} | {after} |", flush=True)
    if failed:
        sys.exit(f"error: {failed} faults are not met; the folders are left in {work}")
    shutil.rmtree(work)


def command(project: Path, folder: Path, target: str) -> list[str]:
    """The command of a user who works in a folder of his own."""
    where = ["--snakefile", project / "workflow" / "Snakefile", "--directory", folder]
    options = ["--cores", "2", "--configfile", project / "tests" / "tiny.yaml", "--", target]
    return [sys.executable, "-m", "snakemake", *map(str, (*where, *options))]


def run(project: Path, folder: Path, target: str = TARGET) -> tuple[int, str]:
    """Exit status, and all that is printed."""
    done = subprocess.run(
        command(project, folder, target),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LIMIT,
        cwd=project,
        env=environment(),
    )
    return done.returncode, done.stdout


def one_line(text: str, pattern: str) -> str:
    """The one line of an error that fits; AssertionError for none, several, or a traceback."""
    found = list(dict.fromkeys(line for line in text.splitlines() if re.search(pattern, line)))
    assert len(found) == 1, f"{len(found)} lines tell of {pattern!r}: {text[-2000:]}"
    assert "Traceback" not in text, text[-2000:]
    return found[0].strip()


def same(whole: Path, folder: Path) -> str:
    """How many results are those of the undisturbed run; AssertionError where one is not."""
    differing, compared = compare(whole / "results", folder / "results")
    assert not differing, f"differs: {differing}"
    return f"goes on, {compared} files the same"


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own in memory, of a size as in 30m."""
    if (
        os.getuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False, capture_output=True
        ).returncode
    ):
        raise SkippedError("needs root, to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Changes the mounted disk."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def full_disk(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """The disk is full, time and again."""
    with mounted(folder, "250k"):
        lines, size = [], 250_000
        for step in (500_000, 25_000_000, 25_000_000, 12_000_000, 12_000_000, 6_000_000, 20_000_000, 400_000_000):
            status, text = run(project, folder)
            if not status:
                break
            lines.append(one_line(text, r"^error: .*disk is full.*; free some space and run again$"))
            assert not list(folder.glob("results/**/.*.tmp*")), "half-written files are left"
            size += step
            remount(folder, f"size={size}")
        else:
            status, text = run(project, folder)
        assert not status, text[-2000:]
        steps = len({line.split(":")[1] for line in lines})
        return f"`{lines[0]}` (and so {len(lines)} times, at {steps} outputs)", same(whole, folder)


def read_only(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """The folder is read-only."""
    with mounted(folder, "500m"):
        remount(folder, "ro")
        status, text = run(project, folder)
        assert status == 1
        line = one_line(text, "^error: .*Read-only file system")
        remount(folder, "rw")
        assert run(project, folder)[0] == 0
        return f"`{line}`", same(whole, folder)


def unreadable_photo(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """A photo may not be read."""
    powers = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if powers and not shutil.which("setpriv"):
        raise SkippedError("needs setpriv, as root may read everything")
    shutil.copytree(whole / "results" / "tiny" / "data", folder / "data")
    photo = next((folder / "data" / "JPEGImages").iterdir())
    photo.chmod(0)
    splits = [f"--{name}-split={'val' if name == 'val' else 'train'}" for name in ("train", "seed")]
    splits += ["--val-split=val", "--test-split=test"]
    check = [sys.executable, "-m", "ppl.data.check", "--data", str(folder / "data"), *splits]
    check += ["--out", str(folder / "check.json"), "--workers", "1"]

    def look() -> subprocess.CompletedProcess:
        return subprocess.run(
            [*powers, *check], cwd=project, capture_output=True, text=True, check=False, timeout=LIMIT
        )

    done = look()
    assert done.returncode == 1, done.stderr
    line = one_line(done.stderr, re.escape(photo.name))
    photo.chmod(0o644)
    assert look().returncode == 0
    return f"`{line}`", "passes"


def two_at_once(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """Two Snakemakes make the same files."""
    with subprocess.Popen(
        command(project, folder, TARGET),
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        while not list(folder.glob(".snakemake/locks/*")):
            assert first.poll() is None
            time.sleep(0.1)
        status, text = run(project, folder)
        assert status == 1
        line = one_line(text, r"^another Snakemake \(process \d+ on ")
        assert first.wait(LIMIT) == 0
    assert run(project, folder)[0] == 0
    return f"`{line}`", same(whole, folder)


def killed_with_locks(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """A killed Snakemake leaves its locks."""
    first = subprocess.Popen(
        command(project, folder, TARGET),
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(folder.glob("results/tiny/check.json")):
        time.sleep(0.1)
    first.kill()
    first.wait()
    assert list(folder.glob(".snakemake/locks/*"))
    status, text = run(project, folder)
    assert status == 0, text[-2000:]
    return f"`{one_line(text, '^going on behind Snakemake')}`", same(whole, folder)


def clock(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """The clock was a day ahead, and is right again."""
    assert run(project, folder, "results/tiny/implicit/s4k2/classifier.pt")[0] == 0
    for path in (folder / "results").rglob("*"):
        with suppress(FileNotFoundError):
            os.utime(path, (time.time() + DAY,) * 2, follow_symlinks=False)
    status, text = run(project, folder)
    assert status == 0, text[-2000:]
    assert "train_classifier" not in text, "the classifier was trained again"
    status, again = run(project, folder)
    assert "Nothing to be done" in again, again[-1000:]
    return f"`{one_line(text, 'came from the future')}`", same(whole, folder)


def gpu_lock(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """The holder of a GPU is killed, and /tmp is cleared."""
    code = (
        "import torch, sys, time, ppl.jobs.devices as d; torch.cuda.device_count = lambda: 2; "
        "print(d.claim_gpus(1), d.claim_gpus(1) if sys.argv[1:] else '', flush=True); time.sleep(600)"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES",)}
    environment["TMPDIR"] = str(folder)

    def job(*arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    jobs = [job("two")]
    try:
        assert jobs[0].stdout.readline().strip() == "[0] [1]"
        assert not list(folder.iterdir()), "there is a file that could be lost"
        jobs.append(job())
        line = jobs[1].stderr.readline().strip()
        assert line.startswith("waiting for 1 of 2 GPUs"), line
        jobs[0].send_signal(signal.SIGKILL)
        assert jobs[1].stdout.readline().split() == ["[0]"]
    finally:
        for started in jobs:
            started.kill()
            started.communicate()
    return f"`{line}`", "has one as soon as the holder is dead"


FAULTS: tuple[Callable[[Path, Path, Path], tuple[str, str]], ...] = (
    full_disk, read_only, unreadable_photo, two_at_once, killed_with_locks, clock, gpu_lock
)  # fmt: skip

if __name__ == "__main__":
    main()
