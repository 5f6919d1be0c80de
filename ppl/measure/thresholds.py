"""Threshold sweeps and their rows."""

from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ppl.jobs.errors import UserError, reason


def read_sweep(path: Path) -> pd.DataFrame:
    """Read a file of `ppl.measure.sweep`; UserError if it is not a sweep, or measures nothing."""
    try:
        sweep = pd.read_csv(path)
    except Exception as error:  # pandas raises many kinds for a malformed file
        raise UserError(path, f"not a sweep ({reason(error)})", "make it again") from error
    columns = ["threshold", "miou", "precision", "recall"]
    if not set(columns) <= set(sweep) or not all(map(is_numeric_dtype, (sweep[name] for name in columns))):
        raise UserError(path, f"not a sweep (it has no numbers in {', '.join(columns)})", "make it again")
    if not has_mean(sweep) and ("iou_background" not in sweep or sweep["iou_background"].isna().all()):
        raise UserError(path, "not a sweep (it measures nothing)", "make it again")
    return sweep


def has_mean(sweep: pd.DataFrame) -> bool:
    """Return whether a sweep has a mIoU: not if no class but background occurs in the masks."""
    return bool(sweep["miou"].notna().any())


def fixed_row(sweep: pd.DataFrame, threshold: float) -> pd.Series:
    """Return the row of a sweep whose threshold is nearest to `threshold`."""
    return sweep.loc[(sweep["threshold"] - threshold).abs().idxmin()]


def best_row(sweep: pd.DataFrame) -> pd.Series:
    """Return the row of a sweep with the highest mIoU; of equal ones, or without mIoU, the lowest threshold."""
    return sweep.loc[sweep["miou"].idxmax()] if has_mean(sweep) else sweep.iloc[0]
