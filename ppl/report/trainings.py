"""Draws loss and mAP over the steps of each training of an experiment."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ppl.command import command
from ppl.files import atomic
from ppl.report.figures import TRAININGS, draw_trainings
from ppl.report.summary import variant_of


@dataclass(frozen=True)
class Settings:
    trainings: tuple[Path, ...]
    """METHOD/GRIDS/{classify,irnet,affinitynet,deeplab}.csv, as far as there are such."""
    out: Path
    """PNG."""


def main(settings: Settings) -> None:
    figure = draw_trainings(read_trainings(settings.trainings))
    with atomic(settings.out) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def read_trainings(paths: Iterable[Path]) -> dict[str, dict[str, pd.DataFrame]]:
    """Logs of trainings by kind, in the order of the method, then by variant."""
    curves: dict[str, dict[str, pd.DataFrame]] = {kind: {} for kind in TRAININGS}
    for path in paths:
        curves[path.stem][variant_of(path)] = pd.read_csv(path)
    return {kind: variants for kind, variants in curves.items() if variants}


if __name__ == "__main__":
    command(main, Settings)
