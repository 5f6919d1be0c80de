"""Writes the tables and figures of the paper for an experiment: ours, beside the paper's where its data are the same.

Each table is a CSV (a figure a line), a Markdown table and a picture; each figure a picture, with the numbers or images
in it as CSV. README.md in the folder shows them all.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from ppl.cam.store import open_store
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import VOC_COLOURS, read_mask
from ppl.data.photos import read_photo
from ppl.jobs.command import command
from ppl.jobs.files import atomic, write_text
from ppl.measure.curves import draw_precision_recall, draw_thresholds
from ppl.report.gallery import evenly
from ppl.report.heat import heat_over
from ppl.report.paper import read_paper
from ppl.report.sheet import draw_sheet
from ppl.report.summary import best_row, fixed_row

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

FIXED, BEST = "seed, fixed threshold", "seed, best threshold"
TITLES = {"crf": "seed with CRF", "pseudo": "pseudo label", "val": "network on val", "test": "network on test"}
MEAN = "mean"
LEAST_SPAN = 3  # percent of mIoU that a panel shows
COLUMNS = ("row", "variant", "measure", "class", "seeds", "ours", "spread", "paper", "difference")
NOTE = (
    "mIoU in percent. The best threshold of a sweep is chosen on the masks that it is measured with. "
    "Spread: standard deviation over training seeds."
)
IMAGES = 6  # rows of a sheet


@dataclass(frozen=True)
class Settings:
    plan: str
    """JSON of `ppl.workflow.plan.plan`."""
    data: Path
    out: Path
    """Folder."""
    files: tuple[Path, ...] = ()
    """Those that the plan names, to be kept in the record of what the tables were made of."""


def main(settings: Settings) -> None:
    planned = json.loads(settings.plan)
    dataset, paper = Dataset.open(settings.data), read_paper()
    with atomic(settings.out) as folder:
        folder.mkdir()
        sections = []
        for name, table in planned["tables"].items():
            reported = paper[paper["table"] == name] if planned["paper"] else paper.iloc[:0]
            rows = compare(table, planned["thresholds"], reported)
            rows.round(2).to_csv(folder / f"table-{name}.csv", index=False)
            _save(draw_table(rows), folder / f"table-{name}.png")
            text = markdown(rows, per_class=table["per_class"])
            write_text(folder / f"table-{name}.md", f"# Table {name}\n\n{NOTE}\n\n{text}")
            sections.append(f"## Table {name}\n\n{text}\n![Table {name}](table-{name}.png)\n")
        for name, figure in planned["figures"].items():
            caption = _draw_figure(figure, planned, dataset, folder / f"{name}.png")
            text = f"{caption}\n\n![{name}]({name}.png)\n"
            write_text(folder / f"{name}.md", f"# {name}\n\n{text}")
            sections.append(f"## {name}\n\n{text}")
        body = "\n".join(sections)
        write_text(folder / "README.md", f"# Tables and figures of {planned['experiment']}\n\n{NOTE}\n\n{body}")


def compare(table: Mapping[str, Any], thresholds: Mapping[str, float], paper: pd.DataFrame) -> pd.DataFrame:
    """One figure a line, with the columns COLUMNS: ours as mean and spread over the seeds, the paper's, the difference.

    `table` is that of a plan; `paper` holds the paper's lines of this table, all of which appear, those of other
    methods too. The paper's seeds stand beside ours at the best threshold, as it reports its best ones (Figure 9).
    """
    ours = {}
    for variant, measures in table["rows"].items():
        for measure, files in measures.items():
            for title, values in _values(measure, files, thresholds[variant]).items():
                kept = values if table["per_class"] else values.iloc[-1:]
                for kind, figures in kept.iterrows():
                    ours[variant, title, kind] = figures.to_numpy(float)
    theirs, names = {}, {}
    for line in paper.rename(columns={"class": "kind"}).itertuples():
        variant, title = line.variant or line.row, BEST if line.measure == "seed" else TITLES[line.measure]
        theirs[variant, title, line.kind or MEAN] = line.value
        names.setdefault(variant, line.row)
    known = {*table["rows"], *paper["variant"]} - {""}
    rows = []
    for key in dict.fromkeys([*ours, *theirs]):
        variant, title, kind = key
        figures, value = ours.get(key, np.empty(0)), theirs.get(key, np.nan)
        mean = figures.mean() if len(figures) else np.nan
        spread = figures.std(ddof=1) if len(figures) > 1 else np.nan
        name = names.get(variant, variant)
        rows.append(
            (name, variant if variant in known else "", title, kind, len(figures), mean, spread, value, mean - value)
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown(rows: pd.DataFrame, *, per_class: bool = False) -> str:
    """A table for readers: a line a variant (a class where `per_class`), a column a measure, ours and the paper's."""
    if per_class:
        rows = rows.assign(column=_names(rows) + ": " + rows["measure"], label=rows["class"])
    else:
        rows = rows.assign(column=rows["measure"], label=_labels(rows))
    theirs = (
        rows.groupby("column", sort=False)["paper"].count() > 0
    )  # a column that the paper has no figure in stands alone
    header = [""]
    for column in theirs.index:
        header += [column, "paper", "difference"] if theirs[column] else [column]
    text = [header, ["---"] * len(header)]
    for label, group in rows.groupby("label", sort=False):
        cells = [label]
        for column in theirs.index:
            found = group[group["column"] == column]
            row = found.iloc[0] if len(found) else pd.Series(dict.fromkeys(COLUMNS, np.nan))
            spread = f" ± {row['spread']:.1f}" if pd.notna(row["spread"]) else ""
            cells.append(_number(row["ours"]) + spread)
            cells += [_number(row["paper"]), _number(row["difference"], "+.1f")] if theirs[column] else []
        text.append(cells)
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |" for cells in text) + "\n"


def draw_table(rows: pd.DataFrame) -> Figure:
    """A panel a measure, a line a row: ours as a dot with its spread, the paper's as a ring."""
    rows = rows.assign(label=_labels(rows) if rows["class"].eq(MEAN).all() else _names(rows) + ", " + rows["class"])
    labels, measures = list(dict.fromkeys(rows["label"])), list(dict.fromkeys(rows["measure"]))
    size = (3 + 3 * len(measures), 1.2 + 0.26 * len(labels))
    figure, axes = plt.subplots(1, len(measures), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for panel, measure in zip(axes.flat, measures, strict=True):
        part = rows[rows["measure"] == measure]
        place = [labels.index(label) for label in part["label"]]
        panel.errorbar(part["ours"], place, xerr=part["spread"].fillna(0), fmt="o", label="ours")
        if rows["paper"].notna().any():
            panel.plot(part["paper"], place, "o", mfc="none", label="paper")
        panel.set(title=measure, xlabel="mIoU (%)" if part["class"].eq(MEAN).all() else "IoU (%)")
        panel.grid(alpha=0.3)
        low, high = panel.get_xlim()
        wider = max(0, (LEAST_SPAN - (high - low)) / 2)  # or a difference of a tenth would fill the panel
        panel.set_xlim(low - wider, high + wider)
    axes.flat[0].set_yticks(range(len(labels)), labels)
    axes.flat[0].set_ylim(len(labels) - 0.5, -0.5)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def cam_rows(
    dataset: Dataset, images: Sequence[str], stores: Mapping[str, Sequence[Path]]
) -> list[dict[str, np.ndarray]]:
    """Per image the photo, the CAM of each variant for the image's first class, and the truth where there is one."""
    rows = []
    with ExitStack() as stack:
        opened = {variant: stack.enter_context(open_store(paths)) for variant, paths in stores.items()}
        for image in images:
            photo, labelled = read_photo(dataset.photo(image)), dataset.labels_of(image)
            cams = {variant: store.read(image) for variant, store in opened.items()}
            tiles = {variant: heat_over(photo, cam, 0) if labelled else photo for variant, cam in cams.items()}
            name = dataset.classes[labelled[0] - 1] if labelled else "no class"
            rows.append({f"photo: {name}": photo, **tiles, **_truth(dataset, image)})
    return rows


def _draw_figure(figure: Mapping[str, Any], planned: Mapping[str, Any], dataset: Dataset, out: Path) -> str:
    """Draws a figure of a plan to `out`, what is in it to a CSV beside it; returns its caption."""
    shows, files = figure["shows"], {v: [Path(p) for p in paths] for v, paths in figure["rows"].items()}
    if shows in ("precision_recall", "thresholds"):
        sweeps = {variant: pd.read_csv(paths[0]) for variant, paths in files.items()}
        threshold = planned["thresholds"][next(iter(files))]
        drawn, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
        (draw_thresholds if shows == "thresholds" else draw_precision_recall)(axes, sweeps, threshold)
        _save(drawn, out)
        columns = ["threshold", "miou", "precision", "recall"]
        pd.concat({v: s[columns] for v, s in sweeps.items()}, names=["variant"]).droplevel(1).to_csv(
            out.with_suffix(".csv")
        )
        return f"Seeds of {planned['experiment']}, split {planned['seed_split']}, over the background threshold."
    if shows == "stages":
        paths = [paths[0] for paths in files.values()]
        shutil.copyfile(paths[0], out)
        pd.DataFrame({"variant": list(files)}).to_csv(out.with_suffix(".csv"), index=False)
        return f"Features of {', '.join(files)} behind the stem and each stage, a channel of each."
    split = planned["seed_split" if shows == "cams" else "val_split"]
    images = evenly(dataset.split(split), IMAGES)
    if shows == "cams":
        rows = cam_rows(dataset, images, files)
        caption = f"CAMs of each image's first class, split {split}, images at even distances of its list."
    else:
        found = {variant: find_maps(paths, images) for variant, paths in files.items()}
        rows = [
            {"photo": read_photo(dataset.photo(image)), **_truth(dataset, image)}
            | {variant: VOC_COLOURS[read_mask(maps[i])] for variant, maps in found.items()}
            for i, image in enumerate(images)
        ]
        caption = f"Predictions, split {split}, images at even distances of its list."
    _save(draw_sheet(rows), out)
    pd.DataFrame({"image": images}).to_csv(out.with_suffix(".csv"), index=False)
    return caption


def _values(measure: str, files: Sequence[str], threshold: float) -> dict[str, pd.DataFrame]:
    """By title of the measure: percent by class (rows, the mean last) and seed (columns)."""
    if measure == "seed":
        sweeps = [pd.read_csv(file) for file in files]
        return {
            FIXED: pd.concat([_classes(fixed_row(sweep, threshold)) for sweep in sweeps], axis=1),
            BEST: pd.concat([_classes(best_row(sweep)) for sweep in sweeps], axis=1),
        }
    # A class may well be called NA or null: only an empty IoU is missing.
    read = [pd.read_csv(f, keep_default_na=False, na_values={"iou": [""]}).set_index("class")["iou"] for f in files]
    return {TITLES[measure]: pd.concat(read, axis=1)}


def _classes(row: pd.Series) -> pd.Series:
    """IoU by class of a row of a sweep, and the mean as its last."""
    classes = row.filter(like="iou_").rename(lambda name: name.removeprefix("iou_"))
    return pd.concat([classes, pd.Series({MEAN: row["miou"]})]).astype(float)


def _labels(rows: pd.DataFrame) -> pd.Series:
    """The paper's name of a row and ours, where both have one."""
    both = (rows["variant"] != "") & (rows["variant"] != rows["row"])
    return rows["row"].where(~both, rows["variant"] + " (" + rows["row"] + ")")


def _names(rows: pd.DataFrame) -> pd.Series:
    """Our name of a row, the paper's where it is none of ours."""
    return rows["variant"].where(rows["variant"] != "", rows["row"])


def _truth(dataset: Dataset, image: str) -> dict[str, np.ndarray]:
    return {"truth": VOC_COLOURS[read_mask(dataset.mask(image))]} if dataset.has_masks else {}


def _number(value: float, form: str = ".1f") -> str:
    return "\N{EN DASH}" if pd.isna(value) else f"{value:{form}}"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Date": None, "Software": None})
    plt.close(figure)


if __name__ == "__main__":
    command(main, Settings)
