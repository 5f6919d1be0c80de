"""Signals, parents and the end of processes: which process reacts to which event.

    process          SIGTERM                    SIGINT (Ctrl-C)            death of the parent (SIGKILL, out of memory)
    ---------------  -------------------------  -------------------------  --------------------------------------------
    Snakemake        starts no further job;     as SIGTERM; the terminal   -
      |              forward_sigterm_to_jobs    sends it to the whole
      |              sends it to the jobs       process group
      |  PPL_PARENT
      v
    shell            default: ends              default: ends              -
      |
      v
    job              exit_on_signals: exits through `finally` and `with`,  end_with_snakemake: as SIGTERM where
      |              so that no half-written file is left                  Snakemake (PPL_PARENT) or the shell dies
      |              StopRequest: a training saves its state first
      v
    workers of       ignore_group_signals: only the job's own SIGTERM      ignore_group_signals: end at once
    run_all, of      ends them; signals to the group are ignored
    data loaders

The shell prefix (workflow/rules/common.smk) sets PPL_PARENT to Snakemake's process id. It marks the jobs of one
Snakemake among all processes, and names the process whose death ends a job. If it is not set, a user has started the
step by hand, and no parent is watched.

Snakemake's own process imports this module, so it must not import torch.
"""

import multiprocessing
import os
import select
import signal
import sys
import threading
import time

import psutil

PARENT = "PPL_PARENT"
"""Environment variable: process id of the Snakemake that has started a job."""
PATIENCE = 25  # seconds that a job has to save its state after the death of Snakemake
FORWARD_INTERVAL = 0.5  # seconds between searches for jobs that have started since
SIGNALS = (signal.SIGTERM, signal.SIGINT)


# Snakemake


def forward_sigterm_to_jobs() -> None:
    """Send SIGTERM on to the jobs, in addition to what the present handler does: Snakemake alone only waits for them.

    Call it after Snakemake has installed its own handler.
    """
    previous = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: object) -> None:
        threading.Thread(target=_terminate_jobs, daemon=True).start()
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, handle)


def _terminate_jobs() -> None:
    """Send SIGTERM to each process of each job once, also to jobs that are just starting, until this process ends."""
    signalled: set[int] = set()
    while True:
        for process in psutil.Process().children(recursive=True):
            try:
                if process.pid not in signalled and process.environ().get(PARENT) == str(os.getpid()):
                    process.terminate()
                    signalled.add(process.pid)
            except psutil.Error:  # the process has just ended
                continue
        time.sleep(FORWARD_INTERVAL)


# A job


def exit_on_signals() -> list[int]:
    """Turn SIGTERM and SIGINT into SystemExit with status 128 + signal; return a list that receives their numbers."""
    received: list[int] = []

    def handle(number: int, _: object) -> None:
        received.append(number)
        sys.exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, handle)
    return received


class StopRequest:
    """Record SIGTERM (sent by clusters before a node is taken away) and SIGINT, so that a training can save its state.

    The loop reads `received` after each step. Within `exit_at_once(True)` ... `exit_at_once(False)` there is nothing
    to save, and a signal ends the process.
    """

    def __init__(self) -> None:
        self.received = False
        self._at_once = False
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def exit_at_once(self, at_once: bool) -> None:
        """Set whether a signal ends the process, one that has been received already included."""
        self._at_once = at_once
        if self.received and at_once:
            sys.exit(128 + signal.SIGTERM)

    def _handle(self, number: int, _: object) -> None:
        self.received = True
        if self._at_once:
            sys.exit(128 + number)


def end_with_snakemake() -> None:
    """Send SIGTERM to this process when its Snakemake, or the shell between the two, dies; exit if it is dead already.

    Does nothing without PPL_PARENT, or if the system has no pidfd (Linux has).
    """
    snakemake = os.environ.get(PARENT, "")
    if not snakemake.isdecimal() or not hasattr(os, "pidfd_open"):
        return
    watched = {int(snakemake), os.getppid()} - {0}  # 0: a process outside of this container
    try:
        ends = [os.pidfd_open(process) for process in watched]
    except ProcessLookupError:
        print(f"the Snakemake of this job, process {snakemake}, has ended", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    threading.Thread(target=_terminate_after, args=(ends,), daemon=True).start()


def _terminate_after(ends: list[int]) -> None:
    """Wait until one of some processes (pidfds) has ended, then end this one; it has PATIENCE seconds to save."""
    select.select(ends, [], [])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(128 + signal.SIGTERM)


# A worker process of a job


def ignore_group_signals(_: int = 0) -> None:
    """Initialise a worker process: signals sent to the process group are ignored, as only the parent may react to them.

    The worker ends on SIGTERM from its parent and on the parent's death, also while it waits for a lock that a killed
    worker holds. Takes and ignores the number that data loaders pass to `worker_init_fn`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()  # not getppid: the parent may have died already
    threading.Thread(target=_exit_with_parent, args=(parent.pid,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        if not hasattr(signal, "sigtimedwait"):  # not Linux: SIGTERM keeps its default action
            time.sleep(1)
        elif (arrived := signal.sigtimedwait({signal.SIGTERM}, 1)) is not None and arrived.si_pid == parent:
            break
    os._exit(1)
