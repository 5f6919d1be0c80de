"""Which results the tables and figures of an experiment are made of: the workflow asks here what to compute."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ppl.workflow import config

COMPARABLE = {"voc", "coco"}
"""Sources of data on which the paper reports figures."""


class Place(NamedTuple):
    """A variant of an experiment."""

    experiment: str
    variant: str


def place(experiment: str, name: str) -> Place:
    """METHOD/GRIDS is a variant of `experiment`; EXPERIMENT/METHOD/GRIDS one of another experiment."""
    *other, method, grids = name.split("/")
    return Place(other[0] if other else experiment, f"{method}/{grids}")


def plan(experiment: str, experiments: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What `ppl.report.tables` draws, with the files that each row is made of, one a seed; none is opened here.

    `experiments` are resolved settings by name, repetitions with other seeds among them. Of the seeds of a figure with
    pictures only the first counts.
    """
    settings = experiments[experiment]
    names = {
        v: place(experiment, v)
        for part in ("tables", "figures")
        for t in settings[part].values()
        for v in t["variants"]
    }
    tables = {
        name: {
            "per_class": table.get("per_class", False),
            "rows": {
                variant: {measure: _measured(names[variant], measure, experiments) for measure in table["measures"]}
                for variant in table["variants"]
            },
        }
        for name, table in settings["tables"].items()
    }
    figures = {
        name: {
            "shows": figure["shows"],
            "rows": {v: _shown(names[v], figure["shows"], experiments) for v in figure["variants"]},
        }
        for name, figure in settings["figures"].items()
    }
    return {
        "experiment": experiment,
        "paper": settings["data"]["source"] in COMPARABLE,
        "seed_split": settings["data"]["seed_split"],
        "val_split": settings["data"]["val_split"],
        "thresholds": {name: experiments[where.experiment]["cam"]["threshold"] for name, where in names.items()},
        "tables": tables,
        "figures": figures,
    }


def files(planned: Mapping[str, Any]) -> list[str]:
    """All files that a plan names, each once."""
    measured = [
        f for t in planned["tables"].values() for row in t["rows"].values() for group in row.values() for f in group
    ]
    shown = [file for figure in planned["figures"].values() for group in figure["rows"].values() for file in group]
    return list(dict.fromkeys([*measured, *(folder_of(file) for file in shown)]))


def folder_of(file: str) -> str:
    """What a job writes: the folder of a shard's predictions, which holds raw/ and crf/; else the file itself."""
    path = PurePosixPath(file)
    return str(path.parent) if path.name in ("raw", "crf") else file


def _measured(where: Place, measure: str, experiments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    settings = experiments[where.experiment]
    file = {"seed": "sweep.csv", "crf": "seed-crf.csv", "pseudo": "pseudo.csv", "val": f"val-{_kind(settings)}.csv"}
    repeated = [config.repetition(where.experiment, settings["seeds"], seed) for seed in settings["seeds"]]
    return [f"results/{name}/{where.variant}/{file[measure]}" for name in repeated]


def _shown(where: Place, shows: str, experiments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if shows in ("precision_recall", "thresholds"):
        return _measured(where, "seed", experiments)[:1]
    settings = experiments[where.experiment]
    folder, data = f"results/{where.experiment}/{where.variant}", settings["data"]
    if shows == "stages":
        return [f"{folder}/stages.png"]
    if shows == "cams":
        return _shards(f"{folder}/cams/{data['seed_split']}-{{}}.h5", settings)
    return _shards(f"{folder}/predictions/{data['val_split']}-{{}}/{_kind(settings)}", settings)


def _shards(pattern: str, settings: Mapping[str, Any]) -> Sequence[str]:
    count = settings["hardware"]["shards"]
    return [pattern.format(f"{i}of{count}") for i in range(1, count + 1)]


def _kind(settings: Mapping[str, Any]) -> str:
    """Which predictions are the result: those after the CRF where there is one."""
    return "crf" if settings["segment"]["crf"] else "raw"
