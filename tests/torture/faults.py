"""Cause a fault under the workflow, expect one clear line, mend the fault, and compare the results.

    python tests/torture/faults.py          # as root on Linux for all of them; impossible ones are skipped
    python tests/torture/faults.py full_disk

Each row of the table that it prints runs tests/tiny.yaml, or a step of it, on the CPU.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common import LIMIT, TARGETS, compare, copy_project, start
from common import run as run_targets

TARGET = TARGETS[0]


class SkippedError(Exception):
    """This machine cannot have the fault."""


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="faults-"))
    work.chmod(0o755)
    project, whole = work / "project", work / "whole"
    copy_project(project)
    whole.mkdir()
    status, output = run(project, whole)
    if status:
        sys.exit(f"error: the undisturbed run failed\n{output}")
    print("| fault | message | afterwards |\n| --- | --- | --- |")
    failed = 0
    for fault in (fault for fault in FAULTS if fault.__name__ in (sys.argv[1:] or fault.__name__)):
        folder = work / fault.__name__
        folder.mkdir()
        try:
            message, after = fault(project, folder, whole)
        except SkippedError as skipped:
            message, after = f"skipped: {skipped}", ""
        except (AssertionError, subprocess.TimeoutExpired) as error:
            message, after, failed = f"WRONG: {error}"[:600], "", failed + 1
        print(f"| {fault.__doc__.rstrip('.')} | {message.replace(str(work), '')} | {after} |", flush=True)
    if failed:
        sys.exit(f"error: {failed} faults without their message; the folders are left in {work}")
    shutil.rmtree(work)


def run(project: Path, folder: Path) -> tuple[int, str]:
    return run_targets(project, folder, targets=(TARGET,))


def started(project: Path, folder: Path, until: str) -> subprocess.Popen:
    """Start a run in the background; return once a file exists."""
    process = start(project, folder, targets=(TARGET,), stdout=subprocess.DEVNULL)
    while not list(folder.glob(until)):
        assert process.poll() is None
        time.sleep(0.1)
    return process


def error_line(project: Path, folder: Path, pattern: str) -> str:
    """Run; return the one line that matches, formatted as code; AssertionError if the run completes."""
    status, output = run(project, folder)
    assert status == 1, output[-2000:]
    return f"`{one_line(output, pattern)}`"


def one_line(text: str, pattern: str) -> str:
    """Return the one line that matches; AssertionError for none, several different ones, or a traceback."""
    lines = list(dict.fromkeys(line for line in text.splitlines() if re.search(pattern, line)))
    assert len(lines) == 1, f"{len(lines)} lines match {pattern!r}: {text[-2000:]}"
    assert "Traceback" not in text, text[-2000:]
    return lines[0].strip()


def same(whole: Path, folder: Path) -> str:
    """Say how many results equal those of the undisturbed run; AssertionError if one does not."""
    differing, compared = compare(whole / "results", folder / "results")
    assert not differing, f"differs: {differing}"
    return f"completes, {compared} files the same"


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Mount a disk in memory, of a size such as 30m."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        raise SkippedError("needs root, to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Change the mounted disk."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def full_disk(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """The disk is full, time and again."""
    with mounted(folder, "250k"):
        lines, size = [], 250_000
        for step in (500_000, 25_000_000, 25_000_000, 12_000_000, 12_000_000, 6_000_000, 20_000_000, 400_000_000, 0):
            status, output = run(project, folder)
            if not status:
                break
            # TensorBoard's events are no output of a step: their error has the system's words and names no file.
            lines.append(one_line(output, r"^error: .*(disk full|No space left).*; free some space and run again"))
            assert not list(folder.glob("results/**/.*.tmp*")), "half-written files are left"
            size += step
            remount(folder, f"size={size}")
        assert not status, output[-2000:]
        outputs = len({line.split(":")[1] for line in lines})
        return f"`{lines[0]}` (in all {len(lines)} times, at {outputs} outputs)", same(whole, folder)


def read_only(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """The folder is read-only."""
    with mounted(folder, "500m"):
        remount(folder, "ro")
        line = error_line(project, folder, "^error: .*Read-only file system")
        remount(folder, "rw")
        assert run(project, folder)[0] == 0
        return line, same(whole, folder)


def unreadable_photo(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """A photo may not be read."""
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        raise SkippedError("needs setpriv, as root may read everything")
    shutil.copytree(whole / "results" / "tiny" / "data", folder / "data")
    photo = next((folder / "data" / "JPEGImages").iterdir())
    photo.chmod(0)
    splits = ["--train-split=train", "--seed-split=train", "--val-split=val", "--test-split=test"]
    command = [*drop, sys.executable, "-m", "ppl.data.check", "--data", str(folder / "data"), *splits]
    command += ["--out", str(folder / "check.json"), "--workers", "1"]

    check = {"cwd": project, "capture_output": True, "text": True, "check": False, "timeout": LIMIT}
    done = subprocess.run(command, **check)
    assert done.returncode == 1, done.stderr
    line = one_line(done.stderr, re.escape(photo.name))
    photo.chmod(0o644)
    assert subprocess.run(command, **check).returncode == 0
    return f"`{line}`", "passes"


def two_at_once(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """Two Snakemakes make the same files."""
    with started(project, folder, ".snakemake/locks/*") as first:
        line = error_line(project, folder, r"^another Snakemake \(process \d+ on ")
        assert first.wait(LIMIT) == 0
    assert run(project, folder)[0] == 0
    return line, same(whole, folder)


def killed_with_locks(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """A killed Snakemake leaves its locks."""
    first = started(project, folder, "results/tiny/check.json")
    first.kill()
    first.wait()
    assert list(folder.glob(".snakemake/locks/*"))
    status, output = run(project, folder)
    assert status == 0, output[-2000:]
    return f"`{one_line(output, '^removed the locks of Snakemake')}`", same(whole, folder)


def gpu_lock(project: Path, folder: Path, whole: Path) -> tuple[str, str]:
    """The holder of a GPU is killed, and /tmp is cleared."""
    code = (
        "import torch, sys, time, ppl.jobs.devices as d; torch.cuda.device_count = lambda: 2; "
        "print(d.claim_gpus(1), d.claim_gpus(1) if sys.argv[1:] else '', flush=True); time.sleep(600)"
    )
    variables = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}

    def job(*arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments], cwd=project, env=variables | {"TMPDIR": str(folder)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    jobs = [job("two")]
    try:
        assert jobs[0].stdout.readline().strip() == "[0] [1]"
        assert not list(folder.iterdir()), "a lock file could be deleted"
        jobs.append(job())
        line = jobs[1].stderr.readline().strip()
        assert line.startswith("waiting for 1 of 2 GPUs"), line
        jobs[0].kill()
        assert jobs[1].stdout.readline().split() == ["[0]"]
    finally:
        for process in jobs:
            process.kill()
            process.communicate()
    return f"`{line}`", "gets one as soon as the holder is dead"


FAULTS: tuple[Callable[[Path, Path, Path], tuple[str, str]], ...] = (
    full_disk, read_only, unreadable_photo, two_at_once, killed_with_locks, gpu_lock
)  # fmt: skip

if __name__ == "__main__":
    main()
