"""Writes the report of an experiment: one HTML file that needs nothing else, for any browser and without network."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

import ppl
from ppl.cam.curves import draw
from ppl.command import command
from ppl.data.dataset import Dataset
from ppl.files import file_digest, write_text
from ppl.report.figures import TRAININGS, draw_trainings, svg
from ppl.report.gallery import Sample, evenly, legend, seed_samples, val_samples
from ppl.report.summary import fixed_row, headline, read_ious, read_sweeps, variant_of

TEMPLATES = Path(__file__).parent
CURVES = "mIoU of the seeds over the background threshold, and their precision over recall; the tables give numbers"
TRAINING_CURVES = "loss, and mAP of the classifiers, over the steps of each training; the table gives the last values"


@dataclass(frozen=True)
class Settings:
    experiment: str
    data: Path
    settings: Path
    """Resolved settings of the experiment, YAML."""
    cams: tuple[Path, ...]
    """Of the main variant; they hold the seed split."""
    confident: tuple[Path, ...]
    """Folders of confident labels that hold the seed split, as do those of the pseudo labels; or none."""
    pseudo: tuple[Path, ...]
    predictions: tuple[Path, ...]
    """Folders with raw/ and, where a CRF was asked for, crf/ of the validation split."""
    trainings: tuple[Path, ...]
    """METHOD/GRIDS/{classify,irnet,affinitynet,deeplab}.csv, as far as there are such."""
    checkpoints: tuple[Path, ...]
    """METHOD/GRIDS/*.pt, whose digests are listed."""
    sweeps: tuple[Path, ...]
    """METHOD/GRIDS/sweep.csv of every variant that is measured; none where there are no masks."""
    measured: tuple[Path, ...]
    """pseudo.csv, val-raw.csv and val-crf.csv of the main variant, as far as they were asked for."""
    benchmarks: Path
    """Folder of Snakemake's benchmark files; what is not there is not shown."""
    out: Path
    samples: int = 12
    """Images that the gallery shows of each split."""


class Gallery(NamedTuple):
    """Samples of a split that has `size` images."""

    title: str
    size: int
    samples: list[Sample]


class Cost(NamedTuple):
    """What a step took, over its jobs (shards): minutes in all, peak memory (MB) of the largest, NaN if unknown."""

    step: str
    jobs: int
    minutes: float
    memory: float


class Training(NamedTuple):
    """Where a training ended."""

    name: str
    variant: str
    steps: int
    loss: float
    ap: float
    """mAP on the validation split in percent; NaN where it is not measured."""
    minutes: float


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    text = settings.settings.read_text(encoding="utf-8")
    resolved = yaml.safe_load(text)
    sweeps, ious = read_sweeps(settings.sweeps), read_ious(settings.measured)
    curves, threshold = read_trainings(settings.trainings), resolved["cam"]["threshold"]
    content = {
        "experiment": settings.experiment,
        "version": ppl.__version__,
        "resolved": resolved,
        "settings_text": text,
        "classes": dataset.classes,
        "measures": headline(resolved, sweeps, ious),
        "per_class": per_class(dataset.classes, resolved, sweeps, ious),
        "curves": Markup(svg(lambda: draw(sweeps, threshold), "curves", CURVES)) if sweeps else None,
        "trainings": [last_row(kind, variant, rows) for kind in curves for variant, rows in curves[kind].items()],
        "training_curves": Markup(svg(lambda: draw_trainings(curves), "trainings", TRAINING_CURVES)),
        "legend": legend(dataset.classes),
        "galleries": galleries(settings, dataset, resolved),
        "costs": costs(read_benchmarks(settings.benchmarks)),
        "checkpoints": [(f"{variant_of(path)}/{path.name}", file_digest(path)[:16]) for path in settings.checkpoints],
    }
    write_text(settings.out, render(content))


def render(content: Mapping[str, Any]) -> str:
    """HTML of the page; every text in `content` that is not Markup is escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    return environment.get_template("page.html").render(content)


def number(value: float | None, digits: int = 1) -> str:
    """A number with that many decimals; a dash for one that is not known."""
    return "\N{EN DASH}" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def per_class(
    classes: Sequence[str],
    resolved: Mapping[str, Any],
    sweeps: Mapping[str, pd.DataFrame],
    ious: Mapping[str, pd.DataFrame],
) -> dict[str, list[float]]:
    """IoU in percent by column: background, the classes, and the mean; empty where nothing is measured."""
    columns = {}
    if resolved["main"] in sweeps:
        row = fixed_row(sweeps[resolved["main"]], resolved["cam"]["threshold"])
        # By position, as a name may be that of another column: the last C+1 are background and the classes.
        values = [float(value) for value in row.iloc[-len(classes) - 1 :]]
        columns[f"seed at {row['threshold']:.2f}"] = [*values, float(row["miou"])]
    captions = {"pseudo": "pseudo label", "val-raw": "network, raw", "val-crf": "network, CRF"}
    return columns | {captions[stem]: [float(v) for v in ious[stem]["iou"]] for stem in captions if stem in ious}


def galleries(settings: Settings, dataset: Dataset, resolved: Mapping[str, Any]) -> list[Gallery]:
    """Samples at even distances of the lists of the seed split and of the validation split."""
    names = resolved["data"]["seed_split"], resolved["data"]["val_split"]
    seed, val = (dataset.split(name) for name in names)
    kinds = {"raw": "network, raw"} | ({"crf": "network, CRF"} if resolved["segment"]["crf"] else {})
    seeds = seed_samples(
        dataset,
        evenly(seed, settings.samples),
        cams=settings.cams,
        threshold=resolved["cam"]["threshold"],
        confident=settings.confident,
        pseudo=settings.pseudo,
    )
    predictions = {caption: [folder / kind for folder in settings.predictions] for kind, caption in kinds.items()}
    predicted = val_samples(dataset, evenly(val, settings.samples), predictions)
    return [
        Gallery(f"Seeds and labels, split {names[0]}", len(seed), seeds),
        Gallery(f"Predictions, split {names[1]}", len(val), predicted),
    ]


def read_trainings(paths: Iterable[Path]) -> dict[str, dict[str, pd.DataFrame]]:
    """Logs of trainings by kind, in the order of the method, then by variant."""
    curves: dict[str, dict[str, pd.DataFrame]] = {kind: {} for kind in TRAININGS}
    for path in paths:
        curves[path.stem][variant_of(path)] = pd.read_csv(path)
    return {kind: variants for kind, variants in curves.items() if variants}


def last_row(kind: str, variant: str, rows: pd.DataFrame) -> Training:
    """Where a training ended, from its log."""
    last = rows.iloc[-1]
    ap = 100 * float(last.get("mAP", math.nan))
    return Training(TRAININGS[kind], variant, int(last["step"]), float(last["loss"]), ap, float(last["seconds"]) / 60)


def read_benchmarks(folder: Path) -> dict[str, pd.DataFrame]:
    """Snakemake's benchmark files by their path below `folder` without suffix; none where there is no folder."""
    paths = sorted(folder.rglob("*.tsv"))
    return {path.relative_to(folder).with_suffix("").as_posix(): pd.read_csv(path, sep="\t") for path in paths}


def costs(benchmarks: Mapping[str, pd.DataFrame]) -> list[Cost]:
    """Time and memory of each step, its shards taken together; the longest first."""
    steps: dict[str, list[pd.DataFrame]] = {}
    for name, rows in benchmarks.items():
        steps.setdefault(re.sub(r"[-/]\d+of\d+$", "", name), []).append(rows)
    found = []
    for step, parts in steps.items():
        # Snakemake writes NA or - where a job ended before it was looked at.
        jobs = pd.concat(parts)[["s", "max_rss"]].apply(pd.to_numeric, errors="coerce")
        found.append(Cost(step, len(jobs), float(jobs["s"].sum()) / 60, float(jobs["max_rss"].max())))
    return sorted(found, key=lambda cost: (-cost.minutes, cost.step))


if __name__ == "__main__":
    command(main, Settings)
