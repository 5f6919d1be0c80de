"""Draw loss and mAP over the steps of each training of an experiment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd

from ppl.jobs.command import command
from ppl.jobs.files import atomic
from ppl.report.summary import variant_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

TRAININGS = {"classify": "Classifier", "refiner": "Refinement", "segmenter": "Segmentation"}


@dataclass(frozen=True)
class Settings:
    trainings: tuple[Path, ...]
    """METHOD/GRIDS/{classify,refiner,segmenter}.csv of the networks that are trained."""
    out: Path
    """PNG."""


def main(settings: Settings) -> None:
    figure = draw_trainings(read_trainings(settings.trainings))
    with atomic(settings.out) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def read_trainings(paths: Iterable[Path]) -> dict[str, dict[str, pd.DataFrame]]:
    """Read logs of trainings by kind, in the order of the method, then by variant."""
    curves: dict[str, dict[str, pd.DataFrame]] = {kind: {} for kind in TRAININGS}
    for path in paths:
        curves[path.stem][variant_of(path)] = pd.read_csv(path)
    return {kind: variants for kind, variants in curves.items() if variants}


def draw_trainings(curves: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Draw the loss over the steps of each training, and the classifiers' mAP on the validation split if measured.

    `curves` by kind of training (keys of TRAININGS), then by variant.
    """
    panels = [(kind, column) for kind in TRAININGS for column in ("loss", "mAP") if _has(curves.get(kind, {}), column)]
    figure, axes = plt.subplots(1, max(1, len(panels)), figsize=(10, 2.8), layout="constrained", squeeze=False)
    for panel, (kind, column) in zip(axes.flat, panels, strict=False):
        for variant, rows in curves[kind].items():
            if column in rows:
                values = 100 * rows[column] if column == "mAP" else rows[column]
                panel.plot(rows["step"], values, ".-", label=variant)
        unit = " (%)" if column == "mAP" else ""
        panel.set(title=f"{TRAININGS[kind]}: {column}{unit}", xlabel="step")
        panel.grid(alpha=0.3)
        if len(curves[kind]) > 1:
            panel.legend(fontsize="small")
    return figure


def _has(curves: Mapping[str, pd.DataFrame], column: str) -> bool:
    return any(column in rows for rows in curves.values())


if __name__ == "__main__":
    command(main, Settings)
