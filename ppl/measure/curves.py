"""Draw threshold and precision-recall curves of one or several sweeps (Figures 7 and 9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd

from ppl.cam.settings import Cam
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.measure.thresholds import read_sweep

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings:
    sweeps: tuple[Path, ...]
    names: tuple[str, ...]
    out: Path
    cam: Cam = Cam()
    """Its threshold is marked in the figure."""


def main(settings: Settings) -> None:
    if len(settings.sweeps) != len(settings.names):
        raise UserError(
            "--names", f"{len(settings.sweeps)} sweeps but {len(settings.names)} names", "give one name per sweep"
        )
    sweeps = {name: read_sweep(path) for name, path in zip(settings.names, settings.sweeps, strict=True)}
    with atomic(settings.out) as temporary:
        draw(sweeps, settings.cam.threshold).savefig(temporary, metadata={"Date": None})


def draw(sweeps: Mapping[str, pd.DataFrame], threshold: float) -> Figure:
    """Draw mIoU over the threshold at the left, precision over recall at the right; a curve per sweep."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    draw_thresholds(left, sweeps, threshold)
    draw_precision_recall(right, sweeps, threshold)
    return figure


def draw_thresholds(axes: Axes, sweeps: Mapping[str, pd.DataFrame], threshold: float) -> None:
    """Draw mIoU over the threshold (Figure 9): a curve per sweep, a dot at its best, a line at the fixed threshold."""
    for name, sweep in sweeps.items():
        best = sweep.loc[sweep["miou"].idxmax()]
        label = f"{name}, best {best['miou']:.1f} at {best['threshold']:.2f}"
        (line,) = axes.plot(sweep["threshold"], sweep["miou"], label=label)
        axes.plot(best["threshold"], best["miou"], "o", color=line.get_color())
    axes.axvline(threshold, color="grey", linestyle=":", label=f"fixed threshold {threshold:.2f}")
    axes.set(xlabel="background threshold", ylabel="mIoU (%)", xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()


def draw_precision_recall(axes: Axes, sweeps: Mapping[str, pd.DataFrame], threshold: float) -> None:
    """Draw precision over recall (Figure 7): a curve per sweep, a dot at the fixed threshold."""
    for name, sweep in sweeps.items():
        (line,) = axes.plot(sweep["recall"], sweep["precision"], label=name)
        fixed = sweep.iloc[(sweep["threshold"] - threshold).abs().idxmin()]
        axes.plot(fixed["recall"], fixed["precision"], "o", color=line.get_color())
    axes.set(xlabel="recall (%)", ylabel="precision (%)", title="dots: at the fixed threshold")
    axes.grid(alpha=0.3)
    axes.legend()


if __name__ == "__main__":
    command(main, Settings)
