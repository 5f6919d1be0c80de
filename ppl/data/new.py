"""Makes a dataset and its settings of a folder of photos and a table of labels, and tells what to do next.

python -m ppl.data.new --photos my_photos --labels labels.csv --name mine
"""

import csv
import math
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Literal

from ppl.data.dataset import LISTS, Dataset
from ppl.data.findings import SHOWN, listed
from ppl.data.label_maps import SERVER_FOLDER
from ppl.data.own.divide import held_out
from ppl.data.own.photos import Found, Names, copies, find, ids_of
from ppl.data.own.table import Table, read_table
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, write_text

MAX_WORKERS = 8  # more processes seldom help a single GPU or a few cores
# Epochs by network, and for how many photos they are enough.
PAPER_EPOCHS = {"CLASSIFIER": (5, 10_000), "IRNET": (3, 10_000)}
SMALL_EPOCHS = {"CLASSIFIER": (4, 1_000), "IRNET": (2, 1_000)}
MOST_EPOCHS = 12  # more gained nothing on a hundred photos (docs/own-data.md)
CONVERTIBLE = {".heic", ".heif", ".avif", ".raw", ".dng", ".cr2", ".nef", ".arw"}
Labels = dict[PurePosixPath, frozenset[str]]


@dataclass(frozen=True)
class Settings:
    photos: Path
    """Folder of photos, of any depth."""
    labels: Path
    """Table: the name of a photo and its classes in each row, or a column of 0 and 1 for each class."""
    name: str = "mine"
    """Of the experiment: writes NAME/ and NAME.yaml, and results go to results/NAME."""
    masks: Path | None = None
    """Folder of masks, PNG of class numbers with the names of the photos: only to measure with, and some are enough."""
    classes: Path | None = None
    """Names of classes, one a line, in the order of the numbers in masks (from 1)."""
    val_share: float = 0.1
    """Of the labelled photos, to be held out."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """What the settings are made for."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", self.name) or self.name.startswith("-"):
            raise UserError(f"--name {self.name!r}", "is no name for an experiment", "use letters, digits, - and _")
        if not 0 < self.val_share < 1:
            raise UserError(f"--val-share {self.val_share}", "is no share", "choose one between 0 and 1, such as 0.1")
        if self.masks and not self.classes:
            raise UserError(
                "--masks", "no number tells its class", "name a file of --classes, one a line, that of 1 first"
            )

    def reads(self) -> tuple[Path, ...]:
        """Only the table: the photos are the user's, and many."""
        return (self.labels,)


@dataclass(frozen=True)
class Matched:
    """Labels by photo, and what in the table has no photo or several."""

    labels: Labels
    absent: tuple[str, ...]
    unclear: tuple[str, ...]


def main(settings: Settings) -> None:
    out, file = Path(settings.name), Path(f"{settings.name}.yaml")
    refuse_to_harm(out, settings.photos)
    found = find(settings.photos, without=[settings.masks] if settings.masks else [])
    if not found.photos:
        raise UserError(settings.photos, "holds no photos", "name a folder of JPEG, PNG, WebP or TIFF files")
    names = Names(found.photos)
    table = read_table(settings.labels, lambda cell: bool(names.find(cell)))
    matched = match(table, names)
    if matched.unclear:
        raise UserError(
            settings.labels,
            f"{len(matched.unclear):,} names fit several photos, such as {listed(matched.unclear[:SHOWN])}",
            "write them with folder and suffix",
        )
    ids = ids_of(found.photos)
    masks = match_masks(settings.masks, found, ids) if settings.masks else {}
    classes = table.classes if settings.classes is None else named_classes(settings.classes, table)
    labels = {ids[photo]: names for photo, names in sorted(matched.labels.items())}
    splits = divide(settings, found, ids, labels, set(masks))
    with atomic(out) as folder:
        write_dataset(folder, settings.photos.resolve(), ids, masks, classes, labels, splits)
        Dataset.open(folder)  # which refuses names of classes that it could not read again
    kept = file.exists()
    gpu = settings.device == "gpu" or (settings.device == "auto" and has_gpu())
    if not kept:
        write_text(file, settings_text(settings.name, gpu=gpu, photos=len(splits["train"])))
    print(report(settings, found, table, matched, splits, labels, classes, len(masks)))
    print(f"\nwritten: {out}/ (links to the photos, lists, labels)" + ("" if kept else f", {file} (settings)"))
    print(f"{file} is as you left it" if kept else f"settings are for {'a GPU' if gpu else 'CPU cores, without a GPU'}")
    print(f"masks will be in results/{settings.name}_test_preds/{SERVER_FOLDER}")
    results = f"results/{settings.name}_test_preds results/{settings.name}/report.html"
    print(f"\nnext:\n  python -m ppl.data.check --data {file}")
    print(f"  snakemake --cores {cores()} --configfile {file} -- {results}")


def refuse_to_harm(out: Path, photos: Path) -> None:
    """UserError where the dataset folder would replace something that this command has not written."""
    if photos.resolve().is_relative_to(out.resolve()):
        raise UserError(out, "is where your photos are", "choose another --name")
    if out.resolve().is_relative_to(photos.resolve()):
        raise UserError(photos, f"{out} would be written into your photos", "run the command in another folder")
    if os.path.lexists(out):
        known = {"JPEGImages", "SegmentationClass", "ImageSets", "classes.txt", "labels.csv"}
        ours = out.is_dir() and {path.name for path in out.iterdir()} <= known
        linked = chain.from_iterable((out / name).glob("*") for name in ("JPEGImages", "SegmentationClass"))
        if not ours or not all(path.is_symlink() for path in linked):
            raise UserError(out, "is there already, and not made by this command", "choose another --name")


def match(table: Table, names: Names) -> Matched:
    """Finds the photos that a table names."""
    labels: Labels = {}
    absent, unclear = [], []
    for name, shown in table.labels.items():
        photos = names.find(name)
        if len(photos) == 1:
            labels[photos[0]] = labels.get(photos[0], frozenset()) | shown
        else:
            (unclear if photos else absent).append(name)
    return Matched(labels, tuple(absent), tuple(unclear))


def match_masks(folder: Path, found: Found, ids: Mapping[PurePosixPath, str]) -> dict[str, Path]:
    """Masks by the id of their photo."""
    drawn = tuple(path for path in find(folder).photos if path.suffix.lower() == ".png")
    names = Names(drawn)
    masks: dict[str, Path] = {}
    owners: dict[PurePosixPath, PurePosixPath] = {}
    for photo in found.photos:
        fitting = [path for path in names.find(str(photo)) if path.stem.casefold() == photo.stem.casefold()]
        if len(fitting) > 1:
            raise UserError(folder, f"{listed(map(str, fitting))} fit {photo}", "name masks and folders as the photos")
        for mask in fitting:
            if mask in owners:
                raise UserError(
                    f"{folder}/{mask}", f"fits {owners[mask]} and {photo}", "put masks into folders as the photos"
                )
            owners[mask] = photo
            masks[ids[photo]] = (folder / mask).resolve()
    if not masks:
        raise UserError(folder, "holds no mask of any photo", "name masks as the photos, with the suffix .png")
    return masks


def named_classes(path: Path, table: Table) -> tuple[str, ...]:
    """Classes in the order that a file gives; UserError where the table names others."""
    try:
        classes = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(path, f"cannot be read ({error})", "write one class name a line, as UTF-8") from None
    unknown = sorted(set(table.classes) - set(classes))
    if unknown:
        raise UserError(path, f"lacks {listed(map(repr, unknown[:SHOWN]))}, which labels name", "add a line for each")
    return tuple(classes)


def divide(
    settings: Settings,
    found: Found,
    ids: Mapping[PurePosixPath, str],
    labels: Mapping[str, frozenset[str]],
    masked: set[str],
) -> dict[str, list[str]]:
    """Ids of each split: what is learned from, the part of it with masks, what is held out, and all photos."""
    measured = masked & labels.keys()
    if masked and len(measured) < 2:
        raise UserError(settings.masks, "fewer than two labelled photos have a mask", "draw more, or leave masks out")
    count = max(1, round(settings.val_share * len(labels)))
    if measured:
        count = min(count, len(measured) // 2)
    paths = {ids[photo]: found.root / photo for photo in found.photos}
    same = list(copies({image: path for image, path in paths.items() if image in labels and path.is_file()}))
    try:
        val = held_out(labels, same, measured or labels.keys(), count)
    except UserError as error:
        raise UserError(settings.labels, error.what, error.remedy) from None
    train = [image for image in labels if image not in set(val)]
    seed = [image for image in train if image in measured] or train
    return {"train": train, "seed": seed, "val": val, "test": sorted(ids.values())}


def write_dataset(
    folder: Path,
    photos: Path,
    ids: Mapping[PurePosixPath, str],
    masks: Mapping[str, Path],
    classes: Sequence[str],
    labels: Mapping[str, frozenset[str]],
    splits: Mapping[str, Sequence[str]],
) -> None:
    """A dataset folder that links photos and masks."""
    for name in ("JPEGImages", LISTS, *(["SegmentationClass"] if masks else [])):
        (folder / name).mkdir(parents=True)
    for photo, image in ids.items():
        (folder / "JPEGImages" / f"{image}{photo.suffix.lower()}").symlink_to(photos / photo)
    for image, mask in masks.items():
        (folder / "SegmentationClass" / f"{image}.png").symlink_to(mask)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "classes"])
        rows.writerows([image, ";".join(name for name in classes if name in shown)] for image, shown in labels.items())
    for name, images in splits.items():
        (folder / LISTS / f"{name}.txt").write_text("".join(f"{image}\n" for image in images), encoding="utf-8")


def settings_text(name: str, *, gpu: bool, photos: int) -> str:
    """A settings file for one experiment on the dataset folder of that name, to learn from that many photos."""
    text = (resources.files("ppl.data.own") / "settings" / ("gpu.yaml" if gpu else "cpu.yaml")).read_text(
        encoding="utf-8"
    )
    enough = PAPER_EPOCHS if gpu else SMALL_EPOCHS
    values = {f"{network}_EPOCHS": epochs(*enough[network], photos) for network in enough}
    values |= {"NAME": name, "FOLDER": name, "WORKERS": min(cores(), MAX_WORKERS)}
    return re.sub("|".join(values), lambda match: str(values[match[0]]), text)


def epochs(least: int, enough: int, photos: int) -> int:
    """Epochs that show as many photos as `least` epochs of `enough` photos do, within `least` and MOST_EPOCHS."""
    return min(MOST_EPOCHS, max(least, math.ceil(least * enough / max(1, photos))))


def has_gpu() -> bool:
    """Whether NVIDIA's driver lists a GPU; asking torch would take seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU 0" in listing.stdout


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(
    settings: Settings,
    found: Found,
    table: Table,
    matched: Matched,
    splits: Mapping[str, Sequence[str]],
    labels: Mapping[str, frozenset[str]],
    classes: Sequence[str],
    masks: int,
) -> str:
    """What was found, for people."""
    counts = Counter(chain.from_iterable(labels.values()))
    rows = [(name, counts[name]) for name in classes]
    rows += [("(no class)", empty)] if (empty := sum(not names for names in labels.values())) else []
    width = max(len(name) for name, _ in rows)
    lines = [
        f"{settings.photos}: {len(found.photos):,} photos" + (f", {masks:,} with a mask" if settings.masks else ""),
        f"{settings.labels}: {table.form}",
        *(f"  {name:<{width}} {count:>7,} photos" for name, count in rows),
        f"to learn from: {len(splits['train']):,} photos, held out: {len(splits['val']):,}, to get masks: "
        f"{len(splits['test']):,}",
    ]
    unlabelled = sorted(set(found.photos) - matched.labels.keys())
    if unlabelled:
        lines.append(f"no labels: {_some(unlabelled, 'photos')}; they get masks, but nothing is learned from them")
    if matched.absent:
        lines.append(f"no photo: {_some(matched.absent, 'names in the table')}; these rows are left out")
    if table.ignored:
        lines.append(f"left out: column{'s' * (len(table.ignored) > 1)} {listed(table.ignored)}")
    others = {suffix: count for suffix, count in sorted(found.others.items()) if suffix in CONVERTIBLE}
    if others:
        kinds = listed(f"{count:,} {suffix}" for suffix, count in others.items())
        lines.append(f"left out: {kinds}, which cannot be read; convert them to JPEG if they are to count")
    return "\n".join(lines)


def _some(names: Sequence[object], what: str) -> str:
    shown = listed(str(name) for name in names[:SHOWN])
    return f"{len(names):,} {what}, such as {shown}" if len(names) > SHOWN else f"{len(names):,} {what}, {shown}"


if __name__ == "__main__":
    command(main, Settings)
