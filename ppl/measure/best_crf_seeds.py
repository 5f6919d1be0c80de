"""Write seeds after a dense CRF at the best threshold of their sweep, as the paper's Table I is read.

That threshold is tuned on the masks that the seeds are measured with, so these seeds train nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from ppl.jobs.command import command
from ppl.measure.thresholds import best_row, read_sweep
from ppl.refine import crf_seeds


@dataclass(frozen=True, kw_only=True)
class Settings(crf_seeds.Inputs):
    sweep: Path
    """CSV of `ppl.measure.sweep`."""


def main(settings: Settings) -> None:
    best = best_row(read_sweep(settings.sweep))
    crf_seeds.label_split(settings, float(best["threshold"]))


if __name__ == "__main__":
    command(main, Settings)
