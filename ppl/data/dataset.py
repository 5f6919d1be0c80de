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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ppl.files import UserError

LISTS = Path("ImageSets", "Segmentation")  # of the splits, below a dataset's folder
IGNORE = 255
MAX_CLASSES = 254  # 0 is background, 255 ignored


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
            raise UserError(f"{dataset.root / 'labels.csv'}, {faults[0]}")
        return dataset

    @classmethod
    def inspect(cls, root: Path | str) -> tuple["Dataset", list[str]]:
        """The same, but with the faults in single lines of `labels.csv` listed instead of raised."""
        root = Path(root)
        classes = tuple(_lines(root / "classes.txt"))
        if not classes or len(set(classes)) < len(classes) or len(classes) > MAX_CLASSES:
            raise UserError(f"{root / 'classes.txt'}: needs 1 to {MAX_CLASSES} different class names, one a line")
        labels, faults = read_labels(root / "labels.csv", classes)
        return cls(root, classes, labels), faults

    def split(self, name: str) -> list[str]:
        """Ids of a split, in file order."""
        return _lines(self.list_of(name))

    def list_of(self, split: str) -> Path:
        """The file that lists a split."""
        return self.root / LISTS / f"{split}.txt"

    def labels_of(self, image: str) -> tuple[int, ...]:
        """Class ids of an image, sorted; UserError when `labels.csv` has no line for it."""
        if image not in self.labels:
            raise UserError(f"{self.root / 'labels.csv'}: no line for image {image!r}; add one, or leave it out")
        return self.labels[image]

    def photo(self, image: str) -> Path:
        """Path of a photo: `ID.jpg`, or with another suffix that Pillow reads."""
        jpeg = self.root / "JPEGImages" / f"{image}.jpg"
        return jpeg if jpeg.exists() else self._photos_by_id.get(image, jpeg)

    def mask(self, image: str) -> Path:
        """Path of a mask; for measuring only."""
        return self.root / "SegmentationClass" / f"{image}.png"

    @property
    def has_masks(self) -> bool:
        """Whether the folder offers masks at all."""
        return (self.root / "SegmentationClass").is_dir()

    @cached_property
    def _photos_by_id(self) -> dict[str, Path]:
        folder = self.root / "JPEGImages"
        return {path.stem: path for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def read_labels(path: Path, classes: tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Image-level labels of `labels.csv` as sorted 1-based class ids per image, and the faults of its lines.

    What a faulty line says correctly is kept: the rest of the dataset can be looked at all the same. UserError when the
    file cannot be read or lacks a column.
    """
    ids = {name: index for index, name in enumerate(classes, start=1)}
    labels: dict[str, tuple[int, ...]] = {}
    faults = []
    rows = csv.DictReader(io.StringIO(_text(path)))
    if not {"image", "classes"} <= set(rows.fieldnames or ()):
        raise UserError(f"{path}: the first line must name the columns image and classes")
    for row in rows:
        names = {name.strip() for name in (row["classes"] or "").split(";") if name.strip()}
        faults += [f"line {rows.line_num}: {name!r} is not in classes.txt" for name in sorted(names - ids.keys())]
        if row["image"] in labels:
            faults.append(f"line {rows.line_num}: image {row['image']!r} appears twice; keep one line")
        labels[row["image"]] = tuple(sorted(ids[name] for name in names & ids.keys()))
    return labels, faults


def read_photo(path: Path | str) -> np.ndarray:
    """A photo as (h, w, 3) uint8 RGB, upright by its EXIF orientation."""
    return np.array(_open_photo(path))


def photo_size(path: Path | str) -> tuple[int, int]:
    """(h, w) of a photo as `read_photo` returns it, from its header alone."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable photo ({error}); replace it or take it out of the split") from None
    return (width, height) if turned else (height, width)


def read_mask(path: Path | str) -> np.ndarray:
    """A label map as (h, w) uint8 class ids, from a palette or greyscale PNG."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise UserError(f"{path}: mode {image.mode}; a mask is an 8-bit palette or greyscale PNG of class ids")
            return np.array(image)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable mask ({error})") from None


def read_truth(path: Path | str, classes: int) -> np.ndarray:
    """A mask to measure with, (h, w) uint8; UserError when an id is neither one of 0..`classes` nor 255."""
    mask = read_mask(path)
    highest = mask[mask != IGNORE].max(initial=0)
    if highest > classes:
        raise UserError(f"{path}: id {highest} where classes.txt ends with {classes}; correct one of the two")
    return mask


def write_mask(path: Path | str, mask: np.ndarray) -> None:
    """Writes (h, w) uint8 class ids as a palette PNG in VOC's colours."""
    image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8), mode=None)
    image.putpalette(VOC_COLOURS.tobytes())
    image.save(path, format="PNG")


def voc_colours() -> np.ndarray:
    """VOC's colour map (256, 3) uint8: the bits of an id dealt out to the channels, highest bits first."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


VOC_COLOURS = voc_colours()


def _open_photo(path: Path | str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable photo ({error}); replace it or take it out of the split") from None


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; docs/own-data.md shows the layout") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it in that encoding") from None
