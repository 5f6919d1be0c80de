"""The files that the tables and figures of an experiment need, from which the workflow plans its jobs."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ppl.cam.threshold import THRESHOLD
from ppl.experiment.settings import Figure, Table
from ppl.experiment.stored import SETTINGS
from ppl.measure.measures import SEED_CRF, SEED_FIXED, SWEEP, files_of
from ppl.workflow import paths
from ppl.workflow.config import Experiment


class Place(NamedTuple):
    """A variant of an experiment."""

    experiment: str
    variant: str


def place(experiment: str, name: str) -> Place:
    """Resolve a variant's name: METHOD/GRIDS is one of `experiment`, EXPERIMENT/METHOD/GRIDS one of another."""
    *other, method, grids = name.split("/")
    return Place(other[0] if other else experiment, f"{method}/{grids}")


def plan(name: str, experiments: Mapping[str, Experiment]) -> dict[str, Any]:
    """Return what `ppl.report.tables` draws for experiment `name`, with the files of each row.

    A row of a table has the files of all random seeds; of a figure only the first seed counts. `thresholds` holds the
    file of the seeds' threshold by measured file. No file is opened.
    """
    settings = experiments[name].settings
    tables = {title: _table(name, table, experiments) for title, table in settings.tables.items()}
    figures = {title: _figure(name, figure, experiments) for title, figure in settings.figures.items()}
    planned = {
        "experiment": name,
        "settings": f"results/{name}/{SETTINGS}",
        "tables": tables,
        "figures": figures,
    }
    measured = map(PurePosixPath, dict.fromkeys([*_table_files(planned), *_figure_files(planned)]))
    seeds = [file for file in measured if file.name in (SEED_FIXED.file, SEED_CRF.file)]
    return {**planned, "thresholds": {str(file): str(file.with_name(THRESHOLD)) for file in seeds}}


def files(planned: Mapping[str, Any]) -> list[str]:
    """Return all files that a plan names, each once."""
    beside = [planned["settings"], *planned["thresholds"].values()]
    return list(dict.fromkeys([*beside, *_table_files(planned), *map(folder_of, _figure_files(planned))]))


def folder_of(file: str) -> str:
    """Return the output of the job that writes a file: for raw/ and crf/ the folder of a shard's predictions."""
    path = PurePosixPath(file)
    return str(path.parent) if path.name in ("raw", "crf") else file


def _table(name: str, table: Table, experiments: Mapping[str, Experiment]) -> dict[str, Any]:
    """Return a table of a plan: files by variant and measure."""
    rows = {}
    for variant in table.variants:
        where = place(name, variant)
        rows[variant] = {key: _measured(where, key, experiments) for key in table.measures}
    return {"per_class": table.per_class, "rows": rows}


def _figure(name: str, figure: Figure, experiments: Mapping[str, Experiment]) -> dict[str, Any]:
    """Return a figure of a plan: files by variant."""
    shows = figure.shows
    return {"shows": shows, "rows": {v: _pictured(place(name, v), shows, experiments) for v in figure.variants}}


def _table_files(planned: Mapping[str, Any]) -> Iterator[str]:
    for table in planned["tables"].values():
        for row in table["rows"].values():
            for of_measure in row.values():
                yield from of_measure


def _figure_files(planned: Mapping[str, Any]) -> Iterator[str]:
    for figure in planned["figures"].values():
        for row in figure["rows"].values():
            yield from row


def _measured(where: Place, key: str, experiments: Mapping[str, Experiment]) -> list[str]:
    """Return the CSV files of a key of `tables:`, each for every random seed."""
    experiment = experiments[where.experiment]
    files = files_of(key, crf=experiment.settings.segment.prediction.crf)
    return [f"{seed.folder}/{where.variant}/{file}" for file in files for seed in paths.repetitions(experiment)]


def _pictured(where: Place, shows: str, experiments: Mapping[str, Experiment]) -> list[str]:
    """Return the files that a figure shows of a variant."""
    experiment = experiments[where.experiment]
    match shows:
        case "precision_recall" | "thresholds":
            return [f"{experiment.folder}/{where.variant}/{SWEEP}"]
        case "stages" | "branches":
            return [f"{experiment.folder}/{where.variant}/{shows}.png"]
        case "cams":
            return paths.cams(experiment, "seed_split", where.variant)
        case "segmentations":
            folders = paths.predictions(experiment, "val_split", where.variant)
            return [f"{folder}/{paths.best_kind(experiment)}" for folder in folders]
    raise ValueError(f"unknown kind of figure: {shows}")
