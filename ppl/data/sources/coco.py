"""Source `coco`: COCO 2014 as one dataset folder, masks drawn from its instances (Section IV-A, docs/coco.md).

Annotations are streamed to worker processes image by image; photos are linked. Class ids are 1..80 in the order of
COCO's own, whose 10 unused numbers change no figure.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from ppl.data.dataset import LISTS
from ppl.data.masks import write_mask
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

SPLITS = ("train", "val")
IMAGES_PER_TASK = 64

Convention = Literal["A", "B"]


@dataclass(frozen=True)
class Settings:
    root: Path
    """Folder with train2014/, val2014/ and annotations/instances_*2014.json."""
    out: Path
    convention: Convention
    """A: of overlapping instances the later one counts, crowds are background, photos without labels are kept.
    B: the smaller one counts, crowds are drawn, photos without labels are left out."""
    workers: int = 1
    """Processes that draw masks."""


class Instance(NamedTuple):
    """A segmented object: class id, polygons or run lengths as COCO writes them, area, whether it is a crowd."""

    label: int
    segmentation: Any
    area: float
    crowd: bool


class Photo(NamedTuple):
    """A photo's id (its file name without suffix), height, width, and what is annotated."""

    image: str
    height: int
    width: int
    instances: tuple[Instance, ...]


def main(settings: Settings) -> None:
    with atomic(settings.out) as folder:
        for name in ("JPEGImages", "SegmentationClass", LISTS):
            (folder / name).mkdir(parents=True)
        rows = ["image,classes\n"]
        for split in SPLITS:
            classes, annotated = _read(settings.root / "annotations" / f"instances_{split}2014.json")
            photos = [photo for photo in annotated if settings.convention == "A" or photo.instances]
            for photo in photos:
                labels = sorted({i.label for i in counted(photo.instances, settings.convention)})
                rows.append(f"{photo.image},{';'.join(classes[label - 1] for label in labels)}\n")
                source = settings.root / f"{split}2014" / f"{photo.image}.jpg"
                (folder / "JPEGImages" / source.name).symlink_to(source.resolve())
            (folder / LISTS / f"{split}.txt").write_text("".join(f"{photo.image}\n" for photo in photos))
            (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
            chunks = in_chunks(photos, IMAGES_PER_TASK)
            write = partial(_write, folder / "SegmentationClass", settings.convention)
            done = run_all(
                write, chunks, workers=settings.workers, total=len(photos), size=len, name=f"masks drawn, {split}"
            )
            for _ in done:
                pass
        (folder / "labels.csv").write_text("".join(rows))


def read_photos(coco: COCO) -> Iterator[Photo]:
    """The photos of an annotation file by their number, with their instances in the order of the file."""
    ids = {number: label for label, number in enumerate(sorted(coco.cats), start=1)}
    for number in sorted(coco.imgs):
        image = coco.imgs[number]
        instances = (
            Instance(ids[a["category_id"]], a["segmentation"], a["area"], bool(a["iscrowd"]))
            for a in coco.imgToAnns[number]
        )
        yield Photo(Path(image["file_name"]).stem, image["height"], image["width"], tuple(instances))


def counted(instances: Sequence[Instance], convention: Convention) -> list[Instance]:
    """Instances that a convention draws, in the order in which they cover each other."""
    if convention == "A":
        return [instance for instance in instances if not instance.crowd]
    return sorted(instances, key=lambda instance: -instance.area)


def draw(photo: Photo, convention: Convention) -> np.ndarray:
    """Class ids (h, w) uint8 of a photo's instances, 0 where there is none."""
    mask = np.zeros((photo.height, photo.width), dtype=np.uint8)
    for instance in counted(photo.instances, convention):
        coded = instance.segmentation
        if isinstance(coded, list):  # polygons
            coded = rle.merge(rle.frPyObjects(coded, photo.height, photo.width))
        elif isinstance(coded["counts"], list):  # run lengths, not compressed
            coded = rle.frPyObjects(coded, photo.height, photo.width)
        mask[rle.decode(coded).astype(bool)] = instance.label
    return mask


def _write(folder: Path, convention: Convention, photos: Sequence[Photo]) -> None:
    for photo in photos:
        try:
            mask = draw(photo, convention)
        except Exception as error:  # pycocotools raises whatever it meets
            raise UserError(
                photo.image, f"its instances cannot be drawn ({reason(error)})", "unpack the annotations again"
            ) from None
        write_mask(folder / f"{photo.image}.png", mask)


def _read(path: Path) -> tuple[list[str], list[Photo]]:
    """Names of the classes and the photos of an annotation file; pycocotools' progress goes to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            coco = COCO(str(path))
        classes, photos = [str(coco.cats[number]["name"]) for number in sorted(coco.cats)], list(read_photos(coco))
        if not classes or not photos:
            raise ValueError("no classes or no images")
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "docs/coco.md says which archive goes where") from None
    except Exception as error:  # pycocotools raises whatever is missing or of another kind
        raise UserError(path, f"not a file of COCO's instances ({reason(error)})", "unpack the archive again") from None
    return classes, photos


if __name__ == "__main__":
    command(main, Settings)
