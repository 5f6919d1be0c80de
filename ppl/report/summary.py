"""Write the headline numbers of an experiment as a machine-readable table."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ppl.cam.threshold import Threshold, read_whole
from ppl.classify.variants import METHODS
from ppl.experiment.settings import Experiment
from ppl.experiment.stored import read
from ppl.jobs.command import command
from ppl.jobs.files import atomic
from ppl.measure.measures import HEADLINE, SEED_BEST, SEED_FIXED
from ppl.measure.thresholds import best_row, fixed_row, has_mean

GRIDS = re.compile(r"plain|s\dk\d+(-s\dk\d+)*")


@dataclass(frozen=True)
class Settings:
    settings: Path
    """Resolved settings of the experiment, YAML."""
    sweeps: tuple[Path, ...]
    """METHOD/GRIDS/sweep.csv of every measured variant; none if there are no masks."""
    thresholds: tuple[Path, ...]
    """METHOD/GRIDS/threshold.json of the same variants."""
    measured: tuple[Path, ...]
    """pseudo.csv, val-raw.csv and, if there is a CRF, val-crf.csv of the main variant."""
    out: Path
    """CSV: measure, split, variant, threshold, value (mIoU in percent), labelled (percent of the pixels that
    have a pseudo label, of which the mIoU is); no rows if there are no masks."""


class Result(NamedTuple):
    """mIoU in percent of `variant` on `split`, for seeds at a background threshold; NaN if only background occurs."""

    measure: str
    split: str
    variant: str
    threshold: float | None
    value: float
    labelled: float | None = None
    """Percent of the pixels that have a label; None for all but pseudo labels, which alone may be partial."""

    @property
    def is_partial(self) -> bool:
        """Whether pixels are unlabelled, and so not measured."""
        return self.labelled is not None and self.labelled < 100


def main(settings: Settings) -> None:
    resolved = read(settings.settings)
    sweeps, thresholds = read_sweeps(settings.sweeps), read_thresholds(settings.thresholds)
    results = headline(resolved, sweeps, thresholds, read_ious(settings.measured))
    with atomic(settings.out) as temporary:
        pd.DataFrame(results, columns=Result._fields).round({"value": 2}).to_csv(temporary, index=False)


def headline(
    resolved: Experiment,
    sweeps: Mapping[str, pd.DataFrame],
    thresholds: Mapping[str, Threshold],
    ious: Mapping[str, pd.DataFrame],
) -> list[Result]:
    """Return the mIoU of the seeds of every swept variant, of the pseudo labels and of the network, in this order.

    `sweeps` and `thresholds` by variant, `ious` by file stem (`pseudo`, `val-raw`, `val-crf`). The best threshold of a
    sweep is tuned on the masks that the seeds are measured with.
    """
    results = []
    for variant, sweep in sweeps.items():
        rows = {SEED_FIXED: fixed_row(sweep, thresholds[variant].threshold), SEED_BEST: best_row(sweep)}
        for measure, row in rows.items():
            split = getattr(resolved.data, measure.split)
            threshold = float(row["threshold"]) if measure is SEED_FIXED or has_mean(sweep) else None
            results.append(Result(measure.name, split, variant, threshold, float(row["miou"])))
    for measure in HEADLINE:
        table = ious.get(Path(measure.file).stem)
        if table is not None:
            mean = float(table["iou"].iloc[-1])
            split = getattr(resolved.data, measure.split)
            results.append(Result(measure.name, split, resolved.main, None, mean, labelled_share(table)))
    return results


def read_sweeps(paths: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Read threshold sweeps, by variant."""
    return {variant_of(path): pd.read_csv(path) for path in paths}


def read_thresholds(paths: Iterable[Path]) -> dict[str, Threshold]:
    """Read thresholds of seeds, by variant."""
    return {variant_of(path): read_whole(path) for path in paths}


def read_ious(paths: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Read tables of IoU, by file stem."""
    return {path.stem: read_iou(path) for path in paths}


def read_iou(path: Path | str) -> pd.DataFrame:
    """Read a table class, iou, pixels; the last row is the mean, a class without ground truth has NaN."""
    # A class may be called NA or null: only an empty IoU is missing.
    return pd.read_csv(path, keep_default_na=False, na_values={"iou": [""]})


def labelled_share(table: pd.DataFrame) -> float | None:
    """Return the percent of pixels that have a label of a table of `read_iou`; None if it is not of pseudo labels."""
    return float(table["labelled"].iloc[-1]) if "labelled" in table else None


def variant_of(path: Path) -> str:
    """Return METHOD/GRIDS of the folder that a result lies in; empty if there is none."""
    parts = path.parts
    # Search from the end: a folder above the results may be called local.
    places = (i for i in reversed(range(len(parts) - 1)) if parts[i] in METHODS and GRIDS.fullmatch(parts[i + 1]))
    return next(("/".join(parts[i : i + 2]) for i in places), "")


if __name__ == "__main__":
    command(main, Settings)
