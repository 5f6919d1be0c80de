"""Writes the headline numbers of an experiment as a table that programs can read."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from ppl.classify.variants import METHODS
from ppl.jobs.command import command
from ppl.jobs.files import atomic

GRIDS = re.compile(r"plain|s\dk\d+(-s\dk\d+)*")


@dataclass(frozen=True)
class Settings:
    settings: Path
    """Resolved settings of the experiment, YAML."""
    sweeps: tuple[Path, ...]
    """METHOD/GRIDS/sweep.csv of every variant that is measured; none where there are no masks."""
    measured: tuple[Path, ...]
    """pseudo.csv, val-raw.csv and val-crf.csv of the main variant, as far as they were asked for."""
    out: Path
    """CSV: measure, split, variant, threshold, value (mIoU in percent); no rows where there are no masks."""


class Measure(NamedTuple):
    """One number: mIoU in percent of `variant` on `split`, at a background threshold where there is one."""

    measure: str
    split: str
    variant: str
    threshold: float | None
    value: float


def main(settings: Settings) -> None:
    resolved = yaml.safe_load(settings.settings.read_text(encoding="utf-8"))
    measures = headline(resolved, read_sweeps(settings.sweeps), read_ious(settings.measured))
    with atomic(settings.out) as temporary:
        pd.DataFrame(measures, columns=Measure._fields).round({"value": 2}).to_csv(temporary, index=False)


def headline(
    resolved: Mapping[str, Any], sweeps: Mapping[str, pd.DataFrame], ious: Mapping[str, pd.DataFrame]
) -> list[Measure]:
    """mIoU of the seeds of every swept variant, of the pseudo labels and of the network, in this order.

    `seed_fixed` is at the threshold that the settings name, `seed_best` at the one that fits the masks best: it is
    tuned on what it is measured with. `sweeps` by variant, `ious` by file stem (`pseudo`, `val-raw`, `val-crf`).
    """
    data, measures = resolved["data"], []
    for variant, sweep in sweeps.items():
        rows = {"seed_fixed": fixed_row(sweep, resolved["cam"]["threshold"]), "seed_best": best_row(sweep)}
        for measure, row in rows.items():
            measures.append(Measure(measure, data["seed_split"], variant, float(row["threshold"]), float(row["miou"])))
    on_masks = {
        "pseudo": ("pseudo", data["seed_split"]),
        "val-raw": ("network_raw", data["val_split"]),
        "val-crf": ("network_crf", data["val_split"]),
    }
    for stem, (measure, split) in on_masks.items():
        if stem in ious:
            measures.append(Measure(measure, split, resolved["main"], None, float(ious[stem]["iou"].iloc[-1])))
    return measures


def fixed_row(sweep: pd.DataFrame, threshold: float) -> pd.Series:
    """The row of a sweep that lies nearest to a threshold."""
    return sweep.loc[(sweep["threshold"] - threshold).abs().idxmin()]


def best_row(sweep: pd.DataFrame) -> pd.Series:
    """The row of a sweep with the highest mIoU, the lowest threshold among equals."""
    return sweep.loc[sweep["miou"].idxmax()]


def read_sweeps(paths: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Threshold sweeps by variant."""
    return {variant_of(path): pd.read_csv(path) for path in paths}


def read_ious(paths: Iterable[Path]) -> dict[str, pd.DataFrame]:
    """Tables class, iou, pixels by file stem; the last row is the mean, an absent class has NaN."""
    # A class may well be called NA or null: only an empty IoU is missing.
    return {path.stem: pd.read_csv(path, keep_default_na=False, na_values={"iou": [""]}) for path in paths}


def variant_of(path: Path) -> str:
    """METHOD/GRIDS that a result lies in; empty where it lies in none."""
    parts = path.parts
    # From the end: a folder above the results may well be called local.
    places = (i for i in reversed(range(len(parts) - 1)) if parts[i] in METHODS and GRIDS.fullmatch(parts[i + 1]))
    return next(("/".join(parts[i : i + 2]) for i in places), "")


if __name__ == "__main__":
    command(main, Settings)
