"""Write the paper's tables and figures for an experiment: ours, beside the paper's if its data are the same.

Each table is a CSV (a number per line), a Markdown table and a picture; each figure is a picture, with a CSV of its
numbers or images. README.md in the folder shows them all.
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

from ppl.cam.heat import heat_over
from ppl.cam.store import open_store
from ppl.cam.threshold import Threshold, read_whole
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import VOC_COLOURS, read_mask
from ppl.data.photos import read_photo
from ppl.data.settings import Data
from ppl.experiment.stored import read as read_settings
from ppl.jobs.command import command
from ppl.jobs.files import atomic, write_text
from ppl.jobs.sampling import evenly
from ppl.measure.classes_measured import note_on_mean
from ppl.measure.curves import draw_precision_recall, draw_thresholds
from ppl.measure.measures import MEASURES, PSEUDO, SEED_BEST, SEED_FIXED, Measure, by_rule
from ppl.measure.thresholds import best_row, fixed_row
from ppl.report.paper import SOURCES, read_paper
from ppl.report.sheet import draw_sheet
from ppl.report.summary import labelled_share, read_iou

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

TITLES = {measure.key: measure.title for measure in MEASURES if measure.in_paper} | {"test": "network on test"}
"""Titles of the paper's measures; only the paper has results on test."""
MEAN = "mean"
MIN_SPAN = 3  # percent of mIoU across a panel
COLUMNS = ("row", "variant", "measure", "class", "seeds", "ours", "spread", "paper", "difference")
NOTE = (
    "mIoU in percent. The best threshold of a sweep is tuned on the masks that it is measured with. "
    "Spread: standard deviation over random seeds."
)
NOTE_ON_PAPER = (
    "The paper's seeds most likely come from IRNet's script, whose mirrored maps are misaligned; ours score up to 2 "
    "mIoU more for the same network: compare our rows with each other (docs/departures.md)."
)
IMAGES = 6  # rows of a sheet

DRAWN = {
    "branches": "Maps of each branch of {}, of its patches also with a rim, of all together, and after prototypes.",
    "stages": "Features of {} after the stem and each stage, one channel of each.",
}
"""Captions of figures that a step of their own draws."""


@dataclass(frozen=True)
class Settings:
    plan: str
    """JSON of `ppl.workflow.plan.plan`."""
    data: Path
    out: Path
    """Folder."""
    files: tuple[Path, ...] = ()
    """Files that the plan names, for the record of the inputs."""


def main(settings: Settings) -> None:
    planned = json.loads(settings.plan)
    dataset, paper = Dataset.open(settings.data), read_paper()
    data = read_settings(Path(planned["settings"])).data
    thresholds = {measured: read_whole(Path(file)) for measured, file in planned["thresholds"].items()}
    with atomic(settings.out) as folder:
        folder.mkdir()
        sections = []
        for name, table in planned["tables"].items():
            reported = paper[paper["table"] == name] if data.source in SOURCES else paper.iloc[:0]
            rows = compare(table, thresholds, reported)
            rows.round(2).to_csv(folder / f"table-{name}.csv", index=False)
            _save(draw_table(rows), folder / f"table-{name}.png")
            text = markdown(rows, per_class=table["per_class"])
            note = f"{NOTE_ON_PAPER}\n\n" if (reported["measure"] == "seed").any() else ""
            note += note_on_thresholds(table, thresholds) + note_on_labels(table) + note_on_means(table)
            write_text(folder / f"table-{name}.md", f"# Table {name}\n\n{NOTE}\n\n{note}{text}")
            sections.append(f"## Table {name}\n\n{note}{text}\n![Table {name}](table-{name}.png)\n")
        for name, figure in planned["figures"].items():
            out = folder / f"{name}.png"
            if figure["shows"] in ("precision_recall", "thresholds"):
                _draw_sweeps(figure, thresholds, out)
                split = f"{planned['experiment']}, split {data.seed_split}"
                caption = f"Seeds of {split}, over the background threshold."
            else:
                caption = _draw_pictures(figure, data, dataset, out)
            text = f"{caption}\n\n![{name}]({name}.png)\n"
            write_text(folder / f"{name}.md", f"# {name}\n\n{text}")
            sections.append(f"## {name}\n\n{text}")
        body = "\n".join(sections)
        write_text(folder / "README.md", f"# Tables and figures of {planned['experiment']}\n\n{NOTE}\n\n{body}")


def note_on_thresholds(table: Mapping[str, Any], thresholds: Mapping[str, Threshold]) -> str:
    """Return the thresholds of a table's rows that were chosen without masks, as a paragraph; empty if there are none.

    Of several random seeds the first counts.
    """
    first = {
        variant: thresholds[files[0]]
        for variant, measures in table["rows"].items()
        for files in measures.values()
        if files[0] in thresholds
    }
    listed = ", ".join(f"{variant} {t.threshold:.2f}" for variant, t in first.items() if t.rule == "auto")
    return f"Thresholds chosen without masks: {listed}.\n\n" if listed else ""


def note_on_labels(table: Mapping[str, Any]) -> str:
    """Return the labelled shares of a table's partial pseudo labels, as a paragraph; empty if there are none.

    Of several random seeds the first counts.
    """
    shares = {
        variant: labelled_share(read_iou(measures[PSEUDO.key][0]))
        for variant, measures in table["rows"].items()
        if measures.get(PSEUDO.key)
    }
    listed = ", ".join(f"{name} {share:.0f} %" for name, share in shares.items() if share is not None and share < 100)
    if not listed:
        return ""
    return f"Pseudo labels leave pixels unlabelled; their mIoU is that of the labelled ones: {listed}.\n\n"


def note_on_means(table: Mapping[str, Any]) -> str:
    """Return which numbers of a table are missing, or are means over a part of the classes; empty if none is.

    Of several random seeds the first counts.
    """
    notes = {
        f"{TITLES[key]}: {note}"
        for measures in table["rows"].values()
        for key, files in measures.items()
        if files and (note := note_on_mean(Path(files[0])))
    }
    return "".join(f"{note}.\n\n" for note in sorted(notes))


def compare(table: Mapping[str, Any], thresholds: Mapping[str, Threshold], paper: pd.DataFrame) -> pd.DataFrame:
    """Return a table of COLUMNS, a number per line: ours as mean and spread over random seeds, and the paper's.

    `table` is that of a plan, `thresholds` are those of its seeds by the measured files; `paper` holds the paper's
    lines of this table, all of which appear, also those of other methods. The paper's seeds stand beside ours at the
    best threshold, as it reports its best ones (Figure 9).
    """
    ours = {}
    for variant, measures in table["rows"].items():
        for key, files in measures.items():
            for title, by_class in _values(key, files, thresholds).items():
                lines = by_class if table["per_class"] else by_class.iloc[-1:]
                for name, of_seeds in lines.iterrows():
                    ours[variant, title, name] = of_seeds.to_numpy(float)
    theirs, row_names = {}, {}
    for line in paper.rename(columns={"class": "kind"}).itertuples():
        variant = line.variant or line.row
        theirs[variant, TITLES[line.measure], line.kind or MEAN] = line.value
        row_names.setdefault(variant, line.row)
    ours_too = {*table["rows"], *paper["variant"]} - {""}
    rows = []
    for variant, title, name in dict.fromkeys([*ours, *theirs]):
        of_seeds, value = ours.get((variant, title, name), np.empty(0)), theirs.get((variant, title, name), np.nan)
        mean = of_seeds.mean() if len(of_seeds) else np.nan
        spread = of_seeds.std(ddof=1) if len(of_seeds) > 1 else np.nan
        our_name = variant if variant in ours_too else ""
        row = row_names.get(variant, variant)
        rows.append((row, our_name, title, name, len(of_seeds), mean, spread, value, mean - value))
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown(rows: pd.DataFrame, *, per_class: bool = False) -> str:
    """Return a table for readers: a line per variant, or per class; a column per measure, ours and the paper's."""
    if per_class:
        rows = rows.assign(column=_names(rows) + ": " + rows["measure"], label=rows["class"])
    else:
        rows = rows.assign(column=rows["measure"], label=_labels(rows))
    theirs = rows.groupby("column", sort=False)["paper"].count() > 0  # whether the paper has numbers in a column
    header = [""]
    for column in theirs.index:
        header += [column, "paper", "difference"] if theirs[column] else [column]
    text = [header, ["---"] * len(header)]
    for label, group in rows.groupby("label", sort=False):
        cells = [label]
        for column in theirs.index:
            matches = group[group["column"] == column]
            row = matches.iloc[0] if len(matches) else pd.Series(dict.fromkeys(COLUMNS, np.nan))
            spread = f" ± {row['spread']:.1f}" if pd.notna(row["spread"]) else ""
            cells.append(_number(row["ours"]) + spread)
            cells += [_number(row["paper"]), _number(row["difference"], "+.1f")] if theirs[column] else []
        text.append(cells)
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |" for cells in text) + "\n"


def draw_table(rows: pd.DataFrame) -> Figure:
    """Draw a panel per measure and a line per row: ours as a dot with its spread, the paper's as a ring."""
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
        margin = max(0, (MIN_SPAN - (high - low)) / 2)  # so that a difference of a tenth does not fill the panel
        panel.set_xlim(low - margin, high + margin)
    axes.flat[0].set_yticks(range(len(labels)), labels)
    axes.flat[0].set_ylim(len(labels) - 0.5, -0.5)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def cam_rows(
    dataset: Dataset, image_ids: Sequence[str], stores: Mapping[str, Sequence[Path]]
) -> list[dict[str, np.ndarray]]:
    """Return per image its photo, the CAM of each variant for its first class, and its truth if there are masks."""
    rows = []
    with ExitStack() as stack:
        opened = {variant: stack.enter_context(open_store(paths)) for variant, paths in stores.items()}
        for image_id in image_ids:
            photo, labels = read_photo(dataset.photo(image_id)), dataset.labels_of(image_id)
            cams = {variant: store.read(image_id) for variant, store in opened.items()}
            tiles = {variant: heat_over(photo, cam, 0) if labels else photo for variant, cam in cams.items()}
            name = dataset.classes[labels[0] - 1] if labels else "no class"
            rows.append({f"photo: {name}": photo, **tiles, **_truth(dataset, image_id)})
    return rows


def _draw_pictures(figure: Mapping[str, Any], data: Data, dataset: Dataset, out: Path) -> str:
    """Draw a figure of images of a plan to `out`, and list its images in a CSV beside it; return its caption."""
    shows, files = figure["shows"], {variant: list(map(Path, paths)) for variant, paths in figure["rows"].items()}
    table = out.with_suffix(".csv")
    if shows in DRAWN:
        shutil.copyfile(next(iter(files.values()))[0], out)
        pd.DataFrame({"variant": list(files)}).to_csv(table, index=False)
        return DRAWN[shows].format(", ".join(files))
    split = data.seed_split if shows == "cams" else data.val_split
    image_ids = evenly(dataset.split(split), IMAGES)
    pd.DataFrame({"image": image_ids}).to_csv(table, index=False)
    if shows == "cams":
        _save(draw_sheet(cam_rows(dataset, image_ids, files)), out)
        return f"CAMs of each image's first class, split {split}, images at even distances in its list."
    maps = {variant: find_maps(paths, image_ids) for variant, paths in files.items()}
    rows = [
        {"photo": read_photo(dataset.photo(image_id)), **_truth(dataset, image_id)}
        | {variant: VOC_COLOURS[read_mask(of_variant[i])] for variant, of_variant in maps.items()}
        for i, image_id in enumerate(image_ids)
    ]
    _save(draw_sheet(rows), out)
    return f"Predictions, split {split}, images at even distances in its list."


def _draw_sweeps(figure: Mapping[str, Any], thresholds: Mapping[str, Threshold], out: Path) -> None:
    """Draw a figure of threshold sweeps of a plan to `out`, and write its numbers to a CSV beside it."""
    sweeps = {variant: pd.read_csv(paths[0]) for variant, paths in figure["rows"].items()}
    drawing, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    draw = draw_thresholds if figure["shows"] == "thresholds" else draw_precision_recall
    draw(axes, sweeps, {variant: thresholds[paths[0]] for variant, paths in figure["rows"].items()})
    _save(drawing, out)
    columns = ["threshold", "miou", "precision", "recall"]
    parts = {variant: sweep[columns] for variant, sweep in sweeps.items()}
    pd.concat(parts, names=["variant"]).droplevel(1).to_csv(out.with_suffix(".csv"))


def _values(key: str, files: Sequence[str], thresholds: Mapping[str, Threshold]) -> dict[str, pd.DataFrame]:
    """Return percent by class (rows, the mean last) and random seed (columns), by title of the measure."""
    if key != "seed":
        by_measure = {m: [file for file in files if Path(file).name == m.file] for m in MEASURES if m.key == key}
        return {
            _title(measure, of_seeds[0], thresholds): pd.concat(
                [read_iou(file).set_index("class")["iou"] for file in of_seeds], axis=1
            )
            for measure, of_seeds in by_measure.items()
            if of_seeds
        }
    sweeps = {file: pd.read_csv(file) for file in files}
    at_threshold = [_classes(fixed_row(sweep, thresholds[file].threshold)) for file, sweep in sweeps.items()]
    return {
        _title(SEED_FIXED, files[0], thresholds): pd.concat(at_threshold, axis=1),
        SEED_BEST.title: pd.concat([_classes(best_row(sweep)) for sweep in sweeps.values()], axis=1),
    }


def _title(measure: Measure, file: str, thresholds: Mapping[str, Threshold]) -> str:
    """Return the title of a measure whose first file is `file`: it depends on how the threshold of seeds came about."""
    return by_rule(measure.title, thresholds[file].rule) if file in thresholds else measure.title


def _classes(row: pd.Series) -> pd.Series:
    """Return the IoU by class of a row of a sweep, the mean last."""
    classes = row.filter(like="iou_").rename(lambda name: name.removeprefix("iou_"))
    return pd.concat([classes, pd.Series({MEAN: row["miou"]})]).astype(float)


def _labels(rows: pd.DataFrame) -> pd.Series:
    """Return the paper's name of a row and ours, if both have one."""
    both = (rows["variant"] != "") & (rows["variant"] != rows["row"])
    return rows["row"].where(~both, rows["variant"] + " (" + rows["row"] + ")")


def _names(rows: pd.DataFrame) -> pd.Series:
    """Return our name of a row, or the paper's if it is another method."""
    return rows["variant"].where(rows["variant"] != "", rows["row"])


def _truth(dataset: Dataset, image_id: str) -> dict[str, np.ndarray]:
    return {"truth": VOC_COLOURS[read_mask(dataset.mask(image_id))]} if dataset.has_masks else {}


def _number(value: float, form: str = ".1f") -> str:
    return "\N{EN DASH}" if pd.isna(value) else f"{value:{form}}"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Date": None, "Software": None})
    plt.close(figure)


if __name__ == "__main__":
    command(main, Settings)
