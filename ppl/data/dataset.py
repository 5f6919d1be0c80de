"""Dataset folders in VOC layout, with image-level labels in `labels.csv`.

    JPEGImages/ID.jpg                  photos
    SegmentationClass/ID.png           masks, optional: only measuring steps open them
    ImageSets/Segmentation/SPLIT.txt   one image id per line
    classes.txt                        one class name per line, without background
    labels.csv                         columns `image` and `classes`, names separated by `;`

Class ids: 0 is background, 1..C the lines of `classes.txt`, 255 is ignored. `ppl.data.lists` writes the text files.
"""

import csv
import io
import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError

LISTS = Path("ImageSets", "Segmentation")  # folder of the splits, below the dataset folder
MAX_CLASSES = 254  # 0 is background, 255 is ignored
MAX_ID_BYTES = 96  # with .png 100, the limit for a name in the server's archive


@dataclass(frozen=True)
class Dataset:
    """Paths, splits and image-level labels of a dataset folder; opens neither photos nor masks."""

    root: Path
    classes: tuple[str, ...]
    labels: Mapping[str, tuple[int, ...]]

    @classmethod
    def open(cls, root: Path | str) -> "Dataset":
        """Read `classes.txt` and `labels.csv` below `root`; UserError when one is missing or malformed."""
        dataset, faults = cls.inspect(root)
        if faults:
            raise faults[0]
        return dataset

    @classmethod
    def inspect(cls, root: Path | str) -> tuple["Dataset", list[UserError]]:
        """Read the same files, but return the faults in single lines of `labels.csv` instead of raising them."""
        root = Path(root)
        classes = tuple(_lines(root / "classes.txt"))
        if not 0 < len(classes) <= MAX_CLASSES:
            what = f"names {len(classes)} classes, where 1 to {MAX_CLASSES} can be trained"
            raise UserError(root / "classes.txt", what, "write one name per line, and merge or leave out classes")
        if repeated := [name for name, count in Counter(classes).items() if count > 1]:
            what = f"names {repeated[0]!r} {classes.count(repeated[0])} times"
            raise UserError(root / "classes.txt", what, "write each class once")
        for name in classes:
            if ";" in name or not name.isprintable():
                raise UserError(
                    root / "classes.txt", f"invalid class name {name!r}", "remove ';' and non-printable characters"
                )
        labels, faults = read_labels(root / "labels.csv", classes)
        return cls(root, classes, labels), faults

    def split(self, name: str) -> list[str]:
        """Return the image ids of a split in file order; UserError for an empty list, a repeated or an invalid id."""
        image_ids = self.listed(name)
        if not image_ids:
            raise UserError(self.list_of(name), f"split {name} is empty", "list its image ids, one per line")
        for image_id in image_ids:
            if fault := id_fault(image_id):
                raise UserError(self.list_of(name), *fault)
        (image_id, count), *_ = Counter(image_ids).most_common(1)
        if count > 1:
            raise UserError(self.list_of(name), f"image {image_id!r} is listed {count} times", "keep one line")
        return image_ids

    def listed(self, name: str) -> list[str]:
        """Return the lines of a split's file without checking them."""
        return _lines(self.list_of(name))

    def list_of(self, split: str) -> Path:
        """Return the path of the file that lists a split."""
        return self.root / LISTS / f"{split}.txt"

    def labels_of(self, image_id: str) -> tuple[int, ...]:
        """Return the class ids of an image, sorted; UserError when `labels.csv` has no line for it."""
        if image_id not in self.labels:
            raise UserError(
                self.root / "labels.csv", f"no line for image {image_id!r}", "add one, or remove the id from the lists"
            )
        return self.labels[image_id]

    def photo(self, image_id: str) -> Path:
        """Return the path of a photo: `ID.jpg`, or another suffix of photos; `check` refuses several files per id."""
        jpeg = self.root / "JPEGImages" / f"{image_id}.jpg"
        return jpeg if os.path.exists(jpeg) else self.photos_by_id.get(image_id, [jpeg])[0]

    def photos(self, image_ids: Sequence[str]) -> list[Path]:
        """Return the paths of several photos, in that order."""
        return [self.photo(image_id) for image_id in image_ids]

    def mask(self, image_id: str) -> Path:
        """Return the path of a mask; for measuring only."""
        return self.root / "SegmentationClass" / f"{image_id}.png"

    @property
    def has_masks(self) -> bool:
        """Whether the dataset folder has masks."""
        return (self.root / "SegmentationClass").is_dir()

    @cached_property
    def photos_by_id(self) -> dict[str, list[Path]]:
        """Files with a suffix of photos, by their name without it."""
        photos: dict[str, list[Path]] = {}
        folder = self.root / "JPEGImages"
        try:
            paths = sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise UserError(folder, f"{error.strerror}", "make the folder readable") from error
        for path in paths:
            if path.suffix.lower() in PHOTO_SUFFIXES:
                photos.setdefault(path.stem, []).append(path)
        return photos


def id_fault(image_id: str) -> tuple[str, str] | None:
    """Return why an id cannot name files, and the remedy; None for a valid id."""
    if image_id[0] in ".-" or not image_id.isprintable() or set(image_id) & set("/\\"):
        return f"invalid image id {image_id!r}", "rename the photo without slash, leading dot or leading dash"
    if len(image_id.encode()) > MAX_ID_BYTES:
        return f"image id {image_id[:20]!r}... is longer than {MAX_ID_BYTES} bytes", "rename the photo"
    return None


def read_labels(path: Path, classes: tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], list[UserError]]:
    """Return the image-level labels of `labels.csv` as sorted class ids 1..C per image, and the faults of its lines.

    The valid part of a faulty line is used, so that the rest of the dataset can be checked. UserError when the file
    cannot be read or lacks a column.
    """
    ids = {name: index for index, name in enumerate(classes, start=1)}
    labels: dict[str, tuple[int, ...]] = {}
    faults = []
    rows = csv.DictReader(io.StringIO(_text(path)), strict=True)
    try:
        if not all((rows.fieldnames or []).count(column) == 1 for column in ("image", "classes")):
            raise UserError(path, "the first line must name the columns image and classes", "separate them by a comma")
        for row in rows:
            line, image_id, surplus = f"{path}, line {rows.line_num}", (row["image"] or "").strip(), row.get(None, ())
            names = {name.strip() for name in (row["classes"] or "").split(";") if name.strip()}
            if not (image_id or names or any(surplus)):
                continue
            faults += [
                UserError(line, f"class {name!r} is not in classes.txt", "correct the name, or add it")
                for name in sorted(names - ids.keys())
            ]
            if any(surplus) or None in (row["image"], row["classes"]):
                faults.append(UserError(line, "more or fewer columns than the first line", "separate class names by ;"))
            elif not image_id:
                faults.append(UserError(line, "no image id", "add it, or remove the line"))
            if image_id in labels:
                faults.append(UserError(line, f"image {image_id!r} appears twice", "keep one line"))
            labels[image_id] = tuple(sorted(ids[name] for name in names & ids.keys()))
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}", f"{error}", "look for an unmatched quotation mark") from error
    return labels, faults


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "docs/own-data.md shows the layout") from error
    except UnicodeDecodeError as error:
        raise UserError(path, f"not UTF-8 (byte {error.start})", "save it as UTF-8") from error
