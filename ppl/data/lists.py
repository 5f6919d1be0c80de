"""Write a dataset folder's text files (layout: `ppl.data.dataset`), in UTF-8."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ppl.data.dataset import LISTS


def write_lists(
    folder: Path,
    classes: Sequence[str],
    labels: Mapping[str, Iterable[str]],
    splits: Mapping[str, Sequence[str]],
) -> None:
    """Write `classes.txt`, `labels.csv` and the list of each split into a dataset folder.

    `labels` holds class names by image id; images and names are written in the order of `labels`.
    """
    write_lines(folder / "classes.txt", classes)
    write_labels(folder / "labels.csv", labels)
    (folder / LISTS).mkdir(parents=True, exist_ok=True)
    for split, image_ids in splits.items():
        write_lines(folder / LISTS / f"{split}.txt", image_ids)


def write_labels(path: Path, labels: Mapping[str, Iterable[str]]) -> None:
    """Write class names by image as a table with the columns `image` and `classes`, names separated by `;`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "classes"])
        table.writerows([image_id, ";".join(names)] for image_id, names in labels.items())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write one line for each item."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
