"""Figures of the report page, as SVG that takes its colours of text and ground from the page."""

import re
from collections.abc import Callable, Mapping
from io import StringIO

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# Stand-ins that no plotted line has: in the SVG they become the page's own colours, light or dark.
TEXT, GROUND = "#010203", "#fdfcfb"
STYLE = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), TEXT),
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": GROUND,
    "savefig.facecolor": "none",
}
TRAININGS = {"classify": "Classifier", "irnet": "IRNet", "affinitynet": "AffinityNet", "deeplab": "DeepLab"}


def svg(draw: Callable[[], Figure], name: str, label: str) -> str:
    """SVG element, for use inside HTML, of the figure that `draw` makes; `label` tells in words what it shows.

    All ids in it start with `name`, so that several can share a page. Equal figures give equal text: no date in it.
    """
    with plt.rc_context({**STYLE, "svg.hashsalt": name}):
        figure, text = draw(), StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        plt.close(figure)
    element = text.getvalue()
    element = element[element.index("<svg") :].replace(TEXT, "currentColor").replace(GROUND, "var(--ground)")
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", element)
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def draw_trainings(curves: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """Loss over the steps of each training, and the classifiers' mAP on the validation split where it was measured.

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
