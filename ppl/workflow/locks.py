"""What a Snakemake owes those that run beside it and after it: the locks of a killed one, and its own jobs' end."""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from ppl.jobs.command import PARENT

PRESENT = "ppl.present"  # in .snakemake; every Snakemake of this workflow holds a shared lock on it while it lives
STAMP = ".snakemake_timestamp"  # of a folder
FUTURE = 60  # seconds ahead that the clocks of a cluster may differ
_HELD: list[IO[str]] = []


def take_over(folder: Path) -> None:
    """Takes away the locks of a Snakemake that was killed, so that the same command goes on where it ended.

    `folder` is Snakemake's own, .snakemake. Only where no Snakemake of this workflow is alive in it, which the kernel
    knows, and the last one ran on this host: a network drive may not tell of locks that other hosts hold. Says so in a
    line where another one is alive, as Snakemake refuses files that it makes too. On a drive without such locks (Lustre
    without `flock`) nothing is taken away.
    """
    folder.mkdir(exist_ok=True)
    here = socket.gethostname()
    file = (folder / PRESENT).open("a+")
    _HELD.append(file)  # closing it would give the lock back
    file.seek(0)
    host, _, process = file.read().strip().partition(" ")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        where = f"process {process} on {host}"
        print(f"another Snakemake ({where}) works here; what it makes is its own until it ends", file=sys.stderr)
    except OSError:
        return
    else:
        locks = sorted((folder / "locks").glob("*.lock")) if host == here else []
        for lock in locks:
            lock.unlink(missing_ok=True)
        if locks:
            print(f"going on behind Snakemake {process}, which was killed", file=sys.stderr)
        file.truncate(0)
        file.write(f"{here} {os.getpid()}\n")
        file.flush()
    fcntl.flock(file, fcntl.LOCK_SH)


def bring_to_present(*folders: Path) -> None:
    """Gives results that seem to come from the future, as the clock was wrong once, the present time, and says so.

    Snakemake refuses outputs that are older than what they are made of, and would until that future has come. All of
    them get the same time, so that none is newer than what was made of it.
    """
    now = time.time()
    late = []
    for file in (file for folder in folders for file in _dated(folder)):
        with suppress(FileNotFoundError):  # another Snakemake works here
            if file.lstat().st_mtime > now + FUTURE:
                os.utime(file, (now, now), follow_symlinks=False)
                late.append(file)
    if late:
        print(f"{len(late)} results came from the future, such as {late[0]}: they are of now", file=sys.stderr)


def _dated(folder: Path) -> Iterator[Path]:
    """The files whose times Snakemake looks at: one for a folder that is an output."""
    stamp = folder / STAMP
    if stamp.exists():
        yield stamp
    elif folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            yield from [path] if path.is_file() else _dated(path)


def pass_on_sigterm() -> None:
    """Has SIGTERM reach the jobs too, which save their state and end; Snakemake itself only waits for them.

    Beside that, Snakemake does what it has always done. Called once its own handler is in place.
    """
    before = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: object) -> None:
        threading.Thread(target=_stop_jobs, daemon=True).start()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, handle)


def _stop_jobs() -> None:
    """Sends SIGTERM to each process of each job once, also to those that just start, until this process ends."""
    told: set[int] = set()
    while True:
        for process in psutil.Process().children(recursive=True):
            try:
                if process.pid not in told and process.environ().get(PARENT) == str(os.getpid()):
                    process.terminate()
                    told.add(process.pid)
            except psutil.Error:  # it has just ended
                continue
        threading.Event().wait(0.5)
