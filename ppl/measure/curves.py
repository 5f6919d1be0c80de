"""Draw threshold and precision-recall curves of one or several sweeps (Figures 7 and 9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd

from ppl.cam.threshold import Threshold, read_whole
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.measure.classes_measured import NO_MEAN
from ppl.measure.measures import by_rule
from ppl.measure.thresholds import fixed_row, has_mean, read_sweep

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Settings:
    sweeps: tuple[Path, ...]
    thresholds: tuple[Path, ...]
    """JSON of `ppl.cam.choose_threshold` of each sweep, marked in the figure."""
    names: tuple[str, ...]
    out: Path


def main(settings: Settings) -> None:
    for flag, files in (("names", settings.names), ("thresholds", settings.thresholds)):
        if len(settings.sweeps) != len(files):
            raise UserError(f"--{flag}", f"{len(settings.sweeps)} sweeps but {len(files)} {flag}", "give one per sweep")
    sweeps = {name: read_sweep(path) for name, path in zip(settings.names, settings.sweeps, strict=True)}
    thresholds = {name: read_whole(path) for name, path in zip(settings.names, settings.thresholds, strict=True)}
    with atomic(settings.out) as temporary:
        draw(sweeps, thresholds).savefig(temporary, metadata={"Date": None})


def draw(sweeps: Mapping[str, pd.DataFrame], thresholds: Mapping[str, Threshold]) -> Figure:
    """Draw mIoU over the threshold at the left, precision over recall at the right; a curve per sweep."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    draw_thresholds(left, sweeps, thresholds)
    draw_precision_recall(right, sweeps, thresholds)
    return figure


def draw_thresholds(axes: Axes, sweeps: Mapping[str, pd.DataFrame], thresholds: Mapping[str, Threshold]) -> None:
    """Draw mIoU over the threshold (Figure 9): a curve per sweep, a dot at its best, its threshold by its name.

    A fixed threshold is a line, one chosen without masks a ring on the curve. A sweep without any mIoU has no curve.
    """
    for name, sweep in sweeps.items():
        if not has_mean(sweep):
            axes.plot([], [], label=f"{name}: {NO_MEAN}")
            continue
        best = sweep.loc[sweep["miou"].idxmax()]
        label = f"{name}, best {best['miou']:.1f} at {best['threshold']:.2f}"
        (line,) = axes.plot(sweep["threshold"], sweep["miou"], label=label)
        axes.plot(best["threshold"], best["miou"], "o", color=line.get_color())
        if thresholds[name].rule == "auto":
            ours = fixed_row(sweep, thresholds[name].threshold)
            label = f"{name}, {ours['miou']:.1f} at {thresholds[name].threshold:.2f}, chosen without masks"
            ring = {"marker": "o", "mfc": "none", "markersize": 11, "linestyle": "none", "color": line.get_color()}
            axes.plot(ours["threshold"], ours["miou"], label=label, **ring)
    for fixed in dict.fromkeys(thresholds[name] for name in sweeps if thresholds[name].rule == "fixed"):
        axes.axvline(fixed.threshold, color="grey", linestyle=":", label=str(fixed))
    axes.set(xlabel="background threshold", ylabel="mIoU (%)", xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()


def draw_precision_recall(axes: Axes, sweeps: Mapping[str, pd.DataFrame], thresholds: Mapping[str, Threshold]) -> None:
    """Draw precision over recall (Figure 7): a curve per sweep, a dot at its threshold."""
    for name, sweep in sweeps.items():
        (line,) = axes.plot(sweep["recall"], sweep["precision"], label=name)
        ours = fixed_row(sweep, thresholds[name].threshold)
        axes.plot(ours["recall"], ours["precision"], "o", color=line.get_color())
    rules = sorted({by_rule("fixed threshold", thresholds[name].rule) for name in sweeps})
    axes.set(xlabel="recall (%)", ylabel="precision (%)", title=f"dots: at the {' or '.join(rules)}")
    axes.grid(alpha=0.3)
    axes.legend()


if __name__ == "__main__":
    command(main, Settings)
