"""Prints what there is of experiments: mIoU of each variant, minutes, and where to look. Needs no finished report.

    python -m ppl.report.overview results/demo

The workflow ends with the same text. It is read with the standard library alone: pandas takes longer to start.
"""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import yaml

from ppl.jobs.command import command
from ppl.jobs.errors import UserError

IOUS = {"pseudo": "pseudo.csv", "network": "val-raw.csv", "with CRF": "val-crf.csv"}
"""Columns of the table, and what each is read from in the folder of a variant."""
COLUMNS = ("seeds", "at best", *IOUS, "minutes")
UNKNOWN = ("", "NA", "-")  # IoU of a class that no mask has; time of a job that ended before it was looked at
NOTE = (
    "mIoU in percent: seeds at the threshold of the settings and at the one that fits the masks best,\n"
    "pseudo labels, the network's own predictions and those with CRF. Minutes of all jobs together."
)
PLACES = {
    "report": "{folder}/report.html",
    "tables": "{folder}/tables/README.md",
    "test predictions": "{folder}_test_preds",
    "the same, packed": "{folder}_test_preds.tar",
    "logs": "{folder}/logs",
}


@dataclass(frozen=True)
class Settings:
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of experiments, such as results/demo."""


def main(settings: Settings) -> None:
    for folder in settings.folders:
        if not (folder / "logs").is_dir():
            raise UserError(folder, "holds no results of an experiment", "name one such as results/demo")
    print(overview({folder: threshold_of(folder) for folder in settings.folders}))


def threshold_of(folder: Path) -> float | None:
    """The background threshold of an experiment's seeds, None where its settings were not asked for."""
    try:
        return yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))["cam"]["threshold"]
    except FileNotFoundError:
        return None


def overview(thresholds: Mapping[Path, float | None]) -> str:
    """The figures of every variant, and where to look, of experiments by folder with the threshold of their seeds.

    What there is not has no column, no row and no line. UserError where a table is damaged.
    """
    rows, places = [], []
    for folder, threshold in thresholds.items():
        minutes = minutes_of(folder)
        for variant in variants(folder, minutes):
            of_variant = measures(folder / variant, threshold) | {"minutes": minutes.get(variant)}
            rows.append((folder.name, variant, *(of_variant.get(column) for column in COLUMNS)))
        rows.append((folder.name, "in all", *[None] * (len(COLUMNS) - 1), sum(minutes.values())))
        paths = ((what, Path(form.format(folder=folder))) for what, form in PLACES.items())
        places += [(folder.name, what, str(path)) for what, path in paths if path.exists()]
    text = [[*row[:2], *("" if figure is None else f"{figure:.1f}" for figure in row[2:])] for row in rows]
    kept = [("experiment", "variant", *COLUMNS), *text]
    kept = list(zip(*(column for column in zip(*kept, strict=True) if any(column[1:])), strict=True))
    return "\n".join([NOTE, "", *_aligned(kept, names=2), "", *_aligned(places, names=3)])


def variants(folder: Path, minutes: Iterable[str]) -> list[str]:
    """METHOD/GRIDS of all variants of an experiment that were measured, or that jobs took `minutes` for."""
    files = (file for name in ("sweep.csv", *IOUS.values()) for file in folder.glob(f"*/*/{name}"))
    return sorted({*(file.parent.relative_to(folder).as_posix() for file in files), *filter(None, minutes)})


def measures(folder: Path, threshold: float | None) -> dict[str, float]:
    """mIoU in percent by column, as far as it was measured, of the variant that `folder` is of."""
    found = {}
    sweep = _numbers(folder / "sweep.csv", "threshold", "miou")
    if sweep:
        found["at best"] = max(miou for _, miou in sweep)
        if threshold is not None:
            found["seeds"] = min(sweep, key=lambda row: abs(row[0] - threshold))[1]
    for column, name in IOUS.items():
        rows = _numbers(folder / name, "iou")
        if rows:
            found[column] = rows[-1][0]  # the mean
    return found


def minutes_of(folder: Path) -> dict[str, float]:
    """Minutes of an experiment's jobs by variant; those of no variant, which serve all, have an empty one."""
    found: dict[str, float] = {}
    benchmarks = folder / "benchmarks"
    for path in benchmarks.rglob("*.tsv"):
        variant = path.parent.relative_to(benchmarks).as_posix().removeprefix(".")
        found[variant] = found.get(variant, 0) + sum(s for (s,) in _numbers(path, "s", delimiter="\t")) / 60
    return found


def _numbers(path: Path, *columns: str, delimiter: str = ",") -> list[tuple[float, ...]]:
    """Columns of a table, row by row; none where there is no table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter=delimiter))
        return [tuple(0.0 if row[name] in UNKNOWN else float(row[name]) for name in columns) for row in rows]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            path, f"not a table with {' and '.join(columns)} ({error})", "delete it and run again"
        ) from None


def _aligned(rows: Sequence[Sequence[str]], *, names: int) -> list[str]:
    """Lines of a table of text: `names` columns of words, each said once of equal ones in the first; then numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines, before = [], None
    for row in rows:
        first = "" if row[0] == before else row[0]
        before = row[0]
        cells = [first, *row[1:]]
        aligned = [c.ljust(w) if i < names else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        lines.append("  ".join(aligned).rstrip())
    return lines


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    command(main, Settings)
