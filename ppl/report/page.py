"""Write the report of an experiment: one self-contained HTML file for any browser, without network access."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

import ppl
from ppl.cam.heat import PHOTO_SHARE, heat_table
from ppl.cam.threshold import THRESHOLD, Threshold
from ppl.data.dataset import Dataset
from ppl.experiment.settings import Experiment
from ppl.experiment.stored import read
from ppl.jobs.command import command
from ppl.jobs.files import file_digest, write_text
from ppl.jobs.sampling import evenly
from ppl.measure.classes_measured import note_on_mean
from ppl.measure.measures import HEADLINE, MEASURES, NETWORK, PSEUDO, by_rule, prediction_kinds
from ppl.measure.thresholds import fixed_row, has_mean
from ppl.report.classes import SHRUNK, STAGES, ClassCounts, read_counts, vanishing, warnings
from ppl.report.costs import costs, read_benchmarks
from ppl.report.figures import draw_graph, draw_per_class, draw_thresholds_of_photos, svg, threshold_curves
from ppl.report.gallery import Sample, Source, samples
from ppl.report.origin import graph_of
from ppl.report.paper import reported
from ppl.report.pictures import OUTCOMES, legend
from ppl.report.summary import headline, read_ious, read_sweeps, read_thresholds, variant_of
from ppl.report.trainings import TRAININGS, draw_trainings, read_trainings

TEMPLATES = Path(__file__).parent
CURVES = "mIoU of the seeds over the background threshold, and their precision over recall; the tables give numbers"
TRAINING_CURVES = "loss, and mAP of the classifiers, over the steps of each training; the table gives the final values"
OF_PHOTOS = "histogram of the thresholds at which seed and rest differ most, photo by photo, which decide the threshold"
PER_CLASS = "IoU of each class; the table gives the numbers"
GRAPH = "the steps that led to this page, from left to right; the table lists them"


@dataclass(frozen=True)
class Settings:
    experiment: str
    data: Path
    settings: Path
    """Resolved settings of the experiment, YAML."""
    cams: tuple[Path, ...]
    """METHOD/GRIDS/cams/*.h5 of every variant on the page; they hold the seed split."""
    reliable: tuple[Path, ...]
    """Folders of reliable labels, which contain the seed split, as do those of the pseudo labels; or none."""
    pseudo: tuple[Path, ...]
    predictions: tuple[Path, ...]
    """Folders with raw/ and, if there is a CRF, crf/ of the validation split."""
    trainings: tuple[Path, ...]
    """METHOD/GRIDS/{classify,refiner,segmenter}.csv of the networks that are trained."""
    checkpoints: tuple[Path, ...]
    """METHOD/GRIDS/*.pt, whose digests the page lists."""
    sweeps: tuple[Path, ...]
    """METHOD/GRIDS/sweep.csv of every measured variant; none if there are no masks."""
    thresholds: tuple[Path, ...]
    """METHOD/GRIDS/threshold.json of every variant on the page."""
    measured: tuple[Path, ...]
    """pseudo.csv, val-raw.csv and, if there is a CRF, val-crf.csv of the main variant."""
    classes: Path
    """classes.csv of the main variant."""
    benchmarks: Path
    """Folder of Snakemake's benchmark files; missing ones are omitted."""
    out: Path
    repeated: tuple[Path, ...] = ()
    """Files as `sweeps`, `thresholds` and `measured`, below EXPERIMENT/METHOD/GRIDS, of the repetitions with other
    random seeds."""
    samples: int = 200
    """Images of each split in the gallery."""
    workers: int = 0
    """Processes that encode the pictures; 0: this one."""


class Figure(NamedTuple):
    """A measure of a variant over its random seeds: mean mIoU in percent and standard deviation (NaN for one seed)."""

    measure: str
    split: str
    variant: str
    threshold: float | None
    """Of the first seed."""
    mean: float
    spread: float
    random_seeds: int
    paper: tuple[float, str] | None
    """The paper's value and its table; None beside partial pseudo labels, as the paper's are complete."""
    labelled: float | None
    """Percent of the pixels that have a label, of the first seed, if pseudo labels are partial."""


class Gallery(NamedTuple):
    """Samples of a split of `size` images, and the choices that the page's controls offer for them."""

    name: str
    split: str
    size: int
    samples: list[Sample]
    cams: list[str]
    """Variants with CAMs, the main one last; if empty, the gallery has no seeds."""
    judged: list[str]
    """Captions of the measured label maps, the seeds first."""


class Training(NamedTuple):
    """The last values of a training."""

    name: str
    variant: str
    steps: int
    loss: float
    ap: float
    """mAP on the validation split in percent; NaN if it is not measured."""
    minutes: float


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    resolved = read(settings.settings)
    sweeps, ious = read_sweeps(settings.sweeps), read_ious(settings.measured)
    curved = {variant: sweep for variant, sweep in sweeps.items() if has_mean(sweep)}
    curves, thresholds = read_trainings(settings.trainings), read_thresholds(settings.thresholds)
    columns = per_class(dataset.classes, resolved, sweeps, thresholds, ious)
    names = ["background", *dataset.classes, "mean"]
    curve_figure, markers = threshold_curves(curved, thresholds, "curves", CURVES) if curved else (None, [])
    class_figure = svg(lambda: draw_per_class(columns, names), "per-class", PER_CLASS) if columns else None
    chosen = {variant: threshold for variant, threshold in thresholds.items() if threshold.rule == "auto"}
    of_photos = svg(lambda: draw_thresholds_of_photos(chosen), "of-photos", OF_PHOTOS) if chosen else None
    sections = galleries(settings, dataset, resolved)
    counts = read_counts(settings.classes)
    of_seeds = (*settings.cams, *settings.thresholds, *settings.sweeps)
    of_network = (*settings.pseudo, *settings.predictions, *settings.measured, settings.classes)
    graph = graph_of([*of_seeds, *of_network])
    content = {
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        "experiment": settings.experiment,
        "version": ppl.__version__,
        "captions": {m.name: by_rule(m.caption, thresholds[resolved.main].rule) for m in MEASURES},
        "outcomes": OUTCOMES,
        "resolved": resolved,
        "settings_text": settings.settings.read_text(encoding="utf-8"),
        "classes": dataset.classes,
        "figures": over_seeds(settings, resolved, sweeps, thresholds, ious),
        "notes_on_means": notes_on_means([*settings.sweeps, *settings.measured]),
        "threshold": thresholds[resolved.main],
        "per_class": columns,
        "per_class_figure": Markup(class_figure) if class_figure else None,
        "counts": [(row, lost.stage if (lost := vanishing(row)) else None) for row in counts],
        "largest_share": largest_share(counts),
        "stages": STAGES,
        "warnings": warnings(counts),
        "shrunk": SHRUNK,
        "curves": Markup(curve_figure) if curve_figure else None,
        "of_photos": Markup(of_photos) if of_photos else None,
        "trainings": [last_row(kind, variant, rows) for kind in curves for variant, rows in curves[kind].items()],
        "training_curves": Markup(svg(lambda: draw_trainings(curves), "trainings", TRAINING_CURVES)),
        "legend": legend(dataset.classes),
        "galleries": sections,
        "costs": costs(read_benchmarks(settings.benchmarks)),
        "checkpoints": [(f"{variant_of(path)}/{path.name}", file_digest(path)[:16]) for path in settings.checkpoints],
        "graph": graph,
        "graph_figure": Markup(svg(lambda: draw_graph(graph), "graph", GRAPH)) if graph.steps else None,
        "script_data": script_data(dataset.classes, curved, markers, sections),
    }
    write_text(settings.out, render(content))


def script_data(
    classes: Sequence[str],
    sweeps: Mapping[str, pd.DataFrame],
    markers: Sequence[Mapping[str, Any]],
    sections: Sequence[Gallery],
) -> dict[str, Any]:
    """Return the data of the page's script, for JSON."""
    return {
        "colours": {swatch.id: swatch.colour for swatch in legend(classes)},
        "names": {swatch.id: swatch.name for swatch in legend(classes)},
        "heat": heat_table(),
        "photo_share": PHOTO_SHARE,
        "outcomes": {outcome.name: outcome._asdict() for outcome in OUTCOMES},
        "markers": markers,
        "sweeps": {variant: points(sweep) for variant, sweep in sweeps.items()},
        "samples": [[for_script(sample) for sample in gallery.samples] for gallery in sections],
    }


def points(sweep: pd.DataFrame) -> dict[str, list[float]]:
    """Return the columns of a sweep that the page's script reads, one value per threshold."""
    return {name: sweep[name].tolist() for name in ("threshold", "miou", "precision", "recall")}


def for_script(sample: Sample) -> dict[str, Any]:
    """Return the part of a sample that the page's script reads; the HTML contains the rest."""
    cams = {variant: planes._asdict() for variant, planes in sample.cams.items()}
    return {"classes": sample.classes, "size": sample.size, "cams": cams, "iou": sample.iou, "seeds": sample.seeds}


def over_seeds(
    settings: Settings,
    resolved: Experiment,
    sweeps: Mapping[str, pd.DataFrame],
    thresholds: Mapping[str, Threshold],
    ious: Mapping[str, pd.DataFrame],
) -> list[Figure]:
    """Return the headline over all random seeds, beside the paper's numbers if it has results on the same data."""
    values: dict[tuple[str, str], list[float]] = {}
    for paths in _by(lambda path: path.parents[2].name, settings.repeated).values():
        repeated_sweeps = read_sweeps(path for path in paths if path.stem == "sweep")
        repeated_thresholds = read_thresholds(path for path in paths if path.name == THRESHOLD)
        repeated_ious = read_ious(path for path in paths if path.suffix == ".csv" and path.stem != "sweep")
        for result in headline(resolved, repeated_sweeps, repeated_thresholds, repeated_ious):
            values.setdefault((result.measure, result.variant), []).append(result.value)
    figures = []
    for result in headline(resolved, sweeps, thresholds, ious):
        measure, split, variant, threshold, value, labelled = result
        of_seeds = [value, *values.get((measure, variant), [])]
        spread = float(np.std(of_seeds, ddof=1)) if len(of_seeds) > 1 else math.nan
        paper = reported(resolved.data.source, settings.experiment, variant, measure)
        beside = (None, labelled) if result.is_partial else (paper, None)
        figures.append(
            Figure(measure, split, variant, threshold, float(np.mean(of_seeds)), spread, len(of_seeds), *beside)
        )
    return figures


def notes_on_means(paths: Iterable[Path]) -> list[str]:
    """Return a line for each mIoU of these files that is missing or not over all classes, equal ones once.

    The classes that are left out have a dash in the page's table.
    """
    captions = {measure.file: measure.caption.partition(",")[0] for measure in reversed(MEASURES)}
    notes = ((captions[path.name], note_on_mean(path).partition(":")[0]) for path in paths)
    return list(dict.fromkeys(f"{caption}: {note}" for caption, note in notes if note))


def render(content: Mapping[str, Any]) -> str:
    """Return the HTML of the page; all text in `content` is escaped unless it is Markup."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "zip": zip}
    return environment.get_template("page.html").render(content)


def number(value: float | None, digits: int = 1) -> str:
    """Format a number with that many decimals; a dash if it is missing."""
    return "\N{EN DASH}" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def per_class(
    classes: Sequence[str],
    resolved: Experiment,
    sweeps: Mapping[str, pd.DataFrame],
    thresholds: Mapping[str, Threshold],
    ious: Mapping[str, pd.DataFrame],
) -> dict[str, list[float]]:
    """Return the IoU in percent of background, the classes, and the mean, by column; empty if nothing is measured."""
    columns = {}
    if resolved.main in sweeps:
        row = fixed_row(sweeps[resolved.main], thresholds[resolved.main].threshold)
        # By position, as a class may have the name of another column: the last C+1 are background and the classes.
        values = [float(value) for value in row.iloc[-len(classes) - 1 :]]
        columns[f"seed at {row['threshold']:.2f}"] = [*values, float(row["miou"])]
    for measure in HEADLINE:
        table = ious.get(Path(measure.file).stem)
        if table is not None:
            columns[measure.caption] = [float(value) for value in table["iou"]]
    return columns


def largest_share(counts: Sequence[ClassCounts]) -> float:
    """Return the largest share of pixels of any class at any stage, in percent; 0 if there is none."""
    shares = (count.share for row in counts for count in row.stages.values())
    return max((share for share in shares if not math.isnan(share)), default=0.0)


def galleries(settings: Settings, dataset: Dataset, resolved: Experiment) -> list[Gallery]:
    """Return samples of the seed split and of the validation split, at even distances in their lists."""
    cams = _by(variant_of, settings.cams)
    cams = dict(sorted(cams.items(), key=lambda item: item[0] == resolved.main))  # the main variant last
    labels = {"reliable label": settings.reliable, PSEUDO.title: settings.pseudo}
    kinds = prediction_kinds(crf=resolved.segment.prediction.crf)
    predictions = {NETWORK[kind].caption: tuple(folder / kind for folder in settings.predictions) for kind in kinds}
    sources = {
        "seed": Source(dataset, cams, {caption: folders for caption, folders in labels.items() if folders}),
        "val": Source(dataset, {}, predictions),
    }
    sections = []
    for name, source in sources.items():
        split = getattr(resolved.data, f"{name}_split")
        image_ids = dataset.split(split)
        pictures = samples(source, evenly(image_ids, settings.samples), workers=settings.workers)
        seeds = ["seed"] if source.cams else []
        judged = [*seeds, *source.maps] if any(sample.iou for sample in pictures) else []
        sections.append(Gallery(name, split, len(image_ids), pictures, list(source.cams), judged))
    return sections


def last_row(kind: str, variant: str, rows: pd.DataFrame) -> Training:
    """Return the last values of a training from its log."""
    last = rows.iloc[-1]
    ap = 100 * float(last.get("mAP", math.nan))
    return Training(TRAININGS[kind], variant, int(last["step"]), float(last["loss"]), ap, float(last["seconds"]) / 60)


def _by(key: Callable[[Path], str], paths: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Return paths grouped by a key, in the order of its first appearance."""
    groups: dict[str, tuple[Path, ...]] = {}
    for path in paths:
        groups[key(path)] = (*groups.get(key(path), ()), path)
    return groups


if __name__ == "__main__":
    command(main, Settings)
