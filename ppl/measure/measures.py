"""The measures of an experiment: their names, files and captions. Every table, page and rule uses them."""

from typing import Literal, NamedTuple


class Measure(NamedTuple):
    """One kind of mIoU of a variant."""

    name: str
    """In summary.csv."""
    key: str
    """In `tables:` of the configuration and in the paper's tables (ppl/report/paper.csv)."""
    file: str
    """CSV in the folder of the variant; a sweep holds a row per threshold, the others a row per class."""
    split: str
    """Key below `data:` of the split that it is measured on."""
    caption: str
    """On the report's page."""
    title: str
    """In the paper's tables."""
    column: str
    """In the overview; empty if it has no column there."""
    in_paper: bool
    """Whether it is compared with the paper's number of this key."""


SWEEP = "sweep.csv"
SEED_FIXED = Measure(
    "seed_fixed", "seed", SWEEP, "seed_split", "seeds, fixed threshold", "seed, fixed threshold", "seeds", False
)
# The paper reports its seeds at their best thresholds (Figure 9).
SEED_BEST = Measure(
    "seed_best", "seed", SWEEP, "seed_split", "seeds, best threshold", "seed, best threshold", "at best", True
)
SEED_CRF = Measure(
    "seed_crf", "crf", "seed-crf.csv", "seed_split", "seeds, CRF", "seed with CRF, fixed threshold", "", False
)
SEED_BEST_CRF = Measure(
    *("seed_best_crf", "crf", "seed-best-crf.csv", "seed_split"),
    *("best seeds, CRF", "seed with CRF, best threshold", "", True),
)
PSEUDO = Measure("pseudo", "pseudo", "pseudo.csv", "seed_split", "pseudo labels", "pseudo label", "pseudo", True)
NETWORK_RAW = Measure(
    "network_raw", "val", "val-raw.csv", "val_split", "network, raw", "network on val", "network", False
)
NETWORK_CRF = Measure(
    "network_crf", "val", "val-crf.csv", "val_split", "network, CRF", "network on val", "with CRF", True
)

MEASURES = (SEED_FIXED, SEED_BEST, SEED_CRF, SEED_BEST_CRF, PSEUDO, NETWORK_RAW, NETWORK_CRF)
_FIXED = "fixed threshold"
_AUTO = "threshold chosen without masks"


def by_rule(text: str, rule: Literal["fixed", "auto"]) -> str:
    """Return the caption or title of a measure for seeds whose threshold is fixed, or chosen without masks."""
    return text.replace(_FIXED, _AUTO) if rule == "auto" else text


HEADLINE = (PSEUDO, NETWORK_RAW, NETWORK_CRF)
"""Measures of the main variant in summary.csv and on the page, beside the seeds of all compared variants."""
NETWORK = {"raw": NETWORK_RAW, "crf": NETWORK_CRF}
"""Measures of the network by kind of predictions, the folder that they lie in."""


def prediction_kinds(*, crf: bool) -> tuple[str, ...]:
    """Return the kinds of predictions that a network writes; the last one is its result."""
    return ("raw", "crf") if crf else ("raw",)


def files_of(key: str, *, crf: bool) -> list[str]:
    """Return the CSVs of a key of `tables:`; of the network that of the predictions that are its result."""
    if key == "val":
        return [NETWORK[prediction_kinds(crf=crf)[-1]].file]
    return list(dict.fromkeys(measure.file for measure in MEASURES if measure.key == key))
