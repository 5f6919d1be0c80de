"""Entry points as processes: what ends them, what they leave, what they say."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppl.jobs import command
from ppl.jobs.command import explain
from ppl.jobs.errors import UserError

STEP = '''
"""A step that writes half of its output and then computes on, by itself or in workers."""

import time
from dataclasses import dataclass
from pathlib import Path

from ppl.command import command
from ppl.files import atomic
from ppl.parallel import run_all


@dataclass(frozen=True)
class Settings:
    out: Path
    workers: int = 0
    end: bool = False


def main(settings):
    with atomic(settings.out) as temporary:
        temporary.write_text("half")
        print("computing", flush=True)
        sleeps = [0.01 if settings.end else 600] * 4
        for _ in run_all(time.sleep, sleeps, workers=settings.workers, total=4, name="test"):
            pass


if __name__ == "__main__":
    command(main, Settings)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "step.py").write_text(STEP)
    return tmp_path


def _started(folder: Path, *arguments: str, by: str = "", **environment: str) -> subprocess.Popen:
    """The step at work; `by` is a shell's line that ends with it."""
    line = [sys.executable, "-m", "step", "--out", "out.txt", *arguments]
    if by:
        line = ["bash", "-c", f"{by} {' '.join(line)}; true"]
    path = os.pathsep.join([str(folder), str(Path(command.__file__).parents[1])])
    process = subprocess.Popen(
        line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip
    assert process.stdout.readline() == "computing\n"
    return process


def _group(process: subprocess.Popen) -> Iterator[int]:
    """Processes of the group that a process leads, the dead ones that nobody has asked for left out."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(text[2]) == process.pid and text[0] != "Z":
            yield int(stat.parent.name)


def _until_alone(process: subprocess.Popen) -> None:
    end = time.monotonic() + 20
    while list(_group(process)):
        assert time.monotonic() < end, "a process lives on"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
def test_a_signal_leaves_nothing_half_written(folder: Path, number: int, workers: str, group: bool) -> None:
    process = _started(folder, "--workers", workers)
    (os.killpg if group else os.kill)(process.pid, number)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Traceback" not in told
    assert {path.name for path in folder.iterdir()} <= {"step.py", "__pycache__"}
    _until_alone(process)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_step_ends_with_its_snakemake(folder: Path, workers: str) -> None:
    """Snakemake starts a shell, that the step: neither tells it anything when it is killed."""
    process = _started(folder, "--workers", workers, by="export PPL_PARENT=$$;")
    assert len(list(_group(process))) > 1
    process.kill()
    process.wait()
    _until_alone(process)
    assert {path.name for path in folder.iterdir()} <= {"step.py", "__pycache__"}


def test_a_step_of_a_dead_snakemake_does_not_start(folder: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    done = subprocess.run(
        [sys.executable, "-m", "step", "--out", "out.txt"], cwd=folder, capture_output=True, check=False,
        env=os.environ | {"PPL_PARENT": str(dead.pid)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == f"the Snakemake of this step, process {dead.pid}, is gone\n".encode()
    assert not (folder / "out.txt").exists()


def test_a_snakemake_outside_of_the_container_is_not_waited_for(folder: Path) -> None:
    _, told = _started(folder, "--end", PPL_PARENT="0").communicate(timeout=60)
    assert "Traceback" not in told
    assert (folder / "out.txt").exists()


def test_what_a_killed_step_has_left_goes_when_it_is_run_again(folder: Path) -> None:
    process = _started(folder)
    process.kill()
    process.wait()
    assert [path.suffixes for path in folder.glob(".out.*")] == [[".tmp", ".txt"]] or list(
        folder.glob(".out.*.tmp.txt")
    )
    _started(folder, "--end").communicate(timeout=60)
    assert (folder / "out.txt").read_text() == "half"
    assert not list(folder.glob(".out.*.tmp*"))


def test_what_a_living_step_writes_is_not_touched(folder: Path) -> None:
    first = _started(folder)
    (written,) = folder.glob(".out.*.tmp.txt")
    _started(folder, "--end").communicate(timeout=60)
    assert written.exists()
    first.kill()
    first.communicate()


def _full(path: str | None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("a.txt: is wrong; mend it"), "a.txt: is wrong; mend it"),
        (UserError("Caught UserError in DataLoader worker\nTraceback\nppl.files.UserError: a: b; c"), "a: b; c"),
        (_full("a.txt"), "a.txt: No space left on device; free some space and run again, what is finished is kept"),
        (_full(None), "No space left on device; free some space and run again, what is finished is kept"),
        (PermissionError(errno.EACCES, "Permission denied", "b"), "b: Permission denied; ask its owner"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", b"c"), "c: No such file or directory; name a"),
        (MemoryError(), "out of memory; lower"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "a worker process was killed"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error: BaseException, told: str) -> None:
    line = explain(error)
    assert line.startswith(told)
    assert "\n" not in line


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError("no number"), KeyError("a")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None
