"""Sheets of pictures: a row per image, a column per view of it."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


def draw_sheet(rows: Sequence[Mapping[str, np.ndarray]]) -> Figure:
    """Draw a row per image and a captioned tile (h, w, 3) uint8 per column; rows may differ in length."""
    columns = max(len(row) for row in rows)
    size = (1.9 * columns, 1.9 * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, (name, tile) in zip(line, row.items(), strict=False):
            axis.imshow(tile)
            axis.set_title(name.replace("/", "/\n") if len(name) > 22 else name, fontsize=7)
    return figure
