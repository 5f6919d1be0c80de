"""Rows of a threshold sweep."""

import pandas as pd


def fixed_row(sweep: pd.DataFrame, threshold: float) -> pd.Series:
    """Return the row of a sweep whose threshold is nearest to `threshold`."""
    return sweep.loc[(sweep["threshold"] - threshold).abs().idxmin()]


def best_row(sweep: pd.DataFrame) -> pd.Series:
    """Return the row of a sweep with the highest mIoU; of equal ones that with the lowest threshold."""
    return sweep.loc[sweep["miou"].idxmax()]
