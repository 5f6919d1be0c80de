"""The numbers that the paper reports."""

import re
from pathlib import Path

import pandas as pd

from ppl.measure.measures import MEASURES

PAPER = Path(__file__).with_name("paper.csv")
SOURCE = {"IV": "coco"}
"""Source of the data by table; voc for all others."""
SOURCES = {"voc", *SOURCE.values()}
"""Sources of data on which the paper reports results."""
KEYS = {measure.name: measure.key for measure in MEASURES if measure.in_paper}
"""The paper's names of our measures."""


def read_paper() -> pd.DataFrame:
    """Read the paper's numbers; an empty `variant` is another method, an empty `class` the mean over the classes."""
    return pd.read_csv(PAPER, keep_default_na=False, dtype={"page": str}).astype({"value": float})


def reported(source: str, experiment: str, variant: str, measure: str) -> tuple[float, str] | None:
    """Return the paper's mIoU in percent and its table, for one of our measures; None if the paper reports none.

    `source` is that of the data. The paper's VGG16 rows belong to the experiment of that name in the configuration.
    """
    paper = read_paper()
    tables = paper["table"].map(lambda table: SOURCE.get(table, "voc"))
    means = paper[(tables == source) & (paper["measure"] == KEYS.get(measure)) & (paper["class"] == "")]
    name = re.sub(r"-seed\d+$", "", experiment)
    has_own_rows = any(row.startswith(f"{name}/") for row in paper["variant"])
    rows = means[means["variant"] == (f"{name}/{variant}" if has_own_rows else variant)]
    return None if rows.empty else (float(rows["value"].iloc[0]), str(rows["table"].iloc[0]))
