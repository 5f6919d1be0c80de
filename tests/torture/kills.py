"""Kill the workflow at random moments, run the same command again, and compare with an undisturbed run.

    python tests/torture/kills.py --kills 50

Two copies of the project run tests/tiny.yaml on the CPU, one of them undisturbed. The other is killed, in one of the
ways of `VICTIMS`, and started again until it is done; then it starts anew, until there were that many kills. Prints a
table, and exits with 1 if anything is lost, left behind or different. The order of the kills follows from the seed; the
moments also from how busy the machine is.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
import tyro
from common import LIMIT, compare, copy_project, start

MOST_SECONDS = 30  # from a kill to the end of the last process that had to end
VICTIMS = {
    "SIGKILL to Snakemake": (signal.SIGKILL, "snakemake"),
    "SIGKILL to everything": (signal.SIGKILL, "everything"),
    "SIGKILL to a job": (signal.SIGKILL, "job"),
    "SIGKILL to a worker process": (signal.SIGKILL, "worker"),
    "SIGTERM to Snakemake": (signal.SIGTERM, "snakemake"),
    "SIGTERM to everything": (signal.SIGTERM, "everything"),
    "SIGTERM to a job": (signal.SIGTERM, "job"),
    "Ctrl-C": (signal.SIGINT, "everything"),
}
STEPS = [
    *("data.prepare", "data.check", "classify.train", "cam.export", "measure.sweep", "refine.reliable"),
    *("refine.train_refiner", "refine.walk_split", "segment.train", "segment.predict_split", "segment.voc_server"),
    *("report.count_classes", "report.page"),
]
AHEAD = 4  # a kill aims at one of so many steps from the one that was reached
WITHIN = 10  # seconds from the start of that step, at most; a training needs some to start
SHM = Path("/dev/shm")
SEMAPHORES = ("sem.mp-", "sem.loky-")  # 32 bytes each, left if all processes are killed, or while workers start


@dataclass(frozen=True)
class Settings:
    kills: int = 50
    seed: int = 0
    shortest: float = 3
    """Seconds from the start of a run to a kill without aim, at least."""
    longest: float = 20
    """And at most."""


@dataclass
class Tally:
    """Kills by kind, the steps that ran then, the longest time until the rest had ended, and faults."""

    kills: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    resumed: int = 0
    compared: int = 0
    faults: list[str] = field(default_factory=list)


def main(settings: Settings) -> None:
    # A shell lets what it starts in the background ignore SIGINT, and with it all children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng, tally = random.Random(settings.seed), Tally()
    work = Path(tempfile.mkdtemp(prefix="torture-"))
    whole, disturbed = work / "undisturbed", work / "disturbed"
    for folder in (whole, disturbed):
        copy_project(folder)
    if launch(whole).wait(LIMIT):
        sys.exit(f"error: the undisturbed run failed; see {whole}/run.log")
    shared = set(os.listdir(SHM))
    batches = -(-settings.kills // len(VICTIMS))
    kinds = [kind for _ in range(batches) for kind in rng.sample(list(VICTIMS), len(VICTIMS))][: settings.kills]
    while kinds and not tally.faults:
        torture_round(disturbed, kinds, settings, rng, tally)
        tally.rounds += 1
        tally.faults += left_behind(disturbed, shared)
        differing, tally.compared = compare(whole / "results", disturbed / "results")
        tally.faults += [f"differs from the undisturbed run: {name}" for name in differing]
        if not tally.faults:
            shutil.rmtree(disturbed / "results")
            shutil.rmtree(disturbed / ".snakemake")
    print(table(tally))
    if tally.faults:
        sys.exit(f"error: {len(tally.faults)} faults; the folders are left in {work}\n  " + "\n  ".join(tally.faults))
    shutil.rmtree(work)


def launch(folder: Path) -> subprocess.Popen:
    """Start the workflow in a process group of its own; append its output to run.log."""
    with (folder / "run.log").open("a") as log:
        return start(folder, folder, stdout=log, start_new_session=True)


def torture_round(folder: Path, kinds: list[str], settings: Settings, rng: random.Random, tally: Tally) -> None:
    """Bring one run to its end through as many kills as it takes, each of a kind taken from `kinds`."""
    kept: dict[Path, int] = {}
    stage = 0  # index in STEPS
    while True:
        run, began = launch(folder), time.time()
        # Without aim most kills would hit the longest steps; with it alone, none the moments between steps.
        aim = rng.choice([None, *STEPS[stage : stage + AHEAD]])
        pause = rng.uniform(settings.shortest, settings.longest) if aim is None else rng.uniform(0, WITHIN)
        moment = began + pause if aim is None else None
        killed = False
        while run.poll() is None and not killed:
            time.sleep(0.05)
            if time.time() > began + LIMIT:
                tally.faults.append("a run does not end")
                os.killpg(run.pid, signal.SIGKILL)
            if kinds:
                running = {module(job) for job in processes(run.pid)[0]}
                stage = max([stage, *(STEPS.index(step) for step in running if step in STEPS)])
                if moment is None and aim in running:
                    moment = time.time() + pause
                killed = moment is not None and time.time() > moment and hit(run, kinds[-1], rng, tally)
        if killed:
            kind = kinds.pop()
            print(f"{kind}, {len(kinds)} to go", file=sys.stderr)
            if VICTIMS[kind][1] in ("snakemake", "everything"):
                seconds = until_empty(folder)
                tally.seconds[kind] = max(tally.seconds.get(kind, 0), seconds)
                if seconds > MOST_SECONDS:
                    tally.faults.append(f"{kind}: processes outlive it by {seconds:.0f} s: {commands(folder)}")
                    return
        status = run.wait(LIMIT)
        tally.faults += lost_steps(folder, kept, began, tally)
        if not killed:
            tally.faults += [f"an undisturbed run ended with status {status}; see run.log"] * (status != 0)
            return
        kept = states(folder)
        time.sleep(rng.choice([0, 2]))


def hit(run: subprocess.Popen, kind: str, rng: random.Random, tally: Tally) -> bool:
    """Send the signal; return False if there is no such victim now."""
    number, victim = VICTIMS[kind]
    try:
        jobs, workers = processes(run.pid)
        steps = {module(job) for job in jobs}
        if victim == "everything":
            os.killpg(run.pid, number)
        elif victim == "snakemake":
            os.kill(run.pid, number)
        else:
            process = rng.choice(sorted(jobs if victim == "job" else workers, key=lambda process: process.pid))
            steps = {module(process)}
            process.send_signal(number)
    except (IndexError, psutil.Error, ProcessLookupError):
        return False
    tally.kills[kind] += 1
    tally.steps.update(steps or {"Snakemake alone"})
    return True


def processes(snakemake: int) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Return the jobs that a Snakemake runs now, and their worker processes."""
    jobs, workers, children = [], [], []
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(snakemake).children(recursive=True)
    for process in children:
        with contextlib.suppress(psutil.Error):  # it has just ended
            if process.environ().get("PPL_PARENT") == str(snakemake):
                parent = process.parent()
                inner = parent is not None and "PPL_PARENT" in parent.environ()
                (workers if inner else jobs).append(process)
    return jobs, workers


def module(process: psutil.Process | None) -> str:
    """Return the step that a process belongs to."""
    with contextlib.suppress(psutil.Error):  # it has just ended
        while process is not None:
            if match := re.search(r" -m ppl\.([\w.]+)", " ".join(process.cmdline())):
                return match[1]
            process = process.parent()
    return "?"


def until_empty(folder: Path) -> float:
    """Wait until no process works in the folder; return the seconds."""
    started = time.monotonic()
    while commands(folder) and time.monotonic() - started < 2 * MOST_SECONDS:
        time.sleep(0.05)
    return time.monotonic() - started


def commands(folder: Path) -> list[str]:
    """Return the command lines of the processes that work in the folder."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                lines.append(" ".join(process.cmdline())[:80])
    return lines


def states(folder: Path) -> dict[Path, int]:
    """Return the steps of the saved training states, by the path of the training's log."""
    steps = {}
    for state in folder.glob("results/tiny/**/[!.]*.resume"):
        name = "classify" if state.stem == "classifier" else state.stem
        variant = state.parent.relative_to(folder / "results" / "tiny")
        log = folder / "results" / "tiny" / "logs" / variant / f"{name}.log"
        steps[log] = torch.load(state, weights_only=True)["progress"]["step"]
    return steps


def lost_steps(folder: Path, kept: dict[Path, int], began: float, tally: Tally) -> Iterator[str]:
    """Yield trainings that have run since `began` and have not resumed from the step that was saved for them."""
    for log, step in kept.items():
        text = log.read_text(encoding="utf-8", errors="replace")
        if log.stat().st_mtime < began or not re.search(r"\d+/\d+ steps", text):
            continue
        resumed = re.search(r"from step (\d+)", text)
        if resumed is None or int(resumed[1]) < step:
            yield f"{log.relative_to(folder)}: step {step} was saved, resumed from {resumed[1] if resumed else 'none'}"
        tally.resumed += resumed is not None


def left_behind(folder: Path, shared: set[str]) -> Iterator[str]:
    """Yield what a finished run must not leave: temporary files, states, locks, processes, shared memory."""
    for pattern in ("results/**/.*.tmp*", "results/**/*.resume", ".snakemake/locks/*", ".snakemake/incomplete/*"):
        yield from (f"left behind: {path.relative_to(folder)}" for path in folder.glob(pattern))
    yield from (f"still runs: {line}" for line in commands(folder))
    added = sorted(set(os.listdir(SHM)) - shared)
    yield from (f"left in {SHM}: {name}" for name in added if not name.startswith(SEMAPHORES))


def table(tally: Tally) -> str:
    """Format the figures as Markdown."""
    lines = ["| kill | times | seconds until the last process ended, at most |", "| --- | --- | --- |"]
    for kind, times in ((kind, tally.kills[kind]) for kind in VICTIMS if tally.kills[kind]):
        lines.append(f"| {kind} | {times} | {f'{tally.seconds[kind]:.1f}' if kind in tally.seconds else ''} |")
    hits = ", ".join(f"{step} {times}" for step, times in sorted(tally.steps.items()))
    lines += ["", f"{sum(tally.kills.values())} kills in {tally.rounds} runs; steps running then: {hits}."]
    lines += [f"{tally.resumed} trainings resumed from a saved state; {tally.compared} files the same in each run."]
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
