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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppl.files import UserError
from ppl.reasons import reason

LISTS = Path("ImageSets", "Segmentation")  # of the splits, below a dataset's folder
IGNORE = 255
MAX_CLASSES = 254  # 0 is background, 255 ignored
MAX_ID_BYTES = 96  # with .png the 100 that a name in the server's archive may have
MAX_PIXELS = 2048 * 2048
"""Of a photo or mask. Networks and CRFs see whole photos, at 2 GB for each million pixels with the paper's settings."""
MAX_STORED = Image.MAX_IMAGE_PIXELS
"""Of a photo that is shrunk while it is read: 89 million pixels, above which Pillow suspects an attack."""
PHOTO_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""What is opened as a photo, and its suffixes: none that hands a file to another program, as EPS to Ghostscript."""
PHOTO_SUFFIXES = {suffix for suffixes in PHOTO_FORMATS.values() for suffix in suffixes}
ORIENTATION = 0x0112  # in EXIF
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a photo upright, by its EXIF orientation; any other number leaves it as it is."""


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
            raise UserError(f"{dataset.root / 'labels.csv'}, {faults[0]}")
        return dataset

    @classmethod
    def inspect(cls, root: Path | str) -> tuple["Dataset", list[str]]:
        """The same, but with the faults in single lines of `labels.csv` listed instead of raised."""
        root = Path(root)
        classes = tuple(_lines(root / "classes.txt"))
        if not classes or len(set(classes)) < len(classes) or len(classes) > MAX_CLASSES:
            raise UserError(f"{root / 'classes.txt'}: needs 1 to {MAX_CLASSES} different class names; write one a line")
        for name in classes:
            if ";" in name or not name.isprintable():
                raise UserError(
                    f"{root / 'classes.txt'}: {name!r} cannot be a class; take out ; and signs without print"
                )
        labels, faults = read_labels(root / "labels.csv", classes)
        return cls(root, classes, labels), faults

    def split(self, name: str) -> list[str]:
        """Ids of a split, in file order; UserError when there is none, or one that cannot be a file's name."""
        images = self.listed(name)
        if not images:
            raise UserError(f"{self.list_of(name)}: split {name} is empty; list its image ids, one a line")
        for image in images:
            if fault := id_fault(image):
                raise UserError(f"{self.list_of(name)}: {fault}")
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
            raise UserError(f"{self.root / 'labels.csv'}: no line for image {image!r}; add one, or leave it out")
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
            raise UserError(f"{folder}: {error.strerror}; make the folder readable") from None
        for path in paths:
            if path.suffix.lower() in PHOTO_SUFFIXES:
                photos.setdefault(path.stem, []).append(path)
        return photos


def id_fault(image: str) -> str | None:
    """Why an id cannot name a file in every step's output, with a remedy; None where it can."""
    if image[0] in ".-" or not image.isprintable() or set(image) & set("/\\"):
        return f"{image!r} cannot be an id; rename the photo without slash, leading dot or dash"
    if len(image.encode()) > MAX_ID_BYTES:
        return f"{image[:20]!r}... is longer than {MAX_ID_BYTES} bytes; rename the photo"
    return None


def read_labels(path: Path, classes: tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
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
            raise UserError(f"{path}: the first line must name the columns image and classes; separate them by a comma")
        for row in rows:
            line, image, further = f"line {rows.line_num}", (row["image"] or "").strip(), any(row.get(None, ()))
            names = {name.strip() for name in (row["classes"] or "").split(";") if name.strip()}
            if not (image or names or further):
                continue
            faults += [
                f"{line}: {name!r} is not in classes.txt; correct the name, or add it"
                for name in sorted(names - ids.keys())
            ]
            if further or None in (row["image"], row["classes"]):
                faults.append(f"{line}: has not as many columns as the first line; separate class names by ;")
            elif not image:
                faults.append(f"{line}: names no image; add its id, or take the line out")
            if image in labels:
                faults.append(f"{line}: image {image!r} appears twice; keep one line")
            labels[image] = tuple(sorted(ids[name] for name in names & ids.keys()))
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: {error}; look for a quotation mark that stands alone") from None
    return labels, faults


def read_photo(path: Path | str, *, max_side: int | None = None) -> np.ndarray:
    """A photo as (h, w, 3) uint8 RGB, upright by its EXIF orientation.

    Of 16 bits the upper 8 count, transparent parts are white, grey and CMYK become RGB, of several frames it is the
    first. UserError for what is no photo or has more than MAX_PIXELS.

    With `max_side` it is shrunk so that neither side is longer, and may be stored with up to MAX_STORED pixels.
    """
    most = MAX_PIXELS if max_side is None else MAX_STORED
    with _opened(path, "photo", tuple(PHOTO_FORMATS), most) as image:
        return np.array(upright_rgb(image, max_side))


def upright_rgb(image: Image.Image, max_side: int | None = None) -> Image.Image:
    """An opened image as `read_photo` shows it; ValueError where its numbers have no known range."""
    if max_side is not None:
        image.draft(None, shrunk_size(image.size, max_side))  # a JPEG is decoded at a half to an eighth of its sides
    image.load()  # first: Pillow turns a TIFF itself while loading it
    turn = UPRIGHT.get(image.getexif().get(ORIENTATION))
    rgb = _to_rgb(image)
    if max_side is not None:
        rgb = rgb.resize(shrunk_size(rgb.size, max_side), Image.Resampling.BICUBIC)
    return rgb if turn is None else rgb.transpose(turn)


def shrunk_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Sides of a photo in proportion, neither above `max_side` nor below 1; as they are where they fit."""
    factor = min(1.0, max_side / max(size))
    return tuple(max(1, round(side * factor)) for side in size)


def photo_size(path: Path | str, *, most: int = MAX_PIXELS) -> tuple[int, int]:
    """(h, w) of a photo as it is stored, but upright, from its header alone; UserError where it has more pixels."""
    with _opened(path, "photo", tuple(PHOTO_FORMATS), most) as image:
        width, height = _stored_size(image)
        turned = image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
        return (width, height) if turned else (height, width)


def read_mask(path: Path | str, *, most: int = MAX_PIXELS) -> np.ndarray:
    """A label map as (h, w) uint8 class ids, of at most `most` pixels, from a palette or greyscale PNG."""
    with _opened(path, "mask", ("PNG",), most) as image:
        # Pillow spreads the values of a grey PNG of 2 or 4 bits over 0..255: they are no ids any more.
        spread = image.mode == "L" and image.tile[0][3] != "L"
        if image.mode not in ("P", "L") or spread:
            mode = "grey of less than 8 bits" if spread else image.mode
            raise UserError(f"{path}: mode {mode}; a mask is an 8-bit palette or greyscale PNG of class ids")
        return np.array(image)


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


@contextmanager
def _opened(path: Path | str, what: str, formats: tuple[str, ...], most: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """An image of one of `formats`; UserError for whatever goes wrong before it is closed, naming it as a `what`."""
    why = "which the networks see as a whole" if most == MAX_PIXELS else "the most that is opened"
    remedy = f"make the {what} smaller" + (", or set data.max_side" if most == MAX_PIXELS else "")
    too_large = f"has more than {most:,} pixels, {why}; {remedy}"
    try:
        with Image.open(path, formats=formats) as image:
            width, height = image.size
            if width * height > most:
                raise UserError(f"{path}: {width}x{height} {too_large}")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{path}: {too_large}") from None
    except Exception as error:  # Pillow raises whatever its decoders meet
        raise UserError(f"{path}: not a readable {what} ({reason(error)}); replace it or leave it out") from None


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(w, h) before any turning by EXIF, which Pillow has taken into account for TIFF alone."""
    return (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size


def _to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image as RGB of 8 bits."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # Pillow would clip; it takes the upper byte itself where a photo has 16 bits in colour.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its numbers of 32 bits have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; docs/own-data.md shows the layout") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save it in that encoding") from None
