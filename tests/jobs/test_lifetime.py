"""Entry points as processes: signals, parents, and the files they leave."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
STEP = '''
"""A step that writes half of its output, then sleeps, in this process or in workers."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from ppl.jobs.command import command
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all

@dataclass(frozen=True)
class Settings:
    out: Path
    workers: int = 0
    end: bool = False

def work(seconds):
    os.write(1, b"working\\n")  # in one piece: workers share the pipe
    time.sleep(seconds)

def main(settings):
    with atomic(settings.out) as temporary:
        temporary.write_text("half")
        print("computing", flush=True)
        seconds = [0.01 if settings.end else 600] * 4
        list(run_all(work, seconds, workers=settings.workers, total=4, name="test"))

if __name__ == "__main__":
    command(main, Settings)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "step.py").write_text(STEP)
    return tmp_path


def start(folder: Path, *arguments: str, shell: str = "", **environment: str) -> subprocess.Popen:
    """Start the step, by a shell where `shell` is what that does first, and wait until it computes."""
    line = [sys.executable, "-m", "step", "--out", "out.txt", *arguments]
    if shell:
        line = ["bash", "-c", f"{shell} {' '.join(line)}; true"]
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    process = subprocess.Popen(
        line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip
    assert process.stdout.readline() == "computing\n"
    return process


def group(process: subprocess.Popen) -> Iterator[int]:
    """Living processes of the group that a process leads."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == process.pid and fields[0] != "Z":
            yield int(stat.parent.name)


def assert_nothing_is_left(folder: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 20
    while list(group(process)):
        assert time.monotonic() < end, "a process is left"
        time.sleep(0.05)
    assert {path.name for path in folder.iterdir()} <= {"step.py", "__pycache__"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("working", [False, True], ids=["starting", "working"])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_signal_leaves_no_half_written_file_and_no_process(folder, number, workers, working, send) -> None:
    process = start(folder, "--workers", workers)
    for _ in range(max(1, int(workers)) if working else 0):
        assert process.stdout.readline() == "working\n"
    send(process.pid, number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Traceback" not in stderr or not working  # a worker that Ctrl-C meets while Python starts prints one
    assert_nothing_is_left(folder, process)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_job_ends_with_its_snakemake(folder: Path, workers: str) -> None:
    """Snakemake starts a shell, the shell the job; SIGKILL to the first tells the job nothing."""
    process = start(folder, "--workers", workers, shell="export PPL_PARENT=$$;")
    assert len(list(group(process))) > 1
    process.kill()
    process.wait()
    assert_nothing_is_left(folder, process)


def test_a_job_of_a_dead_snakemake_does_not_start(folder: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    done = subprocess.run(
        [sys.executable, "-m", "step", "--out", "out.txt"], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PPL_PARENT": str(dead.pid)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == f"the Snakemake of this job, process {dead.pid}, has ended\n"
    assert not (folder / "out.txt").exists()


def test_a_snakemake_outside_of_the_container_is_not_watched(folder: Path) -> None:
    _, stderr = start(folder, "--end", PPL_PARENT="0").communicate(timeout=60)
    assert "Traceback" not in stderr
    assert (folder / "out.txt").exists()


def test_the_next_run_removes_the_temporary_files_of_killed_ones_only(folder: Path) -> None:
    killed, living = start(folder), start(folder)
    killed.kill()
    killed.communicate()
    start(folder, "--end").communicate(timeout=60)
    assert (folder / "out.txt").read_text() == "half"
    (left,) = folder.glob(".out.*.tmp*")
    assert f".{living.pid}." in left.name
    living.kill()
    living.communicate()


def test_snakemake_forwards_sigterm_to_its_jobs_only() -> None:
    job = f"exec {sys.executable} -c 'import time; time.sleep(60)'"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "from ppl.jobs.lifetime import forward_sigterm_to_jobs\n"
        "assert 'torch' not in sys.modules\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('graceful', flush=True))\n"
        "forward_sigterm_to_jobs()\n"
        f"job = subprocess.Popen(['bash', '-c', 'export PPL_PARENT=$PPID; ' + {job!r}])\n"
        f"other = subprocess.Popen(['bash', '-c', {job!r}])\n"
        "time.sleep(2)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(job.wait(20), other.poll(), flush=True)\n"
        "other.kill()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["graceful", f"{-signal.SIGTERM} None"]


@pytest.mark.parametrize(("code", "status", "printed"), [
    ("os.kill(os.getpid(), signal.SIGTERM); print(stop.received)", 0, "True"),
    ("os.kill(os.getpid(), signal.SIGINT); print(stop.received)", 0, "True"),
    ("stop.exit_at_once(True); os.kill(os.getpid(), signal.SIGINT); print('on')", 130, ""),
    ("os.kill(os.getpid(), signal.SIGTERM); stop.exit_at_once(True); print('on')", 143, ""),
    ("stop.exit_at_once(True); stop.exit_at_once(False); os.kill(os.getpid(), signal.SIGTERM); print(1)", 0, "1"),
])  # fmt: skip
def test_a_training_reads_a_stop_request_or_ends_at_once(code: str, status: int, printed: str) -> None:
    code = f"import os, signal; from ppl.jobs.lifetime import StopRequest; stop = StopRequest(); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (status, printed), done.stderr
