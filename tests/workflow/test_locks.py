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


def lock(folder: Path) -> Path:
    path = folder / ".snakemake" / "locks" / "0.output.lock"
    path.write_text("results/a\n")
    return path


def test_locks_of_a_killed_snakemake_are_removed(folder: Path) -> None:
    process, path = killed(folder), lock(folder)
    _, stderr = start(folder).communicate()
    assert stderr == f"removed the locks of Snakemake process {process}, which was killed\n"
    assert not path.exists()


def test_locks_of_a_running_snakemake_stay(folder: Path) -> None:
    path = lock(folder)
    with start(folder, WORK) as running:
        _, stderr = start(folder).communicate()
        assert f"another Snakemake (process {running.pid} on " in stderr
        running.kill()
    assert path.exists()


@pytest.mark.parametrize("last", ["elsewhere 7\n", "", None], ids=["other host", "empty", "never"])
def test_locks_of_an_unknown_owner_stay(folder: Path, last: str | None) -> None:
    path = lock(folder)
    if last is not None:
        (folder / ".snakemake" / locks.PRESENT).write_text(last)
    _, stderr = start(folder).communicate()
    assert stderr == ""
    assert path.exists()


def test_locks_stay_if_the_last_snakemake_ended_normally(folder: Path) -> None:
    """They may be those of another workflow that runs in the same folder."""
    start(folder).communicate()
    path = lock(folder)
    assert start(folder).communicate() == ("", "")
    assert path.exists()


def test_locks_stay_on_a_drive_without_flock(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    process, path = killed(folder), lock(folder)
    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    locks.remove_stale_locks(folder / ".snakemake")
    assert capsys.readouterr().err == ""
    assert path.exists()
    assert str(process) in (folder / ".snakemake" / locks.PRESENT).read_text()
