"""Measure masks against true masks: IoU per class and per photo, the worst first.

python -m ppl.measure predictions masks --classes classes.txt

Both folders hold PNGs of class ids under the same names: 0 is background, 1..C are the classes in the order of the
list, 255 in a true mask is ignored. Written: OUT/classes.csv and OUT/photos.csv.
"""

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tyro.conf import Positional

from ppl.data.findings import Finding, paragraphs
from ppl.data.mask_formats import mask_error
from ppl.data.masks import IGNORE, read_mask
from ppl.data.windows import MAX_WHOLE, pixel_limit
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, not_there
from ppl.jobs.parallel import run_all
from ppl.measure.classes_measured import IOU_COLUMN
from ppl.measure.label_maps import mean_text
from ppl.measure.metrics import confusion, iou, mean_iou

CHUNK = 1 << 20  # pixels counted at a time
FEW = 50  # pairs for which starting worker processes would take longer than the work
EXAMPLES = 3
LEGEND = "legend"
"""Name of a picture in a folder of `ppl.predict`, beside a CSV of this name."""


@dataclass(frozen=True)
class Settings:
    predictions: Positional[Path]
    """Folder of predicted masks, NAME.png."""
    truth: Positional[Path]
    """Folder of true masks, NAME.png."""
    classes: tuple[str, ...]
    """A text file with a class per line, a legend.csv of ppl.predict, or the names themselves; without background."""
    common: bool = False
    """Measure the photos that both folders hold; otherwise every true mask needs a predicted one."""
    out: Path = Path("measured")
    """Folder for classes.csv and photos.csv."""
    workers: int = min(8, os.cpu_count() or 1)
    """Processes that read masks."""


class Pair(NamedTuple):
    """A predicted and a true mask of one name."""

    name: str
    prediction: Path
    truth: Path


class Counts(NamedTuple):
    """Pixels of a pair by true id (row) and predicted id (column), and what is wrong with the pair."""

    name: str
    matrix: np.ndarray
    ignored: int
    fault: Finding | None = None


class Sums(NamedTuple):
    """Pixels of a photo by id (C+1,): labelled right, of the true mask, and of the predicted one."""

    name: str
    hits: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def main(settings: Settings) -> None:
    classes = class_names(settings.classes)
    names = ("background", *classes)
    pairs = find_pairs(settings.predictions, settings.truth, common=settings.common)
    workers = settings.workers if len(pairs) > FEW else 0
    count = partial(count_pair, len(classes))
    measured = run_all(count, pairs, workers=workers, total=len(pairs), name="masks measured", unit="mask")
    matrix, ignored, faults, sums = np.zeros((len(names), len(names)), np.int64), 0, [], []
    for pair in measured:
        matrix += pair.matrix
        ignored += pair.ignored
        faults += [pair.fault] if pair.fault else []
        truth, predicted = pair.matrix.sum(axis=1), pair.matrix.sum(axis=0)
        sums.append(Sums(pair.name, np.diagonal(pair.matrix).copy(), truth, predicted))
    if faults:
        what = f"{len(faults)} of {len(pairs)} masks cannot be measured"
        where = f"{settings.predictions} and {settings.truth}"
        raise UserError(where, what, "correct them:", list(paragraphs(sorted(faults))))
    if not matrix[1:].any():
        why = f"0 and {IGNORE} alone, and {IGNORE} is ignored" if ignored else "background alone"
        raise UserError(settings.truth, f"holds {why}", f"write {classes[0]!r} as 1")
    sums.sort(key=lambda photo: photo.name)
    write_csv(settings.out / "classes.csv", class_rows(matrix, sums, names))
    write_csv(settings.out / "photos.csv", photo_rows(sums, names))
    absent = [name for name, pixels in zip(names, matrix.sum(axis=1), strict=True) if not pixels]
    if absent:
        print(f"no true pixel of {', '.join(absent)}: excluded from the mean")
    print(
        f"{mean_text(matrix)}, {len(pairs):,} photos -> {settings.out / 'classes.csv'}, {settings.out / 'photos.csv'}"
    )


def class_names(given: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a text file, of a legend.csv, or as they are named."""
    names = [*given]
    if len(given) == 1 and (os.path.exists(given[0]) or given[0].endswith((".txt", ".csv"))):
        path = Path(given[0])
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise not_there(path, "name a file with a class per line, or the classes") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(path, "not a readable text file", "save it as UTF-8, a class per line") from error
        names = [line.strip() for line in text.splitlines() if line.strip()]
        if names and names[0] == "id,class,colour":
            names = [row["class"] for row in csv.DictReader(text.splitlines())]
    where = given[0] if len(given) == 1 else "--classes"
    if names[:1] == ["background"]:
        names = names[1:]
    if not names:
        raise UserError(where, "no class", "list the classes in the order of their ids, from 1")
    if len(names) > IGNORE - 1:
        raise UserError(where, f"{len(names)} classes", f"a mask holds at most {IGNORE - 1}")
    twice = next((name for i, name in enumerate(names) if name in names[:i] or name == "background"), None)
    if twice is not None:
        raise UserError(where, f"class {twice!r} is listed twice or is background, id 0", "list each once, from id 1")
    return tuple(names)


def find_pairs(predictions: Path, truth: Path, *, common: bool = False) -> list[Pair]:
    """Return the pairs of masks, sorted by name.

    UserError for true masks without a predicted one; with `common` only if no true mask has one.
    """
    predicted, true = masks_in(predictions), masks_in(truth)
    missing = [name for name in true if name not in predicted]
    if missing and not (common and len(missing) < len(true)):
        shown = ", ".join(f"{name}.png" for name in missing[:EXAMPLES]) + ", ..." * (len(missing) > EXAMPLES)
        what = f"lacks {len(missing)} of the {len(true)} masks in {truth}: {shown}"
        if len(missing) == len(true):
            what += f"; it holds {next(iter(predicted))}.png"
            raise UserError(predictions, what, "give masks of one photo one name")
        raise UserError(predictions, what, "predict these photos, or add --common to measure the others")
    more = [name for name in predicted if name not in true]
    for names, folder, other in ((more, predictions, truth), (missing, truth, predictions)):
        if names:
            print(f"left out: {len(names)} of the masks in {folder}, not in {other}, such as {names[0]}.png")
    return [Pair(name, predicted[name], path) for name, path in true.items() if name in predicted]


def masks_in(folder: Path) -> dict[str, Path]:
    """Return the PNGs of a folder by their names, sorted."""
    if not folder.exists():
        raise not_there(folder, "name a folder of PNGs")
    if not folder.is_dir():
        raise UserError(folder, "not a folder", "name a folder of PNGs")
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        is_legend = path.stem == LEGEND and path.with_suffix(".csv").exists()
        if path.suffix.lower() == ".png" and path.name[0] != "." and not is_legend:
            if path.stem in masks:
                raise UserError(folder, f"{masks[path.stem].name} and {path.name} have one name", "keep one")
            masks[path.stem] = path
    if not masks:
        raise UserError(folder, "holds no PNG", "name a folder of masks NAME.png with class ids")
    return masks


def count_pair(classes: int, pair: Pair) -> Counts:
    """Return the counts of a pair of masks with ids 0..`classes`, or its fault."""
    empty = np.zeros((classes + 1, classes + 1), np.int64)
    try:
        truth, prediction = _read(pair.truth), _read(pair.prediction)
    except UserError as error:
        finding = Finding.of(error, str(error.where), "masks cannot be read")
        return Counts(pair.name, empty, 0, finding)
    fault = _fault(pair, truth, prediction, classes)
    if fault is not None:
        return Counts(pair.name, empty, 0, fault)
    rows = max(1, CHUNK // truth.shape[1])
    chunks = range(0, len(truth), rows)
    matrix = sum((confusion(truth[y : y + rows], prediction[y : y + rows], classes) for y in chunks), empty)
    return Counts(pair.name, matrix, int(truth.size - matrix.sum()))


def class_rows(matrix: np.ndarray, photos: Sequence[Sums], names: Sequence[str]) -> list[tuple]:
    """Return rows of the classes below a header: the lowest IoU first, without true pixels last, then the mean."""
    hits, truth, predicted = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    number = sum(photo.truth > 0 for photo in photos)
    rows = [
        (name, percent(value), percent_of(hit, t), percent_of(hit, p), int(t), int(n))
        for name, value, hit, t, p, n in zip(names, iou(matrix), hits, truth, predicted, number, strict=True)
    ]
    rows.sort(key=lambda row: (row[1] == "", float(row[1] or 0)))
    mean = ("mean", percent(mean_iou(matrix)), "", "", int(truth.sum()), len(photos))
    return [("class", "iou", "recall", "precision", "pixels", "photos"), *rows, mean]


def photo_rows(photos: Iterable[Sums], names: Sequence[str]) -> list[tuple]:
    """Return rows of the photos below a header, the lowest mean IoU first; a class in neither mask has no IoU.

    The mean of a photo is over the ids in either of its masks, so that a class predicted by mistake counts as 0.
    """
    rows = []
    for name, hits, truth, predicted in photos:
        union = truth + predicted - hits
        values = np.divide(hits, union, out=np.full(len(names), np.nan), where=union > 0)
        mean = values[union > 0].mean() if union.any() else np.nan
        rows.append((name, percent(mean), percent_of(hits.sum(), truth.sum()), *map(percent, values)))
    rows.sort(key=lambda row: (row[1] == "", float(row[1] or 0), row[0]))
    return [("image", "miou", "accuracy", *(f"{IOU_COLUMN}{name}" for name in names)), *rows]


def percent(share: float) -> str:
    """Return a share as percent; empty for NaN."""
    return "" if np.isnan(share) else f"{100 * share:.2f}"


def percent_of(part: int, whole: int) -> str:
    """Return a part of a whole as percent; empty for a whole of 0."""
    return f"{100 * part / whole:.2f}" if whole else ""


def write_csv(path: Path, rows: Iterable[Sequence]) -> None:
    """Write rows as CSV."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _read(path: Path) -> np.ndarray:
    with pixel_limit(MAX_WHOLE):
        try:
            return read_mask(path, most=MAX_WHOLE)
        except UserError as error:
            raise mask_error(path, error) from error


def _fault(pair: Pair, truth: np.ndarray, prediction: np.ndarray, classes: int) -> Finding | None:
    """Return what is wrong with the masks of a pair: their sizes, or ids that no class has."""
    if truth.shape != prediction.shape:
        (h, w), (height, width) = prediction.shape, truth.shape
        what = f"shape mismatch: expected {width}x{height}, as {pair.truth}, got {w}x{h}"
        return Finding(str(pair.prediction), what, "predict at the photo's size", "masks have another size")
    for path, mask, allowed in ((pair.truth, truth, {IGNORE}), (pair.prediction, prediction, set())):
        unknown = sorted({int(i) for i in np.unique(mask)} - {*range(classes + 1)} - allowed)
        if unknown:
            what, many = f"holds id {unknown[0]}", "masks hold ids of no class"
            return Finding(str(path), what, f"--classes names 1 to {classes}; complete the list, or correct them", many)
    return None


if __name__ == "__main__":
    command(main, Settings)
