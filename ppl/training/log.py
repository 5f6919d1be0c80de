"""The log of a training as CSV: a row per epoch."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ppl.jobs.files import atomic


def write_log(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write rows of equal keys; numbers other than integers with six digits."""
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(rows[0])
        table.writerows([v if isinstance(v, int) else f"{v:.6g}" for v in row.values()] for row in rows)
