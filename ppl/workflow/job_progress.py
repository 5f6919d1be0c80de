"""Progress and warnings of running jobs and reasons of failed ones, which Snakemake's own messages omit.

A handler on Snakemake's logger, attached in `onstart`, tracks the jobs by Snakemake's log events. It is not a logger
plugin (snakemake_interface_logger_plugins), for three reasons: Snakemake finds plugins by listing the packages on
sys.path, where those of an editable installation (`make venv`) are missing, and does not start without a plugin that a
profile names; `--quiet` filters a plugin's events by default; and plugins get events in a thread of their own, so
`onerror` could miss the last job that failed.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from ppl.jobs.progress import RUNNING

INTERVAL = "PPL_PROGRESS"
"""Environment variable: seconds between progress messages; 0 for none."""
IN_TERMINAL, IN_FILE = 30, 300  # default intervals
WARNINGS_EVERY = 2.0  # seconds between searches of the logs for warnings
MOST_DETAILS = 3  # lines below an error
WARNING = "warning: "
"""Start of a warning in a log."""
MOST_JOBS = 8  # per progress message
TAIL = 1 << 16  # bytes that are read from the end of a log


@dataclass
class Job:
    """A job that Snakemake has started."""

    rule: str
    wildcards: Mapping[str, str]
    logs: tuple[Path, ...]
    reported: dict[Path, str] = field(init=False)
    """The last line reported of each log; at first that of an older run."""
    versions: dict[Path, int] = field(init=False)
    """Times of the last change of the logs before the job, in nanoseconds; 0 for a missing one."""

    def __post_init__(self) -> None:
        self.reported = {log: _running_line(log) for log in self.logs}
        self.versions = {log: _changed(log) for log in self.logs}

    @property
    def label(self) -> str:
        """Experiment and variant, as far as the job has them; else its wildcards, else its rule."""
        variant = "/".join(self.wildcards[key] for key in ("method", "grids") if key in self.wildcards)
        names = filter(None, [self.wildcards.get("experiment"), variant])
        return " ".join(names) or " ".join(self.wildcards.values()) or self.rule

    def news(self) -> Iterator[str]:
        """Yield the last progress line of each log that has a new one."""
        for log in self.logs:
            line = _running_line(log)
            if line not in ("", self.reported[log]):
                self.reported[log] = line
                yield line

    def warnings(self) -> Iterator[str]:
        """Yield the warnings in the logs of this run."""
        for log in self.logs:
            if _changed(log) != self.versions[log]:
                yield from (line for line in last_lines(log) if line.startswith(WARNING))


class Jobs(logging.Handler):
    """Running and failed jobs of this Snakemake, tracked by its log events."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[int, Job] = {}
        self.failed: dict[int, Job] = {}
        self.experiments: set[str] = set()
        self.warned: set[str] = set()
        """Warnings printed: many jobs repeat one, such as that of a missing GPU."""
        self.printing = threading.Lock()
        self.ended = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Track job events; ignore records that are not events or have an unexpected format."""
        event = record.__dict__
        try:
            match event.get("event"):
                case LogEvent.JOB_INFO:
                    logs = tuple(Path(str(log)) for log in event["log"])
                    job = Job(event["rule_name"], dict(event["wildcards"]), logs)
                    self.running[event["jobid"]] = job
                    self.failed.pop(event["jobid"], None)  # a retry
                    self.experiments |= {value for name, value in job.wildcards.items() if name == "experiment"}
                case LogEvent.JOB_FINISHED:
                    if job := self.running.pop(event["job_id"], None):
                        self.print_warnings([job])
                case LogEvent.JOB_ERROR:
                    self.failed[event["jobid"]] = self.running.pop(event["jobid"])
                    self.print_warnings([self.failed[event["jobid"]]])
        except (KeyError, TypeError, ValueError):
            return

    def start(self, *, quiet: bool) -> None:
        """Track the jobs of this Snakemake from now on; print warnings, and progress unless `quiet`, on stderr."""
        logger.addHandler(self)
        interval = 0.0 if quiet else _interval()
        threading.Thread(target=_report, args=(self, interval), daemon=True).start()

    def print_warnings(self, jobs: Collection[Job]) -> None:
        """Print the warnings in the logs of jobs on stderr, each once per run, with the first log that has it."""
        with self.printing:
            for job in jobs:
                for line in job.warnings():
                    if line not in self.warned:
                        self.warned.add(line)
                        _print([f"{line} ({job.label}, {job.rule})"])

    def close(self) -> None:
        """Stop; Snakemake calls this when it closes its log."""
        self.ended.set()
        logger.removeHandler(self)
        super().close()


def why_failed(jobs: Collection[Job]) -> Iterator[str]:
    """Yield lines that list failed jobs, the last error in the log of each, and the path of that log."""
    if jobs:
        yield f"{len(jobs)} step{'s' * (len(jobs) > 1)} failed:"
    for job in jobs:
        yield f"  {job.label}, {job.rule}"
        for log in job.logs:
            yield from (f"    {line}" for line in last_error(log))
            yield f"    {log}"


def last_lines(log: Path) -> list[str]:
    """Return the lines at the end of a log; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def last_error(log: Path) -> list[str]:
    """Return the last `error: ` line of a log and the first of its details, or else the last line of the log."""
    lines = [line for line in last_lines(log) if line.strip()]
    errors = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if not errors:
        return [f"last line of its log: {lines[-1]}" if lines else "its log is empty: it was killed or did not start"]
    details = list(takewhile(lambda line: line.startswith("  "), lines[errors[-1] + 1 :]))
    return [lines[errors[-1]], *_first(details, MOST_DETAILS)]


def _report(jobs: Jobs, interval: float) -> None:
    """Print warnings soon, and progress every `interval` seconds, 0 for none, until the workflow ends."""
    due = time.monotonic() + interval
    while not jobs.ended.wait(min(interval or WARNINGS_EVERY, WARNINGS_EVERY)):
        running = list(jobs.running.values())
        jobs.print_warnings(running)
        if interval and time.monotonic() >= due:
            due = time.monotonic() + interval
            lines = [f"  {job.label}  {line}" for job in running for line in job.news()]
            _print(_first(lines, MOST_JOBS))


def _print(lines: list[str]) -> None:
    try:
        if lines:
            print("\n".join(lines), file=sys.stderr, flush=True)
    except (OSError, ValueError):  # stderr is closed
        return


def _changed(log: Path) -> int:
    """Return the time of the last change of a log in nanoseconds; 0 if it cannot be read."""
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return 0


def _first(lines: list[str], most: int) -> list[str]:
    """Return the first lines, and the number of the others as one more line."""
    return lines[:most] + [f"  and {len(lines) - most} more"] * (len(lines) > most)


def _interval() -> float:
    try:
        return max(0.0, float(os.environ.get(INTERVAL, "")))
    except ValueError:
        return IN_TERMINAL if sys.stderr.isatty() else IN_FILE


def _running_line(log: Path) -> str:
    """Return the last progress line of a log that belongs to a step still running; empty if there is none."""
    return next(filter(RUNNING.fullmatch, reversed(last_lines(log))), "")
