"""Source `coco`: COCO 2014 as one dataset folder, with masks drawn from its instances (Section IV-A, docs/coco.md).

Photos are linked; those with an EXIF orientation are copied without it, as masks are of the pixels as stored. Class ids
are 1..80 in the order of COCO's own category ids, of which 10 are unused.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from ppl.data.lists import write_lists
from ppl.data.masks import write_mask
from ppl.data.orientation import link_as_stored
from ppl.data.photos import MAX_STORED
from ppl.data.settings import Coco, Convention
from ppl.jobs.errors import UserError, reason
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

SPLITS = ("train", "val")
IMAGES_PER_TASK = 64
ARCHIVES = ("train2014.zip", "val2014.zip", "annotations_trainval2014.zip")
FAR = 10  # times the longer side of a photo, beyond which no corner may lie


class Instance(NamedTuple):
    """A segmented object: class id, polygons or run lengths in COCO's format, area in pixels, whether it is a crowd."""

    label: int
    segmentation: Any
    area: float
    crowd: bool


class Photo(NamedTuple):
    """An image id (file name without suffix), height, width, and the annotated instances."""

    image_id: str
    height: int
    width: int
    instances: tuple[Instance, ...]


def archives(settings: Coco, splits: Sequence[str]) -> tuple[str, ...]:
    """Return the archives to download; none if the user has them."""
    return ARCHIVES if settings.path is None else ()


def has_masks(settings: Coco) -> bool:
    return True


def prepare(settings: Coco, out: Path, *, workers: int) -> None:
    """Write the dataset folder with all of SPLITS.

    Below `settings.path` are train2014/, val2014/ and annotations/instances_*2014.json.
    """
    if settings.path is None:
        raise UserError("data.coco", "source coco needs path", "name the folder of the unpacked archives")
    root = Path(settings.path)
    for name in ("JPEGImages", "SegmentationClass"):
        (out / name).mkdir()
    labels: dict[str, list[str]] = {}
    lists: dict[str, list[str]] = {}
    for split in SPLITS:
        classes, annotated = _read(root / "annotations" / f"instances_{split}2014.json")
        photos = [photo for photo in annotated if settings.convention == "A" or photo.instances]
        for photo in photos:
            ids = sorted({instance.label for instance in drawn_instances(photo.instances, settings.convention)})
            labels[photo.image_id] = [classes[label - 1] for label in ids]
        lists[split] = [photo.image_id for photo in photos]
        sources = [root / f"{split}2014" / f"{image_id}.jpg" for image_id in dict.fromkeys(lists[split])]
        link_as_stored(sources, out / "JPEGImages", workers=workers)
        chunks = in_chunks(photos, IMAGES_PER_TASK)
        write = partial(_write, out / "SegmentationClass", settings.convention)
        for _ in run_all(write, chunks, workers=workers, total=len(photos), size=len, name=f"masks drawn, {split}"):
            pass
    write_lists(out, classes, labels, lists)


def read_photos(coco: COCO) -> Iterator[Photo]:
    """Yield the photos of an annotation file by COCO's image number, with their instances in file order."""
    ids = {number: label for label, number in enumerate(sorted(coco.cats), start=1)}
    for number in sorted(coco.imgs):
        image = coco.imgs[number]
        instances = (
            Instance(ids[a["category_id"]], a["segmentation"], a["area"], bool(a["iscrowd"]))
            for a in coco.imgToAnns[number]
        )
        yield Photo(Path(image["file_name"]).stem, image["height"], image["width"], tuple(instances))


def drawn_instances(instances: Sequence[Instance], convention: Convention) -> list[Instance]:
    """Return the instances that a convention draws; later ones cover earlier ones."""
    if convention == "A":
        return [instance for instance in instances if not instance.crowd]
    return sorted(instances, key=lambda instance: -instance.area)


def draw(photo: Photo, convention: Convention) -> np.ndarray:
    """Return the class ids (h, w) uint8 of a photo's instances, 0 elsewhere; UserError for a malformed instance."""
    size, remedy = (photo.height, photo.width), "unpack the annotations again"
    if not all(isinstance(side, int) and side > 0 for side in size) or size[0] * size[1] > MAX_STORED:
        raise UserError(photo.image_id, f"invalid size {size}", remedy)
    mask = np.zeros(size, dtype=np.uint8)
    for instance in drawn_instances(photo.instances, convention):
        try:
            inside = _decode(checked(instance.segmentation, size), *size)
        except Exception as error:  # pycocotools raises exceptions of many types
            raise UserError(photo.image_id, f"an instance cannot be drawn ({reason(error)})", remedy) from error
        mask[inside] = instance.label
    return mask


def checked(segmentation: Any, size: tuple[int, int]) -> Any:
    """Return a segmentation in COCO's format that fits a photo of `size` (h, w).

    It is a list of polygons, each a list of x and y in pixels, or run lengths with their size, as a list of numbers or
    as compressed text. Polygons of one or two points are left out, as they cover nothing. ValueError for anything
    else, such as coordinates far outside of the photo, or run lengths of another size: with these pycocotools accesses
    memory that is not its own.
    """
    if isinstance(segmentation, list):
        for part in segmentation:
            if not isinstance(part, list) or len(part) % 2:
                raise ValueError("corners have two numbers, x and y")
            if not all(isinstance(number, int | float) and abs(number) <= FAR * max(size) for number in part):
                raise ValueError("a corner is no number, or lies far outside of the photo")
        return [part for part in segmentation if len(part) > 4]
    if not isinstance(segmentation, dict) or list(segmentation.get("size", ())) != list(size):
        raise ValueError(f"neither polygons nor run lengths of {size[1]}x{size[0]} pixels")
    counts = segmentation.get("counts")
    lengths = counts if isinstance(counts, list) else _decompressed(counts)
    if not all(isinstance(length, int) and length >= 0 for length in lengths) or sum(lengths) != size[0] * size[1]:
        raise ValueError(f"run lengths of {size[1]}x{size[0]} pixels whose sum is another")
    return segmentation


def _decompressed(counts: Any) -> list[int]:
    """Return the run lengths in COCO's compressed text.

    A character is the sum of 48, five bits of a number (two's complement, the lowest bits first), and 32 if more bits
    follow. From the fourth on, a number is the difference between a length and the last but one.
    ValueError for anything but ASCII text, and for text that ends within a number.
    """
    if not isinstance(counts, str) or not counts.isascii():
        raise ValueError("run lengths are neither numbers nor text")
    lengths: list[int] = []
    value, shift = 0, 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("run lengths end within a number")
    return lengths


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return the pixels (h, w) bool of a segmentation, which `checked` has returned."""
    if not segmentation:
        return np.zeros((height, width), bool)
    if isinstance(segmentation, list):  # polygons
        segmentation = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):  # run lengths, not compressed
        segmentation = rle.frPyObjects(segmentation, height, width)
    return rle.decode(segmentation).astype(bool)


def _write(folder: Path, convention: Convention, photos: Sequence[Photo]) -> None:
    for photo in photos:
        write_mask(folder / f"{photo.image_id}.png", draw(photo, convention))


def _read(path: Path) -> tuple[list[str], list[Photo]]:
    """Return class names and photos of an annotation file; pycocotools' progress goes to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            coco = COCO(str(path))
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "docs/coco.md says which archive goes where") from error
    except Exception as error:  # pycocotools raises exceptions of many types
        raise _not_instances(path, error) from error
    try:
        classes, photos = [str(coco.cats[number]["name"]) for number in sorted(coco.cats)], list(read_photos(coco))
        if not classes or not photos:
            raise ValueError("no classes or no images")
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # keys or types of another format
        raise _not_instances(path, error) from error
    return classes, photos


def _not_instances(path: Path, error: Exception) -> UserError:
    return UserError(path, f"not an annotation file of COCO's instances ({reason(error)})", "unpack the archive again")
