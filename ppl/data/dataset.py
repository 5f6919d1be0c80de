"""A dataset folder in VOC layout, with image-level labels in `labels.csv`.

    JPEGImages/ID.jpg                  photos
    SegmentationClass/ID.png           masks, optional: only measuring steps open them
    ImageSets/Segmentation/SPLIT.txt   one id a line
    classes.txt                        one class name a line, without background
    labels.csv                         columns `image` and `classes`, names separated by `;`

Class ids: 0 is background, 1..C the lines of `classes.txt`, 255 is ignored.
"""

import csv
import io
import os.path
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError

LISTS = Path("ImageSets", "Segmentation")  # of the splits, below a dataset's folder
MAX_CLASSES = 254  # 0 is background, 255 ignored
MAX_ID_BYTES = 96  # with .png the 100 that a name in the server's archive may have


@dataclass(frozen=True)
class Paths(Sequence[Path]):
    """A path for each item, made when it is asked for: a million of them would take 0.4 GB, in every worker process."""

    items: Sequence[Any]
    make: Callable[[Any], Path]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Path:
        return self.make(self.items[index])


@dataclass(frozen=True)
class Dataset:
    """Paths, splits and image-level labels of a dataset folder; opens neither photos nor masks."""

    root: Path
    classes: tuple[str, ...]
    labels: Mapping[str, tuple[int, ...]]

    @classmethod
    def open(cls, root: Path | str) -> "Dataset":
        """Reads `classes.txt` and `labels.csv` below `root`; UserError when one is missing or malformed."""
        dataset, faults = cls.inspect(root)
        if faults:
            raise faults[0]
        return dataset

    @classmethod
    def inspect(cls, root: Path | str) -> tuple["Dataset", list[UserError]]:
        """The same, but with the faults in single lines of `labels.csv` listed instead of raised."""
        root = Path(root)
        classes = tuple(_lines(root / "classes.txt"))
        if not classes or len(set(classes)) < len(classes) or len(classes) > MAX_CLASSES:
            raise UserError(root / "classes.txt", f"needs 1 to {MAX_CLASSES} different class names", "write one a line")
        for name in classes:
            if ";" in name or not name.isprintable():
                raise UserError(
                    root / "classes.txt", f"invalid class name {name!r}", "remove ';' and non-printable characters"
                )
        labels, faults = read_labels(root / "labels.csv", classes)
        return cls(root, classes, labels), faults

    def split(self, name: str) -> list[str]:
        """Ids of a split, in file order; UserError when there is none, or one that cannot be a file's name."""
        images = self.listed(name)
        if not images:
            raise UserError(self.list_of(name), f"split {name} is empty", "list its image ids, one a line")
        for image in images:
            if fault := id_fault(image):
                raise UserError(self.list_of(name), *fault)
        return images

    def listed(self, name: str) -> list[str]:
        """The lines of a split's file, whatever they hold."""
        return _lines(self.list_of(name))

    def list_of(self, split: str) -> Path:
        """The file that lists a split."""
        return self.root / LISTS / f"{split}.txt"

    def labels_of(self, image: str) -> tuple[int, ...]:
        """Class ids of an image, sorted; UserError when `labels.csv` has no line for it."""
        if image not in self.labels:
            raise UserError(self.root / "labels.csv", f"no line for image {image!r}", "add one, or leave it out")
        return self.labels[image]

    def photo(self, image: str) -> Path:
        """Path of a photo: `ID.jpg`, or with another suffix of a photo; `check` refuses several of one id."""
        jpeg = self.root / "JPEGImages" / f"{image}.jpg"
        return jpeg if os.path.exists(jpeg) else self.photos_by_id.get(image, [jpeg])[0]

    def photos(self, images: Sequence[str]) -> Paths:
        """Paths of many photos, in that order."""
        return Paths(images, self.photo)

    def mask(self, image: str) -> Path:
        """Path of a mask; for measuring only."""
        return self.root / "SegmentationClass" / f"{image}.png"

    @property
    def has_masks(self) -> bool:
        """Whether the folder offers masks at all."""
        return (self.root / "SegmentationClass").is_dir()

    @cached_property
    def photos_by_id(self) -> dict[str, list[Path]]:
        """The files with a photo's suffix, by what stands before it."""
        photos: dict[str, list[Path]] = {}
        folder = self.root / "JPEGImages"
        try:
            paths = sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise UserError(folder, f"{error.strerror}", "make the folder readable") from None
        for path in paths:
            if path.suffix.lower() in PHOTO_SUFFIXES:
                photos.setdefault(path.stem, []).append(path)
        return photos


def id_fault(image: str) -> tuple[str, str] | None:
    """What makes an id unfit to name files, and the remedy; None for a valid id."""
    if image[0] in ".-" or not image.isprintable() or set(image) & set("/\\"):
        return f"{image!r} cannot be an id", "rename the photo without slash, leading dot or dash"
    if len(image.encode()) > MAX_ID_BYTES:
        return f"{image[:20]!r}... is longer than {MAX_ID_BYTES} bytes", "rename the photo"
    return None


def read_labels(path: Path, classes: tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], list[UserError]]:
    """Image-level labels of `labels.csv` as sorted 1-based class ids per image, and the faults of its lines.

    What a faulty line says correctly is kept: the rest of the dataset can be looked at all the same. UserError when the
    file cannot be read or lacks a column.
    """
    ids = {name: index for index, name in enumerate(classes, start=1)}
    labels: dict[str, tuple[int, ...]] = {}
    faults = []
    rows = csv.DictReader(io.StringIO(_text(path)), strict=True)
    try:
        if not all((rows.fieldnames or []).count(column) == 1 for column in ("image", "classes")):
            raise UserError(path, "the first line must name the columns image and classes", "separate them by a comma")
        for row in rows:
            line, image, further = f"{path}, line {rows.line_num}", (row["image"] or "").strip(), any(row.get(None, ()))
            names = {name.strip() for name in (row["classes"] or "").split(";") if name.strip()}
            if not (image or names or further):
                continue
            faults += [
                UserError(line, f"{name!r} is not in classes.txt", "correct the name, or add it")
                for name in sorted(names - ids.keys())
            ]
            if further or None in (row["image"], row["classes"]):
                faults.append(UserError(line, "has not as many columns as the first line", "separate class names by ;"))
            elif not image:
                faults.append(UserError(line, "names no image", "add its id, or remove the line"))
            if image in labels:
                faults.append(UserError(line, f"image {image!r} appears twice", "keep one line"))
            labels[image] = tuple(sorted(ids[name] for name in names & ids.keys()))
    except csv.Error as error:
        raise UserError(
            f"{path}, line {rows.line_num}", f"{error}", "look for a quotation mark that stands alone"
        ) from None
    return labels, faults


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "docs/own-data.md shows the layout") from None
    except UnicodeDecodeError as error:
        raise UserError(path, f"not UTF-8 (byte {error.start})", "save it in that encoding") from None
