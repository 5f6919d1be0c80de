"""Figures of the report page, as SVG in the page's colours of text and background."""

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ppl.cam.threshold import Threshold
from ppl.measure.curves import draw
from ppl.report.origin import Graph, Step, columns, next_steps

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# Placeholder colours that no plotted line uses; the SVG has the page's colours of text and background instead.
TEXT, GROUND = "#010203", "#fdfcfb"
BAR = 0.05
"""Width of a bar of the histogram of thresholds."""
STYLE = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), TEXT),
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": GROUND,
    "savefig.facecolor": "none",
    "figure.dpi": 72,  # as in SVG, so that canvas coordinates equal those of the file
}


def svg(draw: Callable[[], Figure], name: str, label: str) -> str:
    """Return the figure that `draw` creates as an SVG element for HTML; `label` describes it for screen readers.

    All its ids start with `name`, so that several figures can share a page. Equal figures give equal text (no date).
    """
    with plt.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = draw()
        return _element(figure, name, label)


def threshold_curves(
    sweeps: Mapping[str, pd.DataFrame], thresholds: Mapping[str, Threshold], name: str, label: str
) -> tuple[str, list[dict[str, Any]]]:
    """Return the SVG of `ppl.measure.curves.draw`, and the position of each row of each sweep on its two panels.

    A marker has the keys variant, colour, x and y; x and y are lists with a coordinate per row, in the SVG's viewBox.
    """
    with plt.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = draw(sweeps, thresholds)
        element, markers = _element(figure, name, label), []  # this also computes the layout of the panels
        for axes, (across, up) in zip(figure.axes, (("threshold", "miou"), ("recall", "precision")), strict=True):
            for number, (variant, sweep) in enumerate(sweeps.items()):
                x, y = axes.transData.transform(sweep[[across, up]].to_numpy(float)).T
                places = {"x": x.round(1).tolist(), "y": (figure.bbox.height - y).round(1).tolist()}
                markers.append({"variant": variant, "colour": matplotlib.colors.to_hex(f"C{number}"), **places})
        return element, markers


def _element(figure: Figure, name: str, label: str) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    plt.close(figure)
    element = text.getvalue()
    element = element[element.index("<svg") :].replace(TEXT, "currentColor").replace(GROUND, "var(--ground)")
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", element)
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def draw_thresholds_of_photos(thresholds: Mapping[str, Threshold]) -> Figure:
    """Draw histograms of the photos' thresholds: per variant a solid line of deep and a dashed one of shallow features.

    A vertical line marks the chosen threshold, the higher of both means.
    """
    figure, axes = plt.subplots(figsize=(10, 3), layout="constrained")
    for number, (name, chosen) in enumerate(thresholds.items()):
        for of_photos, line in ((chosen.deep, "-"), (chosen.shallow, "--")):
            heights, edges = bars(of_photos, chosen.photos)
            axes.stairs(heights, edges, linestyle=line, color=f"C{number}")
        axes.axvline(chosen.threshold, color=f"C{number}", linewidth=1, label=f"{name}: {chosen.threshold:.2f}")
    for line, features in (("-", "deep"), ("--", "shallow")):
        axes.plot([], [], line, color=TEXT, label=f"{features} features")
    axes.set(xlabel="threshold at which seed and rest differ most", ylabel="photos (%)", ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure


def bars(of_photos: Sequence[float], photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what percentage of `photos` has its threshold in each bar, (N,), and the edges of the bars, (N + 1,)."""
    # Half a hundredth lower, so that a threshold of two decimals lies within a bar, not on its edge.
    edges = BAR * np.arange(round(1 / BAR) + 2) - 0.005
    counts, _ = np.histogram(of_photos, edges)
    return 100 * counts / photos, edges


def draw_per_class(columns: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    """Draw the IoU in percent of each class: a line per class, a dot per column of `columns`; NaN is omitted."""
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.24 * len(names)), layout="constrained")
    places = np.arange(len(names))
    for number, (caption, values) in enumerate(columns.items()):
        axes.plot(np.asarray(values, float), places, "osD^v"[number % 5], label=caption, alpha=0.85)
    axes.set_yticks(places, names)
    axes.set(xlabel="IoU (%)", xlim=(-1, 101), ylim=(len(names) - 0.5, -0.5))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(columns))
    return figure


def draw_graph(graph: Graph) -> Figure:
    """Draw the steps from left to right, with an arrow from each step to those that read its output."""
    layers = columns(graph)
    rows = max(map(len, layers))
    figure, axes = plt.subplots(figsize=(max(10, 1.5 * len(layers)), 0.75 * rows), layout="constrained")
    axes.set(xlim=(-0.5, len(layers) - 0.5), ylim=(rows, 0))
    axes.axis("off")
    box = {"boxstyle": "round,pad=0.4", "facecolor": GROUND, "edgecolor": TEXT, "linewidth": 0.8}
    place: dict[Step, tuple[float, float]] = {}
    for x, steps in enumerate(layers):
        for i, step in enumerate(steps):
            place[step] = (x, (i + 0.5) * rows / len(steps))
            text = f"{step.module}\n{step.variant}".strip().replace("-", "-\n", step.variant.count("-") // 2)
            axes.text(*place[step], text, ha="center", va="center", fontsize=8, bbox=box, zorder=3)
    # A step may read outputs of several earlier ones; arrows implied by a longer path are omitted.
    for before, after in next_steps(graph):
        arrow = {"arrowstyle": "-|>", "color": TEXT, "alpha": 0.6, "shrinkA": 34, "shrinkB": 36, "linewidth": 0.9}
        axes.annotate("", place[after], place[before], arrowprops=arrow, zorder=1)
    return figure
