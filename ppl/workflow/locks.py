"""Remove the lock files of a killed Snakemake, so that the same command continues its run.

Snakemake creates .snakemake/locks/*.lock while it runs, and removes them when it ends, also on SIGTERM and Ctrl-C.
After SIGKILL, lack of memory or a power failure they stay, and Snakemake refuses to run until a user has checked that
no other Snakemake is running and has called `snakemake --unlock`. That check is done here: every Snakemake of this
workflow holds a lock of the kernel (flock) on one file as long as it lives. If that lock is free, no such Snakemake is
running, and the lock files of one that has not ended normally are stale.
"""

import atexit
import fcntl
import os
import socket
import sys
from pathlib import Path
from typing import IO

PRESENT = "ppl.present"  # in .snakemake
_OPEN: list[IO[str]] = []  # closing the file would release the lock


def remove_stale_locks(folder: Path) -> None:
    """Hold the lock on PRESENT in `folder` (.snakemake) until this process ends; remove stale lock files first.

    PRESENT names host and process of the Snakemake that runs; one that ends normally empties it. Lock files are removed
    only if nobody holds the lock and PRESENT names a process of this host: network drives may not show the locks of
    other hosts, and lock files of an unrelated workflow in the same folder are not ours to remove. On a drive without
    flock nothing is removed.
    """
    folder.mkdir(exist_ok=True)
    host = socket.gethostname()
    file = (folder / PRESENT).open("a+")
    _OPEN.append(file)
    file.seek(0)
    last_host, _, last_process = file.read().strip().partition(" ")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(
            f"another Snakemake (process {last_process} on {last_host}) is running in this directory; "
            "its outputs are locked until it finishes",
            file=sys.stderr,
        )
    except OSError:
        return
    else:
        stale = sorted((folder / "locks").glob("*.lock")) if last_host == host else []
        for lock in stale:
            lock.unlink(missing_ok=True)
        if stale:
            print(f"removed the locks of Snakemake process {last_process}, which was killed", file=sys.stderr)
        file.truncate(0)
        file.write(f"{host} {os.getpid()}\n")
        file.flush()
        atexit.register(file.truncate, 0)
    fcntl.flock(file, fcntl.LOCK_SH)
