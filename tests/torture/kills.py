"""Kills the workflow at random moments, goes on by the same command, and compares with an undisturbed run.

    python tests/torture/kills.py --kills 50

Two copies of the project run tests/tiny.yaml on the CPU, one of them undisturbed. The other is killed, in one of the
ways of `VICTIMS`, and started again until it is done; then it starts anew, until there were that many kills. Prints a
table, and exits with 1 where anything is lost, left behind or different. The order of the kills follows from the seed;
the moments also from how busy the machine is.
"""

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
import tyro

REPOSITORY = Path(__file__).parents[2]
PARTS = ("config", "envs", "ppl", "tests", "workflow")
TARGETS = ("results/tiny_test_preds", "results/tiny/report.html")
MOST_SECONDS = 30  # from a kill to the end of the last process that had to end
STUCK = 900  # seconds that a run may take
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
STEPS = (
    *("ppl.data.sources.demo", "ppl.data.check", "ppl.classify.train", "ppl.cam.export", "ppl.measure.sweep"),
    *(
        "ppl.refine.reliable",
        "ppl.refine.train_irnet",
        "ppl.refine.walk_irnet",
        "ppl.segment.train",
        "ppl.segment.predict_split",
    ),
    *("ppl.segment.voc_server", "ppl.report.page"),
)
AHEAD = 4  # of the steps from the one that was reached, among which a kill takes its aim
WITHIN = 10  # seconds into a step at most: a training needs some to start
ENDS_ALL = ("snakemake", "everything")
SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Settings:
    kills: int = 50
    seed: int = 0
    cores: int = 2
    shortest: float = 3
    """Seconds from the start of a run to its kill, at least."""
    longest: float = 20
    """And at most."""


@dataclass
class Tally:
    """What the kills have hit, how long the rest took to end, and what is wrong."""

    kills: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    resumed: int = 0
    compared: int = 0
    faults: list[str] = field(default_factory=list)


def main(settings: Settings) -> None:
    # Who starts this in the background of a shell has it ignore SIGINT, and with it all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chance, tally = random.Random(settings.seed), Tally()
    work = Path(tempfile.mkdtemp(prefix="torture-"))
    for side in ("undisturbed", "disturbed"):
        for part in PARTS:
            shutil.copytree(
                REPOSITORY / part, work / side / part, ignore=shutil.ignore_patterns("__pycache__", "results")
            )
    started = time.monotonic()
    whole = start(work / "undisturbed", settings.cores)
    if whole.wait(STUCK):
        sys.exit(f"error: the undisturbed run failed; see {work}/undisturbed/run.log")
    print(f"undisturbed run: {time.monotonic() - started:.0f} s", file=sys.stderr)
    shared = set(os.listdir(SHM))
    kinds: list[str] = []
    while len(kinds) < settings.kills:
        kinds += chance.sample(list(VICTIMS), len(VICTIMS))
    del kinds[settings.kills :]
    while kinds and not tally.faults:
        torture_round(work / "disturbed", kinds, settings, chance, tally)
        tally.rounds += 1
        tally.faults += left_behind(work / "disturbed", shared)
        differing, tally.compared = compare(work / "undisturbed" / "results", work / "disturbed" / "results")
        tally.faults += [f"differs from the undisturbed run: {name}" for name in differing]
        if not tally.faults:
            for made in ("results", ".snakemake"):
                shutil.rmtree(work / "disturbed" / made)
    print(table(tally))
    if tally.faults:
        sys.exit(f"error: {len(tally.faults)} faults; the folders are left in {work}\n  " + "\n  ".join(tally.faults))
    shutil.rmtree(work)


def start(folder: Path, cores: int) -> subprocess.Popen:
    """The command of a user, in a group of its own; what it prints goes on in run.log."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", "tests/tiny.yaml"]
    with (folder / "run.log").open("a") as log:
        return subprocess.Popen(
            [*command, "--", *TARGETS],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment() -> dict[str, str]:
    """One in which jobs find this Python and its packages."""
    return os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def torture_round(folder: Path, kinds: list[str], settings: Settings, chance: random.Random, tally: Tally) -> None:
    """One run to its end through as many kills as it takes, each of a kind taken from `kinds`."""
    kept: dict[str, int] = {}
    stage = 0  # of `STEPS`, that has been reached
    while True:
        run, began = start(folder, settings.cores), time.monotonic()
        # Without aim most kills would hit what takes longest; with it alone, none the moments between steps.
        aim = chance.choice([None, *STEPS[stage : stage + AHEAD]])
        pause = chance.uniform(settings.shortest, settings.longest) if aim is None else chance.uniform(0, WITHIN)
        moment = began + pause if aim is None else None
        name, disturbed = kinds[-1] if kinds else None, False
        while run.poll() is None and not disturbed:
            time.sleep(0.05)
            running = set() if name is None else {module(job) for job in processes(run.pid)[0]}
            stage = max([stage, *(STEPS.index(step) for step in running if step in STEPS)])
            if moment is None and aim in running:
                moment = time.monotonic() + pause
            if name is not None and moment is not None and time.monotonic() > moment:
                disturbed = hit(run, name, chance, tally)
            if time.monotonic() > began + STUCK:
                tally.faults.append("a run does not end")
                os.killpg(run.pid, signal.SIGKILL)
        if not disturbed:
            if run.wait():
                tally.faults.append(f"a run that nobody disturbed ended with status {run.returncode}; see run.log")
            tally.faults += trained_again(folder, kept, tally)
            return
        kinds.pop()
        print(f"{name}, {len(kinds)} to go", file=sys.stderr)
        if VICTIMS[name][1] in ENDS_ALL:
            seconds = until_empty(folder)
            tally.seconds[name] = max(tally.seconds.get(name, 0), seconds)
            if seconds > MOST_SECONDS:
                tally.faults.append(f"{name}: processes outlive it by {seconds:.0f} s: {names(folder)}")
                return
        run.wait(STUCK)
        tally.faults += trained_again(folder, kept, tally)
        kept = states(folder)
        time.sleep(chance.choice([0, 2]))


def hit(run: subprocess.Popen, name: str, chance: random.Random, tally: Tally) -> bool:
    """Sends the signal, where there is such a victim now."""
    number, victim = VICTIMS[name]
    try:
        jobs, workers = processes(run.pid)
        steps = {module(job) for job in jobs}
        if victim in ENDS_ALL:
            if victim == "everything":
                os.killpg(run.pid, number)
            else:
                os.kill(run.pid, number)
        else:
            chosen = chance.choice(sorted(jobs if victim == "job" else workers, key=lambda process: process.pid))
            steps = {module(chosen)}
            chosen.send_signal(number)
    except (IndexError, psutil.Error, ProcessLookupError):
        return False
    tally.kills[name] += 1
    tally.steps.update(steps or {"Snakemake alone"})
    return True


def processes(snakemake: int) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The steps that a Snakemake runs now, and their worker processes."""
    jobs, workers = [], []
    try:
        children = psutil.Process(snakemake).children(recursive=True)
    except psutil.Error:
        return jobs, workers
    for process in children:
        try:
            if process.environ().get("PPL_PARENT") == str(snakemake):
                parent = process.parent()
                inner = parent is not None and "PPL_PARENT" in parent.environ()
                (workers if inner else jobs).append(process)
        except psutil.Error:
            continue
    return jobs, workers


def module(process: psutil.Process | None) -> str:
    """The step that a process belongs to."""
    try:
        while process is not None:
            line = process.cmdline()
            if "-m" in line and line[line.index("-m") + 1].startswith("ppl."):
                return line[line.index("-m") + 1]
            process = process.parent()
    except psutil.Error:
        pass  # it has just ended
    return "?"


def until_empty(folder: Path) -> float:
    """Seconds until no process works in the folder."""
    started = time.monotonic()
    while names(folder) and time.monotonic() - started < 2 * MOST_SECONDS:
        time.sleep(0.05)
    return time.monotonic() - started


def names(folder: Path) -> list[str]:
    """Command lines of the processes that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                found.append(" ".join(process.cmdline())[:80])
        except psutil.Error:
            continue
    return found


def states(folder: Path) -> dict[str, int]:
    """Steps of the trainings' states, by the path of their logs, each at least that of the last row of its table."""
    found = {}
    for state in folder.glob("results/**/[!.]*.resume"):
        step = torch.load(state, weights_only=True)["progress"]["step"]
        name = "classify" if state.stem == "classifier" else state.stem
        log = Path(
            "results", "tiny", "logs", *state.parent.relative_to(folder / "results" / "tiny").parts, f"{name}.log"
        )
        found[str(log)] = step
    return found


def trained_again(folder: Path, kept: dict[str, int], tally: Tally) -> Iterator[str]:
    """Trainings that have not gone on from the step that was kept for them."""
    for log, step in kept.items():
        text = (folder / log).read_text(encoding="utf-8", errors="replace")
        first = re.search(r"going on from step (\d+)", text)
        began = re.search(r"\d+/\d+ \[", text)  # of the progress bar
        if began and (first is None or int(first[1]) < step):
            yield f"{log}: {step} steps were kept, it went on from {first[1] if first else 'none'}"
        tally.resumed += first is not None


def left_behind(folder: Path, shared: set[str]) -> Iterator[str]:
    """What a finished run must not leave: temporary files, states, locks, processes, shared memory."""
    for pattern in ("results/**/.*.tmp*", "results/**/*.resume", ".snakemake/locks/*", ".snakemake/incomplete/*"):
        yield from (f"left behind: {path.relative_to(folder)}" for path in folder.glob(pattern))
    yield from (f"still runs: {name}" for name in names(folder))
    # Semaphores of multiprocessing (32 bytes) outlive a SIGKILL to all processes, their keeper among them.
    added = sorted(set(os.listdir(SHM)) - shared)
    yield from (f"left in {SHM}: {name}" for name in added if not name.startswith("sem.mp-"))


def compare(reference: Path, found: Path) -> tuple[list[str], int]:
    """Files that differ, and how many were compared: all but logs and what holds times only."""
    wanted, given = files(reference), files(found)
    differing = sorted(wanted ^ given)
    differing += [n for n in sorted(wanted & given) if content(reference / n) != content(found / n)]
    return differing, len(wanted & given)


def files(results: Path) -> set[str]:
    """Files of a results folder that are results."""
    found = set()
    for path in results.rglob("*"):
        name = path.relative_to(results)
        timed = name.parts[1:2] in (("logs",), ("benchmarks",), ("costs.csv",))
        timed = timed or path.name.startswith(("events.out.", "."))
        if path.is_file() and not timed:
            found.add(str(name))
    return found


def content(path: Path) -> bytes:
    """A file's bytes, without the times in the tables of trainings and in the report."""
    raw = path.read_bytes()
    if path.name in ("classify.csv", "irnet.csv", "deeplab.csv"):
        lines = [line.split(b",") for line in raw.splitlines()]
        timed = lines[0].index(b"seconds")
        return b"\n".join(b",".join(line[:timed] + line[timed + 1 :]) for line in lines)
    if path.name == "report.html":
        raw = re.sub(rb'<section aria-labelledby="costs">.*?</section>', b"", raw, flags=re.DOTALL)
        raw = re.sub(rb"<td>[\d.]+</td></tr>", b"</tr>", raw)  # minutes of the trainings, the last column
    return raw


def table(tally: Tally) -> str:
    """The figures, as Markdown."""
    rows = [
        (name, tally.kills[name], f"{tally.seconds[name]:.1f}" if name in tally.seconds else "")
        for name in VICTIMS
        if tally.kills[name]
    ]
    lines = ["| kill | times | seconds until the last process ended, at most |", "| --- | --- | --- |"]
    lines += [f"| {name} | {times} | {seconds} |" for name, times, seconds in rows]
    hits = ", ".join(f"{step} {times}" for step, times in sorted(tally.steps.items()))
    lines += ["", f"{sum(tally.kills.values())} kills in {tally.rounds} runs; running then: {hits}."]
    lines += [f"{tally.resumed} trainings went on from a kept state; {tally.compared} files the same in each run."]
    return "\n".join(lines)


def _arguments(given: Sequence[str] | None = None) -> Settings:
    return tyro.cli(Settings, description=__doc__, args=given)


if __name__ == "__main__":
    main(_arguments())
