"""Create a dataset and its settings from a folder of photos and their labels, and print the next steps.

python -m ppl.data.new --photos my_photos --labels labels.csv --name mine

Labels are a table, or a file or folder as annotation tools write them (docs/own-data.md lists the formats).
"""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import chain
from pathlib import Path, PurePosixPath
from textwrap import indent
from typing import Literal

from ppl.data import heif
from ppl.data.dataset import Dataset
from ppl.data.findings import MAX_EXAMPLES, listed
from ppl.data.label_maps import SERVER_FOLDER
from ppl.data.links import link_to
from ppl.data.lists import write_lists
from ppl.data.orientation import decide
from ppl.data.own.divide import held_out
from ppl.data.own.formats import AUTO, LABELS, read_labels
from ppl.data.own.layout import Choices
from ppl.data.own.mask_formats import MASKS, read_masks
from ppl.data.own.mask_source import Draw, Masks, MaskSource
from ppl.data.own.names import Names
from ppl.data.own.photos import PhotoFolder, PhotoIndex, copies, ids_of, list_photos
from ppl.data.own.source import Source
from ppl.data.own.table import Table
from ppl.data.own.written_masks import RECORD, are_written, write_masks
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, not_there, write_text
from ppl.jobs.slots import OWN, family

MAX_WORKERS = 8  # more processes seldom help a single GPU or a few cores
ENOUGH = {"gpu": 10_000, "cpu": 1_000}
"""Photos for which the epochs of the settings files suffice."""
MAX_EPOCHS = 12  # more epochs did not improve results on a hundred photos (docs/own-data.md)
CONVERTIBLE = {".heic", ".heif", ".avif", ".raw", ".dng", ".cr2", ".nef", ".arw"}
Labels = dict[PurePosixPath, frozenset[str]]


@dataclass(frozen=True)
class Settings:
    photos: Path
    """Folder of photos, of any depth."""
    labels: Path | None = None
    """Table, or file or folder of an annotation tool; by default what lies in the folder of photos."""
    name: str = "mine"
    """Name of the experiment: writes NAME/ and NAME.yaml, and results go to results/NAME."""
    masks: Path | None = None
    """Folder of masks named as the photos, or polygons of an annotation tool: only for measuring, and some suffice."""
    classes: Path | None = None
    """Names of classes, one per line, in the order of the numbers in masks (from 1) and in labels without names."""
    val_share: float = 0.1
    """Share of the labelled photos to hold out for validation."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Hardware for which the settings are written."""
    label_format: str = AUTO
    """Format of the labels, where several fit; by default it is recognised: table, coco, voc, cvat, labelme,
    labelstudio, yolo, npy, json, jsonl, folders, or own/MODULE."""
    class_folder: Literal["auto", "first", "last"] = "auto"
    """Which of nested folders of photos is named as their class, where it may be either."""
    mask_format: str = AUTO
    """Format of the masks, where several fit; by default it is recognised: ids, binary, colours, folders, coco, cvat,
    labelme, or own/MODULE."""
    mask_suffix: str | None = None
    """What follows the photo's name in that of its mask, as in `--mask-suffix=_mask`; by default it is recognised."""
    colours: str | None = None
    """Table of the colours of masks, lines name,r,g,b; `voc` for VOC's colours in the order of --classes."""
    image_column: str = ""
    """Column of the table that names photos: its title, or its number from 1; by default it is recognised."""
    class_column: tuple[str, ...] = ()
    """Titles of the columns of classes, of names or of 0 and 1; by default they are recognised."""
    absent: tuple[str, ...] = ()
    """Further words for photos without a class, or besides 0 for absent classes, as in `--absent=-1`."""
    separator: str = ""
    """Sign between class names in one cell; by default ; | or a comma."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", self.name) or self.name.startswith("-"):
            raise UserError(
                f"--name {self.name!r}", "not a valid name of an experiment", "use letters, digits, - and _"
            )
        if not 0 < self.val_share < 1:
            raise UserError(f"--val-share {self.val_share}", "not between 0 and 1", "choose a share such as 0.1")
        for option, name, entries in (
            ("--label-format", self.label_format, LABELS),
            ("--mask-format", self.mask_format, MASKS),
        ):
            try:
                family({AUTO: None, **entries, OWN: None}, name)
            except UserError as error:
                raise UserError(option, error.what, error.remedy) from error

    @property
    def labels_path(self) -> Path:
        """The file or folder of labels: that of photos by default."""
        return self.labels or self.photos

    @property
    def masks_path(self) -> Path | None:
        """The file or folder of masks, which in an export of CVAT lies beside other folders."""
        inner = self.masks / "SegmentationClass" if self.masks else None
        return inner if inner and inner.is_dir() else self.masks

    @property
    def no_photos(self) -> list[Path]:
        """Folders that hold masks, among them those beside `JPEGImages` in the layout of Pascal VOC."""
        of_voc = ("SegmentationClass", "SegmentationObject") if (self.photos / "JPEGImages").is_dir() else ()
        return [*filter(None, [self.masks_path]), *(self.photos / name for name in of_voc)]

    def reads(self) -> tuple[Path, ...]:
        """Return the file of labels alone: photos are too many to digest."""
        return (self.labels,) if self.labels and self.labels.is_file() else ()


@dataclass(frozen=True)
class Matched:
    """Labels by photo, and the names in the labels that match no photo (`absent`) or several (`ambiguous`)."""

    labels: Labels
    absent: tuple[str, ...]
    ambiguous: tuple[str, ...]


def main(settings: Settings) -> None:
    out, file = Path(settings.name), Path(f"{settings.name}.yaml")
    refuse_missing(settings)
    refuse_to_harm(out, settings.photos, settings.masks)
    folder = list_photos(settings.photos, without=settings.no_photos)
    if not folder.photos:
        raise UserError(settings.photos, "no photos", "name a folder of JPEG, PNG, WebP or TIFF files")
    names = Names(settings.photos, PhotoIndex(folder.photos))
    choices = Choices(
        settings.image_column, settings.class_column, settings.absent, settings.separator, settings.class_folder
    )
    listed_classes = read_classes(settings.classes) if settings.classes else ()
    source = Source(settings.labels_path, names, choices, listed_classes, settings.masks)
    table = read_labels(source, settings.label_format)
    matched = match(table, names)
    if matched.ambiguous:
        raise UserError(
            settings.labels_path,
            f"{_some(matched.ambiguous, 'names')}: each matches several photos",
            "write them with folder and suffix",
        )
    if settings.classes:
        refuse_unlisted(settings.classes, listed_classes, table)
    classes = listed_classes or classes_of(matched, table)
    if not classes:
        raise UserError(settings.labels_path, "names no class for any of the photos", "check its column of photos")
    masks = Masks("", {})
    if settings.masks_path:
        mask_source = MaskSource(
            settings.masks_path, names, classes, bool(listed_classes), settings.colours, settings.mask_suffix
        )
        masks = read_masks(mask_source, settings.mask_format)
        folder = replace(folder, photos=tuple(mask_source.without_masks(folder.photos)))
    ids = ids_of(folder.photos)
    mask_of = {ids[photo]: mask for photo, mask in masks.of_photo.items() if photo in ids}
    labels = {ids[photo]: names for photo, names in sorted(matched.labels.items())}
    splits = divide(settings, folder, ids, labels, set(mask_of))
    with atomic(out) as dataset:
        write_dataset(dataset, settings.photos.resolve(), ids, mask_of, classes, labels, splits)
        Dataset.open(dataset)  # raises for invalid class names
    has_settings = file.exists()
    gpu = settings.device == "gpu" or (settings.device == "auto" and has_gpu())
    if not has_settings:
        write_text(file, settings_text(settings.name, gpu=gpu, photos=len(splits["train"])))
    print(report(settings, folder, table, matched, splits, labels, classes, masks))
    if doubt := orientation_doubt(folder, ids, {i: out / "SegmentationClass" / f"{i}.png" for i in mask_of}):
        print(f"warning: {doubt}")
    print(f"\nwritten: {out}/ (links to the photos, lists, labels)" + ("" if has_settings else f", {file} (settings)"))
    hardware = "a GPU" if gpu else "CPU cores, without a GPU"
    print(f"{file} exists and is unchanged" if has_settings else f"settings are for {hardware}")
    print(f"masks will be in results/{settings.name}_test_preds/{SERVER_FOLDER}")
    results = f"results/{settings.name}_test_preds results/{settings.name}/report.html"
    python = shlex.quote(sys.orig_argv[0])  # as typed, since `python` and `snakemake` may not be on PATH
    print(f"\nnext:\n  {python} -m ppl.data.check --data {file}")
    print(f"  {python} -m ppl.run --cores {cores()} --configfile {file} -- {results}")


def refuse_missing(settings: Settings) -> None:
    """Raise UserError for the first argument that names nothing, or a file instead of a folder."""
    remedies = {
        "photos": "name the folder of your photos",
        "labels": "name the file or folder of labels",
        "masks": "name the folder of masks",
        "classes": "name the file of class names",
    }
    for name, remedy in remedies.items():
        path = getattr(settings, name)
        if path is not None and not path.exists():
            raise not_there(path, f"--{name}: {remedy}")
        shapes = path is not None and name == "masks" and path.suffix.lower() in (".json", ".xml")
        if path is not None and name in ("photos", "masks") and not path.is_dir() and not shapes:
            raise UserError(path, "not a folder", f"--{name}: {remedy}")


def refuse_to_harm(out: Path, photos: Path, masks: Path | None) -> None:
    """Raise UserError if the dataset folder would replace files that this command did not write."""
    if masks and masks.resolve().is_relative_to(out.resolve()):
        raise UserError(masks, f"lies in {out}, which is written anew", "name your own masks, or another --name")
    if photos.resolve().is_relative_to(out.resolve()):
        raise UserError(out, "contains your photos", "choose another --name")
    if out.resolve().is_relative_to(photos.resolve()):
        raise UserError(
            photos, f"{out} would be written into this folder of photos", "run the command in another folder"
        )
    if os.path.lexists(out):
        known = {"JPEGImages", "SegmentationClass", "ImageSets", "classes.txt", "labels.csv", RECORD}
        known_files = out.is_dir() and {path.name for path in out.iterdir()} <= known
        links = all(path.is_symlink() for path in (out / "JPEGImages").glob("*"))
        if not known_files or not links or not are_written(out, out / "SegmentationClass"):
            raise UserError(out, "exists and was not written by this command", "choose another --name")


def match(table: Table, names: Names) -> Matched:
    """Return the labels of the photos that a table names."""
    labels: Labels = {}
    absent, ambiguous = [], []
    for name, classes in table.labels.items():
        photos = table.photos[name] if name in table.photos else names.find(name)
        if len(photos) == 1:
            labels[photos[0]] = labels.get(photos[0], frozenset()) | classes
        else:
            (ambiguous if photos else absent).append(name)
    return Matched(labels, tuple(absent), tuple(ambiguous))


def classes_of(matched: Matched, table: Table) -> tuple[str, ...]:
    """Return the classes of the photos, in the order of the table, which may be that of a larger collection."""
    present = frozenset().union(*matched.labels.values())
    return tuple(name for name in table.classes if name in present)


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of classes in a file, one per line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(path, f"cannot be read ({error})", "write one class name per line, as UTF-8") from error
    if classes := tuple(line.strip() for line in lines if line.strip()):
        return classes
    raise UserError(path, "names no class", "write one class name per line")


def refuse_unlisted(path: Path, classes: Sequence[str], table: Table) -> None:
    """Raise UserError if the labels name classes that the file of --classes lacks."""
    unknown = sorted(set(table.classes) - set(classes))
    if unknown:
        raise UserError(path, f"lacks {listed(map(repr, unknown[:MAX_EXAMPLES]))} of the labels", "add a line for each")


def divide(
    settings: Settings,
    folder: PhotoFolder,
    ids: Mapping[PurePosixPath, str],
    labels: Mapping[str, frozenset[str]],
    masked: set[str],
) -> dict[str, list[str]]:
    """Return the image ids of each split: training, those of it with masks (seed), held out (val), and all (test)."""
    measured = masked & labels.keys()
    if masked and len(measured) < 2:
        raise UserError(settings.masks, "fewer than two labelled photos have a mask", "draw more, or omit --masks")
    count = max(1, round(settings.val_share * len(labels)))
    if measured:
        count = min(count, len(measured) // 2)
    paths = {ids[photo]: folder.root / photo for photo in folder.photos}
    same = list(copies({image_id: path for image_id, path in paths.items() if image_id in labels and path.is_file()}))
    try:
        val = held_out(labels, same, measured or labels.keys(), count)
    except UserError as error:
        raise UserError(settings.labels_path, error.what, error.remedy) from error
    train = [image_id for image_id in labels if image_id not in set(val)]
    seed = [image_id for image_id in train if image_id in measured] or train
    return {"train": train, "seed": seed, "val": val, "test": sorted(ids.values())}


def write_dataset(
    folder: Path,
    photos: Path,
    ids: Mapping[PurePosixPath, str],
    masks: Mapping[str, Path | Draw],
    classes: Sequence[str],
    labels: Mapping[str, frozenset[str]],
    splits: Mapping[str, Sequence[str]],
) -> None:
    """Write a dataset folder with links to photos and masks; masks that are no PNGs of class ids are drawn."""
    for name in ("JPEGImages", *(["SegmentationClass"] if masks else [])):
        (folder / name).mkdir(parents=True)
    for photo, image_id in ids.items():
        link_to(folder / "JPEGImages" / f"{image_id}{photo.suffix.lower()}", photos / photo)
    write_masks(folder, folder / "SegmentationClass", masks, workers=min(cores(), MAX_WORKERS))
    in_order = {image_id: [name for name in classes if name in names] for image_id, names in labels.items()}
    write_lists(folder, classes, in_order, splits)


def orientation_doubt(
    folder: PhotoFolder, ids: Mapping[PurePosixPath, str], masks: Mapping[str, Path]
) -> UserError | None:
    """Return what is in doubt about the orientation of photos with masks, or contradictory; None if nothing is."""
    files = {ids[photo]: (folder.root / photo, masks[ids[photo]]) for photo in folder.photos if ids[photo] in masks}
    decision = decide(files, "auto", folder.root, workers=min(cores(), MAX_WORKERS))
    if fault := decision.fault:
        return UserError(fault.where, f"{fault.what}, which the check refuses", fault.remedy)
    return decision.warning


def settings_text(name: str, *, gpu: bool, photos: int) -> str:
    """Return the settings file of one experiment on the dataset folder `name`, with epochs for that many photos.

    Without a GPU it contains all of config/small.yaml.
    """
    kind = "gpu" if gpu else "cpu"
    text = shipped_settings(kind)
    if not gpu:
        text += indent(shipped_settings("small").partition("\ndefaults:\n")[2], "  ")
    text = re.sub(r"(?<=\bepochs: )\d+", lambda least: str(epochs(int(least[0]), ENOUGH[kind], photos)), text)
    return re.sub(r"(?<=\bworkers: )\d+", str(min(cores(), MAX_WORKERS)), text).replace("NAME", name)


def shipped_settings(name: str) -> str:
    """Return the text of a settings file of this package."""
    return (resources.files("ppl.data.own") / "settings" / f"{name}.yaml").read_text(encoding="utf-8")


def epochs(least: int, enough: int, photos: int) -> int:
    """Return the epochs with as many iterations as `least` epochs of `enough` photos, from `least` to MAX_EPOCHS."""
    return min(MAX_EPOCHS, max(least, math.ceil(least * enough / max(1, photos))))


def has_gpu() -> bool:
    """Return whether NVIDIA's driver lists a GPU; importing torch would take seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU 0" in listing.stdout


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(
    settings: Settings,
    folder: PhotoFolder,
    table: Table,
    matched: Matched,
    splits: Mapping[str, Sequence[str]],
    labels: Mapping[str, frozenset[str]],
    classes: Sequence[str],
    masks: Masks,
) -> str:
    """Return a summary of photos, labels and splits for the terminal."""
    counts = Counter(chain.from_iterable(labels.values()))
    rows = [(name, counts[name]) for name in classes]
    rows += [("(no class)", empty)] if (empty := sum(not names for names in labels.values())) else []
    width = max(len(name) for name, _ in rows)
    with_mask = f", {len(masks.of_photo):,} with a mask" if settings.masks else ""
    lines = [
        f"{settings.photos}: {len(folder.photos):,} photos{with_mask}",
        *([f"{settings.masks_path}: {masks.form}"] if settings.masks else []),
        f"{settings.labels_path}: {table.form}",
        *(f"  {name:<{width}} {count:>7,} photos" for name, count in rows),
        f"training: {len(splits['train']):,} photos, held out: {len(splits['val']):,}, to be segmented: "
        f"{len(splits['test']):,}",
    ]
    unlabelled = sorted(set(folder.photos) - matched.labels.keys())
    if unlabelled:
        lines.append(f"no labels: {_some(unlabelled, 'photos')}; they are segmented, but not used in training")
    if matched.absent:
        lines.append(f"no photo: {_some(matched.absent, 'names in the labels')}; these are ignored")
    lines += [f"left out: {line}" for line in (*table.left_out, *masks.left_out)]
    if table.absent:
        lines.append("no class: " + listed(f"{word!r} in {count:,} rows" for word, count in table.absent))
    if table.ignored:
        lines.append(f"ignored: column{'s' * (len(table.ignored) > 1)} {listed(table.ignored)}")
    others = {suffix: count for suffix, count in sorted(folder.others.items()) if suffix in CONVERTIBLE}
    if others:
        kinds = listed(f"{count:,} {suffix}" for suffix, count in others.items())
        remedy = heif.REMEDY if others.keys() & {*heif.SUFFIXES} else "convert them to JPEG"
        lines.append(f"ignored: {kinds}, which cannot be read; {remedy}")
    return "\n".join(lines)


def _some(names: Sequence[object], what: str) -> str:
    examples = listed(str(name) for name in names[:MAX_EXAMPLES])
    return (
        f"{len(names):,} {what}, such as {examples}"
        if len(names) > MAX_EXAMPLES
        else f"{len(names):,} {what}, {examples}"
    )


if __name__ == "__main__":
    command(main, Settings)
