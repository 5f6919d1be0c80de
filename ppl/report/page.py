"""Writes the report of an experiment: one HTML file that needs nothing else, for any browser and without network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
import yaml
from markupsafe import Markup

import ppl
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.files import file_digest, write_text
from ppl.report.costs import costs, read_benchmarks
from ppl.report.figures import draw_graph, draw_per_class, svg, threshold_curves
from ppl.report.gallery import Sample, Source, evenly, samples
from ppl.report.heat import heat_table
from ppl.report.origin import graph_of
from ppl.report.paper import reported
from ppl.report.pictures import legend
from ppl.report.summary import fixed_row, headline, read_ious, read_sweeps, variant_of
from ppl.report.trainings import TRAININGS, draw_trainings, read_trainings

TEMPLATES = Path(__file__).parent
CURVES = "mIoU of the seeds over the background threshold, and their precision over recall; the tables give numbers"
TRAINING_CURVES = "loss, and mAP of the classifiers, over the steps of each training; the table gives the last values"
PER_CLASS = "IoU of each class; the table gives the numbers"
GRAPH = "the steps behind this page from left to right; the table lists them"
NETWORK = {"raw": "network, raw", "crf": "network, CRF"}


@dataclass(frozen=True)
class Settings:
    experiment: str
    data: Path
    settings: Path
    """Resolved settings of the experiment, YAML."""
    cams: tuple[Path, ...]
    """METHOD/GRIDS/cams/*.h5 of every variant that is shown; they hold the seed split."""
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
    repeated: tuple[Path, ...] = ()
    """EXPERIMENT/METHOD/GRIDS/*.csv as `sweeps` and `measured`, of the repetitions with other seeds."""
    samples: int = 200
    """Images that the gallery shows of each split."""
    workers: int = 0
    """Processes that make the pictures; 0: this one."""


class Figure(NamedTuple):
    """A measure of a variant over the training seeds: mIoU in percent, its standard deviation (NaN for one seed)."""

    measure: str
    split: str
    variant: str
    threshold: float | None
    """Of the first seed."""
    mean: float
    spread: float
    seeds: int
    paper: tuple[float, str] | None
    """The paper's value and the table that has it."""


class Gallery(NamedTuple):
    """Samples of a split that has `size` images, and what the controls of the page offer for them."""

    name: str
    split: str
    size: int
    samples: list[Sample]
    cams: list[str]
    """Variants with CAMs, the main one last; none: nothing is a seed."""
    judged: list[str]
    """Label maps that are measured, by caption, with the seeds first where there are any."""


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
    columns = per_class(dataset.classes, resolved, sweeps, ious)
    names = ["background", *dataset.classes, "mean"]
    drawn, markers = threshold_curves(sweeps, threshold, "curves", CURVES) if sweeps else (None, [])
    shown = galleries(settings, dataset, resolved)
    graph = graph_of([*settings.cams, *settings.pseudo, *settings.predictions, *settings.measured, *settings.sweeps])
    content = {
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        "experiment": settings.experiment,
        "version": ppl.__version__,
        "resolved": resolved,
        "settings_text": text,
        "classes": dataset.classes,
        "figures": over_seeds(settings, resolved, sweeps, ious),
        "per_class": columns,
        "per_class_figure": Markup(svg(lambda: draw_per_class(columns, names), "per-class", PER_CLASS))
        if columns
        else None,
        "curves": Markup(drawn) if drawn else None,
        "trainings": [last_row(kind, variant, rows) for kind in curves for variant, rows in curves[kind].items()],
        "training_curves": Markup(svg(lambda: draw_trainings(curves), "trainings", TRAINING_CURVES)),
        "legend": legend(dataset.classes),
        "galleries": shown,
        "costs": costs(read_benchmarks(settings.benchmarks)),
        "checkpoints": [(f"{variant_of(path)}/{path.name}", file_digest(path)[:16]) for path in settings.checkpoints],
        "graph": graph,
        "graph_figure": Markup(svg(lambda: draw_graph(graph), "graph", GRAPH)) if graph.steps else None,
        "script_data": {
            "colours": {swatch.id: swatch.colour for swatch in legend(dataset.classes)},
            "names": {swatch.id: swatch.name for swatch in legend(dataset.classes)},
            "heat": heat_table(),
            "markers": markers,
            "sweeps": {variant: points(sweep) for variant, sweep in sweeps.items()},
            "samples": [[for_script(sample) for sample in gallery.samples] for gallery in shown],
        },
    }
    write_text(settings.out, render(content))


def points(sweep: pd.DataFrame) -> dict[str, list[float]]:
    """What the page's script needs of a sweep: a value a threshold."""
    return {name: sweep[name].tolist() for name in ("threshold", "miou", "precision", "recall")}


def for_script(sample: Sample) -> dict[str, Any]:
    """What the page's script needs of a sample: all but what the page shows as it is."""
    cams = {variant: planes._asdict() for variant, planes in sample.cams.items()}
    return {"classes": sample.classes, "size": sample.size, "cams": cams, "iou": sample.iou, "seeds": sample.seeds}


def over_seeds(
    settings: Settings,
    resolved: Mapping[str, Any],
    sweeps: Mapping[str, pd.DataFrame],
    ious: Mapping[str, pd.DataFrame],
) -> list[Figure]:
    """The headline over all seeds that were trained, beside the paper's where its data are the same."""
    seeds: dict[str, list[Path]] = {}
    for path in settings.repeated:
        seeds.setdefault(path.parents[2].name, []).append(path)
    repetitions = [
        headline(
            resolved,
            read_sweeps(path for path in paths if path.stem == "sweep"),
            read_ious(path for path in paths if path.stem != "sweep"),
        )
        for paths in seeds.values()
    ]
    values: dict[tuple[str, str], list[float]] = {}
    for measure in chain(*repetitions):
        values.setdefault((measure.measure, measure.variant), []).append(measure.value)
    figures = []
    for measure, split, variant, threshold, value in headline(resolved, sweeps, ious):
        all_values = [value, *values.get((measure, variant), [])]
        spread = float(np.std(all_values, ddof=1)) if len(all_values) > 1 else math.nan
        paper = reported(resolved["data"]["source"], settings.experiment, variant, measure)
        mean = float(np.mean(all_values))
        figures.append(Figure(measure, split, variant, threshold, mean, spread, len(all_values), paper))
    return figures


def render(content: Mapping[str, Any]) -> str:
    """HTML of the page; every text in `content` that is not Markup is escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "zip": zip}
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
    captions = {"pseudo": "pseudo label", "val-raw": NETWORK["raw"], "val-crf": NETWORK["crf"]}
    return columns | {captions[stem]: [float(v) for v in ious[stem]["iou"]] for stem in captions if stem in ious}


def galleries(settings: Settings, dataset: Dataset, resolved: Mapping[str, Any]) -> list[Gallery]:
    """Samples at even distances of the lists of the seed split and of the validation split."""
    cams: dict[str, tuple[Path, ...]] = {}
    for path in settings.cams:
        cams[variant_of(path)] = (*cams.get(variant_of(path), ()), path)
    cams = dict(sorted(cams.items(), key=lambda item: item[0] == resolved["main"]))  # the main variant last
    labels = {"confident label": settings.confident, "pseudo label": settings.pseudo}
    kinds = ["raw", *(["crf"] if resolved["segment"]["crf"] else [])]
    predictions = {NETWORK[kind]: tuple(folder / kind for folder in settings.predictions) for kind in kinds}
    sources = {
        "seed": Source(dataset, cams, {caption: folders for caption, folders in labels.items() if folders}),
        "val": Source(dataset, {}, predictions),
    }
    found = []
    for name, source in sources.items():
        split = resolved["data"][f"{name}_split"]
        images = dataset.split(split)
        shown = samples(source, evenly(images, settings.samples), workers=settings.workers)
        judged = [*(["seed"] if source.cams else []), *source.maps] if any(sample.iou for sample in shown) else []
        found.append(Gallery(name, split, len(images), shown, list(source.cams), judged))
    return found


def last_row(kind: str, variant: str, rows: pd.DataFrame) -> Training:
    """Where a training ended, from its log."""
    last = rows.iloc[-1]
    ap = 100 * float(last.get("mAP", math.nan))
    return Training(TRAININGS[kind], variant, int(last["step"]), float(last["loss"]), ap, float(last["seconds"]) / 60)


if __name__ == "__main__":
    command(main, Settings)
