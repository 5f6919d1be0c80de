"""Lock files of a Snakemake that was killed, and of one that was not."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppl.workflow import locks

START = "import sys, pathlib; from ppl.workflow.locks import remove_stale_locks as r; r(pathlib.Path('.snakemake')); "
WORK = "print('running', flush=True); import time; time.sleep(60)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    return tmp_path


def start(folder: Path, code: str = "") -> subprocess.Popen:
    """Start what stands for a Snakemake; wait until it works, if it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", START + code], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert not code or process.stdout.readline() == "running\n"
    return process


def killed(folder: Path) -> int:
    process = start(folder, WORK)
    process.kill()
    process.communicate()
    return process.pid


@pytest.fixture
def lock(folder: Path) -> Path:
    path = folder / ".snakemake" / "locks" / "0.output.lock"
    path.write_text("results/a\n")
    return path


def test_locks_of_a_killed_snakemake_are_removed(folder: Path, lock: Path) -> None:
    process = killed(folder)
    assert start(folder).communicate()[1] == f"removed the locks of Snakemake process {process}, which was killed\n"
    assert not lock.exists()


def test_locks_of_a_running_snakemake_stay(folder: Path, lock: Path) -> None:
    with start(folder, WORK) as running:
        assert f"another Snakemake (process {running.pid} on " in start(folder).communicate()[1]
        running.kill()
    assert lock.exists()


@pytest.mark.parametrize(
    "last", ["elsewhere 7\n", "", None, "normal"], ids=["other host", "empty", "never", "normal end"]
)
def test_locks_of_an_unknown_owner_stay(folder: Path, lock: Path, last: str | None) -> None:
    """After a normal end they may be those of another workflow that runs in the same folder."""
    if last == "normal end":
        lock.rename(folder / "aside")
        start(folder).communicate()
        (folder / "aside").rename(lock)
    elif last is not None:
        (folder / ".snakemake" / locks.PRESENT).write_text(last)
    assert start(folder).communicate() == ("", "")
    assert lock.exists()


def test_locks_stay_on_a_drive_without_flock(folder: Path, lock: Path, monkeypatch, capsys) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    process = killed(folder)
    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    locks.remove_stale_locks(folder / ".snakemake")
    assert capsys.readouterr().err == ""
    assert lock.exists()
    assert str(process) in (folder / ".snakemake" / locks.PRESENT).read_text()
