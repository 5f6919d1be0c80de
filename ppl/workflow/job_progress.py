"""What Snakemake's own messages leave out: how far its running jobs are, and why those that failed have failed."""

import logging
import os
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from ppl.jobs.progress import RUNNING

EVERY = "PPL_PROGRESS"
"""Environment variable: seconds between looks at the running jobs; 0 for none."""
IN_TERMINAL, IN_FILE = 30, 300  # seconds where it is not set
LISTED = 3  # lines below an error
SHOWN = 8  # jobs at a look; the rest is counted
TAIL = 1 << 16  # bytes at the end of a log in which its last lines are


@dataclass
class Job:
    """A job that Snakemake has started."""

    rule: str
    wildcards: Mapping[str, str]
    logs: tuple[Path, ...]
    told: dict[Path, str] = field(init=False)
    """The line of each log that was told last; at first that of an older run, as a job may wait before it writes."""

    def __post_init__(self) -> None:
        self.told = {log: _running_line(log) for log in self.logs}

    @property
    def whose(self) -> str:
        """The experiment and the variant that it is for, or else what it is for."""
        named = dict(self.wildcards)
        variant = "/".join(named[key] for key in ("method", "grids") if key in named)
        return " ".join(filter(None, [named.get("experiment"), variant])) or " ".join(named.values()) or self.rule

    def news(self) -> Iterator[str]:
        """How far the job is, by the last such line of each log where that is a new one."""
        for log in self.logs:
            line = _running_line(log)
            if line not in ("", self.told[log]):
                self.told[log] = line
                yield line


class Jobs(logging.Handler):
    """The jobs of this Snakemake, kept by what it tells its loggers: those that run, and those that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[int, Job] = {}
        self.failed: dict[int, Job] = {}
        self.experiments: set[str] = set()
        self.ended = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps what an event tells; what is none, or of another form than it is known to have, is left out."""
        told = record.__dict__
        try:
            match told.get("event"):
                case LogEvent.JOB_INFO:
                    job = Job(told["rule_name"], dict(told["wildcards"]), tuple(map(_path, told["log"])))
                    self.running[told["jobid"]] = job
                    self.failed.pop(told["jobid"], None)  # it is tried again
                    self.experiments |= {job.wildcards["experiment"]} if "experiment" in job.wildcards else set()
                case LogEvent.JOB_FINISHED:
                    self.running.pop(told["job_id"], None)
                case LogEvent.JOB_ERROR:
                    job = self.running.pop(told["jobid"], None)
                    if job is not None:
                        self.failed[told["jobid"]] = job
        except (KeyError, TypeError, ValueError):
            return

    def follow(self, *, quiet: bool) -> None:
        """Begins to keep the jobs of this Snakemake and, unless `quiet`, to tell on stderr how far they are."""
        logger.addHandler(self)
        every = _interval()
        if every and not quiet:
            threading.Thread(target=_tell, args=(self, every), daemon=True).start()

    def close(self) -> None:
        """Called by Snakemake when it takes its loggers apart."""
        self.ended.set()
        logger.removeHandler(self)
        super().close()


def why_failed(jobs: Collection[Job]) -> Iterator[str]:
    """Lines that tell which jobs failed, what the last error in the log of each was, and where that log is."""
    if jobs:
        yield f"{len(jobs)} step{'s' * (len(jobs) > 1)} failed:"
    for job in jobs:
        yield f"  {job.whose}, {job.rule}"
        for log in job.logs:
            yield from (f"    {line}" for line in last_error(log))
            yield f"    {log}"


def last_lines(log: Path) -> list[str]:
    """The lines at the end of a log; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def last_error(log: Path) -> list[str]:
    """The last `error: ` line of a log with the first of those that it lists below, or else the last line of all."""
    lines = [line for line in last_lines(log) if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if not starts:
        return [f"its log ends with: {lines[-1]}" if lines else "nothing in its log: it was killed, or could not start"]
    listed = list(takewhile(lambda line: line.startswith("  "), lines[starts[-1] + 1 :]))
    more = [f"  and {len(listed) - LISTED} more"] if len(listed) > LISTED else []
    return [lines[starts[-1]], *listed[:LISTED], *more]


def _tell(jobs: Jobs, every: float) -> None:
    while not jobs.ended.wait(every):
        told = [f"  {job.whose}  {line}" for job in list(jobs.running.values()) for line in job.news()]
        more = [f"  and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
        try:
            if told:
                print("\n".join([*told[:SHOWN], *more]), file=sys.stderr, flush=True)
        except (OSError, ValueError):  # nobody reads it any more
            return


def _interval() -> float:
    asked = os.environ.get(EVERY, "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        return IN_TERMINAL if sys.stderr.isatty() else IN_FILE


def _running_line(log: Path) -> str:
    """The last line of a log that tells of a step that goes on; empty where there is none."""
    return next(filter(RUNNING.fullmatch, reversed(last_lines(log))), "")


def _path(named: Any) -> Path:
    return Path(str(named))
