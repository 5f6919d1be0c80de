"""Write minutes and memory of the steps of an experiment, from Snakemake's benchmark files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ppl.jobs.command import command
from ppl.jobs.files import atomic


@dataclass(frozen=True)
class Settings:
    benchmarks: Path
    """Folder of Snakemake's benchmark files; missing ones are omitted."""
    out: Path
    """CSV: step, jobs, minutes, memory; the longest first."""


class Cost(NamedTuple):
    """Total minutes of a step's jobs (shards), and peak memory (MB) of the largest job, NaN if unknown."""

    step: str
    jobs: int
    minutes: float
    memory: float


def main(settings: Settings) -> None:
    rows = pd.DataFrame(costs(read_benchmarks(settings.benchmarks)), columns=Cost._fields)
    with atomic(settings.out) as temporary:
        rows.round({"minutes": 2, "memory": 0}).to_csv(temporary, index=False)


def read_benchmarks(folder: Path) -> dict[str, pd.DataFrame]:
    """Read Snakemake's benchmark files by their path below `folder` without suffix; empty if it does not exist."""
    paths = sorted(folder.rglob("*.tsv"))
    return {path.relative_to(folder).with_suffix("").as_posix(): pd.read_csv(path, sep="\t") for path in paths}


def costs(benchmarks: Mapping[str, pd.DataFrame]) -> list[Cost]:
    """Return time and memory of each step, the sum over its shards; the longest first."""
    steps: dict[str, list[pd.DataFrame]] = {}
    for name, rows in benchmarks.items():
        steps.setdefault(re.sub(r"[-/]\d+of\d+$", "", name), []).append(rows)
    total = []
    for step, parts in steps.items():
        # Snakemake writes NA or - for a job that ended before it was measured.
        jobs = pd.concat(parts)[["s", "max_rss"]].apply(pd.to_numeric, errors="coerce")
        total.append(Cost(step, len(jobs), float(jobs["s"].sum()) / 60, float(jobs["max_rss"].max())))
    return sorted(total, key=lambda cost: (-cost.minutes, cost.step))


if __name__ == "__main__":
    command(main, Settings)
