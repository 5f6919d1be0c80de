"""Create a dataset and its settings from a folder of photos and their labels, and print the next steps.

python -m ppl.data.new --photos my_photos --labels labels.csv --name mine

Labels are a table, or a file or folder as annotation tools write them (docs/own-data.md lists the formats).
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from ppl.data.dataset import Dataset
from ppl.data.label_maps import SERVER_FOLDER
from ppl.data.orientation import decide
from ppl.data.own.dataset_folder import refuse_to_harm, write_dataset
from ppl.data.own.divide import divide
from ppl.data.own.formats import LABELS, read_labels
from ppl.data.own.layout import Choices
from ppl.data.own.mask_formats import MASKS, read_masks
from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.match import Matched, classes_of, match, read_classes, refuse_unlisted, without_background
from ppl.data.own.names import Names
from ppl.data.own.photos import PhotoFolder, PhotoIndex, ids_of, list_photos
from ppl.data.own.recognise import AUTO, refuse_unknown
from ppl.data.own.settings_file import has_gpu, settings_text
from ppl.data.own.source import Source
from ppl.data.own.summary import some, summary
from ppl.data.own.table import Table
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, not_there, write_text

MAX_WORKERS = 8  # more processes seldom help a single GPU or a few cores


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
    labelstudio, datumaro, yolo, npy, json, jsonl, folders, or own/MODULE."""
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
        refuse_unknown(self.label_format, LABELS, "--label-format")
        refuse_unknown(self.mask_format, MASKS, "--mask-format")

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


def main(settings: Settings) -> None:
    out, file = Path(settings.name), Path(f"{settings.name}.yaml")
    refuse_missing(settings)
    refuse_to_harm(out, settings.photos, settings.masks)
    folder = list_photos(settings.photos, without=settings.no_photos)
    if not folder.photos:
        raise UserError(settings.photos, "no photos", "name a folder of JPEG, PNG, WebP or TIFF files")
    names = Names(settings.photos, PhotoIndex(folder.photos))
    listed_classes = read_classes(settings.classes) if settings.classes else ()
    table, matched = labels_of(settings, names, listed_classes)
    classes = without_background(settings.classes, listed_classes) or classes_of(matched, table)
    if not classes:
        raise UserError(settings.labels_path, "names no class for any of the photos", "check its column of photos")
    masks = Masks("", {})
    if settings.masks_path:
        mask_source = MaskSource(
            settings.masks_path, names, classes, bool(listed_classes), settings.colours, settings.mask_suffix
        )
        masks = read_masks(mask_source, settings.mask_format)
        folder = replace(folder, photos=tuple(mask_source.without_masks(folder.photos)))
    ids, workers = ids_of(folder.photos), min(cores(), MAX_WORKERS)
    mask_of = {ids[photo]: mask for photo, mask in masks.of_photo.items() if photo in ids}
    labels = {ids[photo]: names for photo, names in sorted(matched.labels.items())}
    splits = divide(
        folder, ids, labels, set(mask_of), settings.val_share,
        labels_path=settings.labels_path, masks_path=settings.masks,
    )  # fmt: skip
    with atomic(out) as dataset:
        write_dataset(dataset, settings.photos.resolve(), ids, mask_of, classes, labels, splits, workers=workers)
        try:
            Dataset.open(dataset)
        except UserError as error:  # of names of classes that cannot be written
            raise UserError(settings.classes or settings.labels_path, error.what, error.remedy) from error
    has_settings = file.exists()
    gpu = settings.device == "gpu" or (settings.device == "auto" and has_gpu())
    if not has_settings:
        write_text(file, settings_text(settings.name, gpu=gpu, photos=len(splits["train"]), workers=workers))
    print(summary(folder, settings.labels_path, table, matched, classes, splits, settings.masks_path, masks))
    mask_files = {i: out / "SegmentationClass" / f"{i}.png" for i in mask_of}
    if doubt := orientation_doubt(folder, ids, mask_files, workers):
        print(f"warning: {doubt}")
    print("\n".join(written(settings.name, gpu=gpu, has_settings=has_settings)))


def labels_of(settings: Settings, names: Names, listed_classes: tuple[str, ...]) -> tuple[Table, Matched]:
    """Return the labels as they are read, and those of the photos.

    UserError if a label may be of several photos, or names a class that the file of --classes lacks.
    """
    choices = Choices(
        settings.image_column, settings.class_column, settings.absent, settings.separator, settings.class_folder
    )
    source = Source(settings.labels_path, names, choices, listed_classes, settings.masks)
    table = read_labels(source, settings.label_format)
    matched = match(table, names)
    if matched.ambiguous:
        raise UserError(
            settings.labels_path,
            f"{some(matched.ambiguous, 'names')}: each matches several photos",
            "write them with folder and suffix",
        )
    if settings.classes:
        refuse_unlisted(settings.classes, listed_classes, table)
    return table, matched


def written(name: str, *, gpu: bool, has_settings: bool) -> list[str]:
    """Return the lines that name what was written, and the next commands; `has_settings`: the file was there before."""
    file = f"{name}.yaml"
    hardware = "a GPU" if gpu else "CPU cores, without a GPU"
    results = f"results/{name}_test_preds results/{name}/report.html"
    python = shlex.quote(sys.orig_argv[0])  # as typed, since `python` and `snakemake` may not be on PATH
    return [
        f"\nwritten: {name}/ (links to the photos, lists, labels)" + ("" if has_settings else f", {file} (settings)"),
        f"{file} exists and is unchanged" if has_settings else f"settings are for {hardware}",
        f"masks will be in results/{name}_test_preds/{SERVER_FOLDER}",
        f"\nnext:\n  {python} -m ppl.data.check --data {file}",
        f"  {python} -m ppl.run --cores {cores()} --configfile {file} -- {results}",
    ]


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


def orientation_doubt(
    folder: PhotoFolder, ids: Mapping[PurePosixPath, str], masks: Mapping[str, Path], workers: int
) -> UserError | None:
    """Return what is in doubt about the orientation of photos with masks, or contradictory; None if nothing is."""
    files = {ids[photo]: (folder.root / photo, masks[ids[photo]]) for photo in folder.photos if ids[photo] in masks}
    decision = decide(files, "auto", folder.root, workers=workers)
    if fault := decision.fault:
        return UserError(fault.where, f"{fault.what}, which the check refuses", fault.remedy)
    return decision.warning


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    command(main, Settings)
