"""Print a summary of one or more experiments: mIoU of each variant, minutes, vanished classes, paths of the results.

    python -m ppl.report.overview results/demo

It does not need a finished report; the workflow prints the same text at its end. The tables are read with the standard
library, because importing pandas takes longer.
"""

import csv
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from ppl.cam.threshold import THRESHOLD, Threshold, read_whole
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.measure.classes_measured import note_on_mean
from ppl.measure.measures import HEADLINE, MEASURES, PSEUDO, SEED_BEST, SEED_FIXED, SWEEP
from ppl.report import classes

MINUTES = "minutes"
LABELLED = "labelled"
COLUMNS = (*(measure.column for measure in MEASURES if measure.column), MINUTES)
UNKNOWN = ("", "NA", "-")  # IoU of a class without ground truth; time of a job that ended before it was measured
NOTE = (
    "mIoU in percent: seeds at their threshold and at the one that fits the masks best,\n"
    "pseudo labels, predictions of the network and those with CRF. Minutes: sum over all jobs."
)
NOTE_ON_LABELS = "Labelled: percent of the pixels that have a pseudo label; the mIoU of the labels is that of these."
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


class Row(NamedTuple):
    """A line of the table: a variant, or the sum over an experiment."""

    experiment: str
    variant: str
    values: dict[str, float]
    """By column; a missing result has no entry."""


def main(settings: Settings) -> None:
    for folder in settings.folders:
        if not (folder / "logs").is_dir():
            raise UserError(folder, "not a folder of results", "name one such as results/demo")
    print(overview(settings.folders))


def overview(folders: Sequence[Path]) -> str:
    """Return mIoU, minutes, thresholds of the seeds, vanished classes and paths of experiments by their folders.

    Missing results are omitted. UserError if a table is damaged.
    """
    rows = [row for folder in folders for row in rows_of(folder)]
    columns = [column for column in COLUMNS if any(column in row.values for row in rows)]
    notes = NOTE
    if any(LABELLED in row.values for row in rows):
        columns.insert(columns.index(PSEUDO.column) + 1, LABELLED)
        notes = f"{NOTE}\n{NOTE_ON_LABELS}"
    table = [["experiment", "variant", *columns]]
    for row in rows:
        cells = [f"{row.values[column]:.1f}" if column in row.values else "" for column in columns]
        table.append([row.experiment, row.variant, *cells])
    places = [
        [folder.name, caption, str(path)]
        for folder in folders
        for caption, path in ((caption, Path(form.format(folder=folder))) for caption, form in PLACES.items())
        if path.exists()
    ]
    thresholds = [
        [row.experiment, row.variant, f"seeds at {threshold}"]
        for folder in folders
        for row in rows_of(folder)
        if (threshold := threshold_of(folder / row.variant))
    ]
    vanished = [line for folder in folders for line in vanished_classes(folder)]
    means = [line for folder in folders for line in notes_on_means(folder)]
    parts = _aligned(table, words=2), means, _aligned(thresholds, words=3), vanished, _aligned(places, words=3)
    return "\n".join([notes, *(line for part in parts if part for line in ("", *part))])


def notes_on_means(folder: Path) -> list[str]:
    """Return a line for each mIoU that is missing or not over all classes; equal ones of several variants once."""
    lines = {}
    for path in sorted(folder.glob("*/*/*.csv")):
        columns = [measure.column for measure in MEASURES if measure.file == path.name and measure.column]
        if columns and (note := note_on_mean(path)):
            lines[f"{folder.name}, {' and '.join(columns)}: {note}"] = None
    return list(lines)


def vanished_classes(folder: Path) -> list[str]:
    """Return a line for each class that vanishes between the labels and the predictions of a variant."""
    return [
        f"warning: {path.parent.relative_to(folder.parent).as_posix()}: {line}"
        for path in sorted(folder.glob(f"*/*/{classes.FILE}"))
        for line in classes.warnings(classes.read_counts(path))
    ]


def threshold_of(folder: Path) -> Threshold | None:
    """Return the background threshold of the seeds of the variant in `folder`; None if there is none yet."""
    file = folder / THRESHOLD
    return read_whole(file) if file.exists() else None


def rows_of(folder: Path) -> list[Row]:
    """Return the lines of an experiment: its variants, and the sum of minutes."""
    minutes = minutes_of(folder)
    rows = []
    for variant in variants(folder, minutes):
        values = measured(folder / variant)
        if variant in minutes:
            values[MINUTES] = minutes[variant]
        rows.append(Row(folder.name, variant, values))
    return [*rows, Row(folder.name, "in all", {MINUTES: sum(minutes.values())})]


def variants(folder: Path, minutes: Iterable[str]) -> list[str]:
    """Return METHOD/GRIDS of all variants of an experiment that were measured or for which jobs took `minutes`."""
    names = {measure.file for measure in MEASURES if measure.column}
    files = (file for name in names for file in folder.glob(f"*/*/{name}"))
    return sorted({*(file.parent.relative_to(folder).as_posix() for file in files), *filter(None, minutes)})


def measured(folder: Path) -> dict[str, float]:
    """Return the measured mIoU in percent of the variant in `folder`, by column."""
    values = {}
    sweep = _numbers(folder / SWEEP, "threshold", "miou", missing=math.nan)
    if sweep and not math.isnan(sweep[0][1]):
        values[SEED_BEST.column] = max(miou for _, miou in sweep)
        if threshold := threshold_of(folder):
            values[SEED_FIXED.column] = min(sweep, key=lambda row: abs(row[0] - threshold.threshold))[1]
    for measure in HEADLINE:
        rows = _numbers(folder / measure.file, "iou", missing=math.nan)
        if rows and not math.isnan(rows[-1][0]):
            values[measure.column] = rows[-1][0]  # the mean
    if PSEUDO.column in values and (labelled := labelled_share(folder / PSEUDO.file)) < 100:
        values[LABELLED] = labelled
    return values


def labelled_share(path: Path) -> float:
    """Return the percent of pixels that have a label, of a table of pseudo labels."""
    with path.open(newline="", encoding="utf-8") as file:
        *_, mean = csv.DictReader(file)
    return float(mean.get("labelled", 100))


def minutes_of(folder: Path) -> dict[str, float]:
    """Return the minutes of an experiment's jobs by variant; jobs that serve all variants have the key ""."""
    minutes: dict[str, float] = {}
    benchmarks = folder / "benchmarks"
    for path in benchmarks.rglob("*.tsv"):
        variant = path.parent.relative_to(benchmarks).as_posix().removeprefix(".")
        minutes[variant] = minutes.get(variant, 0) + sum(s for (s,) in _numbers(path, "s", delimiter="\t")) / 60
    return minutes


def _numbers(path: Path, *columns: str, delimiter: str = ",", missing: float = 0.0) -> list[tuple[float, ...]]:
    """Return columns of a table, row by row, with `missing` for UNKNOWN; empty if there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter=delimiter))
        return [tuple(missing if row[name] in UNKNOWN else float(row[name]) for name in columns) for row in rows]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        what = f"not a table with {' and '.join(columns)} ({error})"
        raise UserError(path, what, "delete it and run again") from error


def _aligned(rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Return the lines of a text table: `words` columns aligned left, then numbers; repeated first cells are blank."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines, before = [], None
    for first, *others in rows:
        cells = ["" if first == before else first, *others]
        before = first
        aligned = [c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        lines.append("  ".join(aligned).rstrip())
    return lines


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    command(main, Settings)
