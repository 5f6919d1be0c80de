"""The figures that the paper reports."""

import re
from pathlib import Path

import pandas as pd

PAPER = Path(__file__).with_name("paper.csv")
SOURCE = {"IV": "coco"}
"""Data of a table; that of all others is VOC."""
MEASURES = {"seed_best": "seed", "pseudo": "pseudo", "network_crf": "val"}
"""What the paper calls our measures: its seeds are those at the best threshold (Figure 9), its network has a CRF."""


def read_paper() -> pd.DataFrame:
    """The paper's figures; an empty `variant` is none of ours, an empty `class` the mean."""
    return pd.read_csv(PAPER, keep_default_na=False, dtype={"page": str}).astype({"value": float})


def reported(source: str, experiment: str, variant: str, measure: str) -> tuple[float, str] | None:
    """mIoU in percent and the table that has it, for a measure of ours on data of `source`; None where there is none.

    The paper's VGG16 rows belong to the experiment that the configuration calls by that name.
    """
    paper = read_paper()
    tables = paper["table"].map(lambda table: SOURCE.get(table, "voc"))
    found = paper[(tables == source) & (paper["measure"] == MEASURES.get(measure)) & (paper["class"] == "")]
    own = re.sub(r"-seed\d+$", "", experiment)
    prefixed = any(name.startswith(f"{own}/") for name in paper["variant"])
    rows = found[found["variant"] == (f"{own}/{variant}" if prefixed else variant)]
    return None if rows.empty else (float(rows["value"].iloc[0]), str(rows["table"].iloc[0]))
