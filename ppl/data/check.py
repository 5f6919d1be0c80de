"""Looks at a whole dataset before any training and lists every fault at once."""

import os.path
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ppl.command import command
from ppl.data.dataset import IGNORE, LISTS, Dataset, id_fault, read_mask, read_photo
from ppl.files import UserError, write_json
from ppl.parallel import in_chunks, run_all

IMAGES_PER_TASK = 32


@dataclass(frozen=True)
class Settings:
    data: Path
    train_split: str
    """Trained on, with image-level labels."""
    seed_split: str
    """The part of it on which seeds and pseudo labels are measured, where there are masks."""
    val_split: str
    test_split: str
    out: Path
    """Summary, JSON."""
    workers: int


def main(settings: Settings) -> None:
    dataset, in_lines = Dataset.inspect(settings.data)
    names = dict.fromkeys([settings.train_split, settings.seed_split, settings.val_split, settings.test_split])
    absent = [name for name in names if not os.path.exists(dataset.list_of(name))]
    splits = {name: [] if name in absent else dataset.listed(name) for name in names}
    measured = {*splits[settings.seed_split], *splits[settings.val_split]} if dataset.has_masks else set()
    images = sorted(set(chain.from_iterable(splits.values())))
    faults = list(chain(
        (f"labels.csv, {fault}" for fault in in_lines),
        split_faults(splits, settings.train_split, settings.seed_split, [settings.val_split, settings.test_split]),
        label_faults(dataset, splits, settings.train_split, settings.val_split),
        file_faults(dataset, images, measured, settings.workers),
    ))  # fmt: skip
    if faults:
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise UserError(f"{settings.data}: {len(faults)} fault{'s' * (len(faults) > 1)}, to be corrected first{lines}")
    write_json(settings.out, summary(dataset, splits))


def split_faults(splits: dict[str, list[str]], train: str, seed: str, held_out: Sequence[str]) -> Iterator[str]:
    """Faults in the lists themselves: empty, repeated or impossible ids, photos trained on and held out."""
    for name, images in splits.items():
        file = f"{LISTS}/{name}.txt"
        if not images:
            yield f"{file}: is empty or not there; list one image id a line"
        for image, count in Counter(images).items():
            if count > 1:
                yield f"{file}: {image!r} is listed {count} times; keep one"
            if fault := id_fault(image):
                yield f"{file}: {fault}"
    for name in dict.fromkeys(held_out):
        shared = sorted(set(splits[train]) & set(splits[name]))
        if shared:
            yield f"splits {train} and {name} share {len(shared)} images, the first is {shared[0]!r}; keep it in one"
    outside = sorted(set(splits[seed]) - set(splits[train]))
    if outside:
        yield f"split {seed} has {len(outside)} images that {train} lacks, such as {outside[0]!r}; it must be a part"


def label_faults(dataset: Dataset, splits: dict[str, list[str]], train: str, val: str) -> Iterator[str]:
    """Images without a line in labels.csv, and classes that no training image shows."""
    for name in dict.fromkeys([train, val]):
        for image in dict.fromkeys(splits[name]):
            if image not in dataset.labels:
                yield f"labels.csv: no line for {image!r} of split {name}; add one, with empty classes if it has none"
    if "background" in dataset.classes:
        yield "classes.txt: names background, which is id 0 without being listed; take it out"
    if "mean" in dataset.classes:
        yield "classes.txt: names mean, which is the last row of every table of IoU; call the class otherwise"
    shown = set(chain.from_iterable(dataset.labels.get(image, ()) for image in splits[train]))
    for number, name in enumerate(dataset.classes, start=1):
        if number not in shown:
            yield f"classes.txt: no image of split {train} is labelled {name!r}; take the class out or label some"


def file_faults(dataset: Dataset, images: Sequence[str], measured: set[str], workers: int) -> Iterator[str]:
    """Photos that do not decode; masks that are missing, of another size, or hold unknown ids."""
    masks = dataset.root / "SegmentationClass"
    if masks.exists() and not dataset.has_masks:
        yield f"{masks}: is no folder; put the masks into one, or take it out"
    photos = replace(dataset).photos_by_id  # of a copy: all that a dataset remembers goes to the worker processes
    for image in images:
        files = [path.name for path in photos.get(image, ())]
        if len(files) > 1:
            yield f"{dataset.photo(image).parent}: {', '.join(files)} are photos of one id; keep one"
    images = [image for image in images if not id_fault(image)]
    chunks = in_chunks(images, IMAGES_PER_TASK)
    tasks = ((dataset, [(image, image in measured) for image in chunk]) for chunk in chunks)
    found = run_all(
        _faults_of_chunk,
        tasks,
        workers=workers,
        total=len(images),
        size=lambda task: len(task[1]),
        name="photos checked",
    )
    yield from sorted(chain.from_iterable(found))


def image_faults(dataset: Dataset, image: str, with_mask: bool) -> Iterator[str]:
    """Faults of one photo and its mask."""
    try:
        size = read_photo(dataset.photo(image)).shape[:2]
        if not with_mask:
            return
        mask = read_mask(dataset.mask(image))
    except UserError as error:
        yield str(error)
        return
    if mask.shape != size:
        (h, w), (height, width) = mask.shape, size
        yield f"{dataset.mask(image)}: is {w}x{h}, the photo {width}x{height}; draw it at that size"
    unknown = sorted({int(i) for i in np.unique(mask)} - {*range(len(dataset.classes) + 1), IGNORE})
    if unknown:
        yield f"{dataset.mask(image)}: holds id {unknown[0]}; allowed are 0 to {len(dataset.classes)} and {IGNORE}"


def summary(dataset: Dataset, splits: dict[str, list[str]]) -> dict:
    """Images per split and class, and whether there are masks."""
    counts = {
        name: Counter(dataset.classes[i - 1] for image in images for i in dataset.labels.get(image, ()))
        for name, images in splits.items()
    }
    return {
        "classes": list(dataset.classes),
        "images": {name: len(images) for name, images in splits.items()},
        "images_per_class": {name: dict(sorted(count.items())) for name, count in counts.items()},
        "masks": dataset.has_masks,
    }


def _faults_of_chunk(task: tuple[Dataset, Sequence[tuple[str, bool]]]) -> list[str]:
    dataset, images = task
    return [fault for image, with_mask in images for fault in image_faults(dataset, image, with_mask)]


if __name__ == "__main__":
    command(main, Settings)
