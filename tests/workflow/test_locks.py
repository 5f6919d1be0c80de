"""What a Snakemake takes over from one that was killed, and what it tells its jobs."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppl.workflow import locks as instance

HOLD = "import sys, pathlib; from ppl.workflow.locks import take_over; take_over(pathlib.Path('.snakemake')); "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    return tmp_path


def _snakemake(folder: Path, code: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD + code], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _lock(folder: Path) -> Path:
    lock = folder / ".snakemake" / "locks" / "0.output.lock"
    lock.write_text("results/a\n")
    return lock


def _killed(folder: Path) -> int:
    process = _snakemake(folder, "print('here', flush=True); import time; time.sleep(60)")
    assert process.stdout.readline() == "here\n"
    process.kill()
    process.communicate()
    return process.pid


def test_locks_of_a_killed_snakemake_go(folder: Path) -> None:
    killed, lock = _killed(folder), _lock(folder)
    _, told = _snakemake(folder).communicate()
    assert told == f"going on behind Snakemake {killed}, which was killed\n"
    assert not lock.exists()


def test_locks_of_a_living_one_stay(folder: Path) -> None:
    lock = _lock(folder)
    with _snakemake(folder, "print('here', flush=True); import time; time.sleep(60)") as living:
        assert living.stdout.readline() == "here\n"
        _, told = _snakemake(folder).communicate()
        assert f"another Snakemake (process {living.pid} on " in told
        living.kill()
    assert lock.exists()


@pytest.mark.parametrize("before", ["elsewhere 7\n", "", None], ids=["other host", "empty", "never"])
def test_locks_whose_owner_is_not_known_to_be_dead_stay(folder: Path, before: str | None) -> None:
    lock = _lock(folder)
    if before is not None:
        (folder / ".snakemake" / instance.PRESENT).write_text(before)
    _, told = _snakemake(folder).communicate()
    assert told == ""
    assert lock.exists()


def test_where_the_drive_has_no_locks_nothing_is_taken_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    killed, lock = _killed(folder), _lock(folder)
    monkeypatch.setattr(instance.fcntl, "flock", refuse)
    instance.take_over(folder / ".snakemake")
    assert capsys.readouterr().err == ""
    assert lock.exists()
    assert str(killed) in (folder / ".snakemake" / instance.PRESENT).read_text()


def test_results_from_the_future_are_of_now(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    results, now = tmp_path / "results", time.time()
    (results / "a" / "maps").mkdir(parents=True)
    late, map_of, stamp, old = (
        results / "a" / "late.pt", results / "a" / "maps" / "1.png", results / "a" / "maps" / instance.STAMP,
        results / "old.pt",
    )  # fmt: skip
    for path in (late, map_of, stamp, old):
        path.touch()
        os.utime(path, (now, now + 9_999))
    os.utime(old, (now, now - 9_999))
    instance.bring_to_present(results, tmp_path / "absent")
    assert late.stat().st_mtime == pytest.approx(now, abs=60)
    assert stamp.stat().st_mtime == late.stat().st_mtime
    assert map_of.stat().st_mtime > now + 9_000  # of a folder Snakemake looks at the stamp only
    assert old.stat().st_mtime < now - 9_000
    assert "2 results came from the future, such as " in capsys.readouterr().err
    instance.bring_to_present(results)
    assert capsys.readouterr().err == ""


def test_sigterm_reaches_jobs_and_what_was_there_before(tmp_path: Path) -> None:
    """A job is known by the variable that its shell was given; others get nothing."""
    job = f"exec {sys.executable} -c 'import time; time.sleep(60)'"
    code = (
        "import os, signal, subprocess, time\n"
        "from ppl.workflow.locks import pass_on_sigterm\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('graceful', flush=True))\n"
        "pass_on_sigterm()\n"
        f"ours = subprocess.Popen(['bash', '-c', 'export PPL_PARENT=$PPID; ' + {job!r}])\n"
        f"other = subprocess.Popen(['bash', '-c', {job!r}])\n"
        "time.sleep(2)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(ours.wait(20), other.poll(), flush=True)\n"
        "other.kill()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["graceful", f"{-signal.SIGTERM} None"]
