"""Errors of entry points: one line for what a user can mend, a traceback for the rest."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppl.jobs import command
from ppl.jobs.command import REMEDIES, SHARED_MEMORY_FULL, explain
from ppl.jobs.errors import UserError


def system(number: int, path: str | bytes | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a.txt", "wrong", "mend it"), "a.txt: wrong; mend it"),
        (UserError("a", "b", "c", ["one", "two"]), "a: b; c\n  one\n  two"),
        (system(errno.ENOSPC, "a"), f"a: No space left on device; {REMEDIES[errno.ENOSPC]}"),
        (system(errno.ENOSPC), f"No space left on device; {REMEDIES[errno.ENOSPC]}"),
        (system(errno.EACCES, "b"), f"b: Permission denied; {REMEDIES[errno.EACCES]}"),
        (system(errno.ENOENT, b"c"), f"c: No such file or directory; {REMEDIES[errno.ENOENT]}"),
        (system(errno.EISDIR, "d"), "d: Is a directory"),
        (MemoryError(), "memory: out of memory; lower hardware.workers or a batch_size"),
        *((error, None) for error in (RuntimeError("a"), OSError("no number"), system(errno.EPIPE), KeyError("a"))),
    ],
)
def test_an_error_of_a_user_is_one_line_and_a_programming_error_keeps_its_traceback(
    error: BaseException, line: str | None
) -> None:
    assert explain(error) == line


@pytest.mark.parametrize("text", [
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of",
    "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to allocate shared memory(shm) for file "
    "</torch_7_1_0>: No space left on device (28)",
])  # fmt: skip
def test_a_small_shared_memory_is_named_with_its_remedy(text: str) -> None:
    assert explain(RuntimeError(text)) == SHARED_MEMORY_FULL


def test_a_full_disk_without_a_name_is_shared_memory_only_if_that_is_full(monkeypatch) -> None:
    for free, line in [(0, SHARED_MEMORY_FULL), (1 << 30, f"No space left on device; {REMEDIES[errno.ENOSPC]}")]:
        monkeypatch.setattr(command, "SHARED_MEMORY", Path("/"))
        monkeypatch.setattr(command.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        assert explain(system(errno.ENOSPC)) == line


def test_hdf5_takes_no_locks_which_some_drives_lack() -> None:
    code = "import os, ppl; print(os.environ['HDF5_USE_FILE_LOCKING'])"
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout == "FALSE\n"


class Photos:
    """A dataset whose photo 0 fails and whose photo 1 kills its worker."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index:
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("a.jpg", "not a readable photo: 3", "replace it", ["detail: 1", "detail 2"]) from ValueError()


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (0, "a.jpg: not a readable photo: 3; replace it\n  detail: 1\n  detail 2"),
        (1, "data loader: a worker process was killed, often for lack of memory; lower hardware.workers"),
    ],
)
def test_an_error_in_a_worker_of_a_data_loader_is_the_same_line(index: int, line: str) -> None:
    from torch.utils.data import DataLoader  # here: tests that do without torch start in a tenth of the time

    with pytest.raises(RuntimeError) as error:
        list(DataLoader(Photos(), batch_sampler=[[index]], num_workers=1))
    assert explain(error.value) == line


STEP = """
from dataclasses import dataclass
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
@dataclass
class Settings:
    a: int = 0
def main(settings):
    try:
        1 / settings.a
    except ZeroDivisionError as error:
        raise UserError('a', 'wrong', 'mend it') from error
if __name__ == '__main__':
    command(main, Settings)
"""


@pytest.mark.parametrize("traceback", ["0", "1"])
def test_an_entry_point_prints_one_line_or_if_asked_a_traceback_with_causes(tmp_path: Path, traceback: str) -> None:
    (tmp_path / "step.py").write_text(STEP)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-m", "step"], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": path, "PPL_TRACEBACK": traceback},
    )  # fmt: skip
    assert done.returncode == 1
    if traceback == "1":
        assert "ZeroDivisionError: division by zero" in done.stderr
        assert done.stderr.endswith("ppl.jobs.errors.UserError: a: wrong; mend it\n")
    else:
        assert done.stderr == "error: a: wrong; mend it\n"
