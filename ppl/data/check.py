"""Looks at a whole dataset before any training: lists every fault at once, and warns of what makes results poor.

python -m ppl.data.check --data mine.yaml    (the experiments of a settings file that have a folder of their own)
python -m ppl.data.check --data mine         (a dataset folder whose splits are called train, val and test)
"""

import os.path
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ppl.data.dataset import LISTS, Dataset, id_fault
from ppl.data.findings import Finding, listed, paragraphs
from ppl.data.masks import IGNORE, read_mask
from ppl.data.own.photos import copies
from ppl.data.photos import MAX_PIXELS, MAX_STORED, photo_size, read_photo
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import write_json
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

IMAGES_PER_TASK = 32
FEW = 20  # training photos of a class, below which little can be learned
IMBALANCE = 20  # times as many photos as the rarest class has
TINY = 64  # pixels of the shorter side
OF_AN_EXPERIMENT = ("train_split", "seed_split", "val_split", "test_split", "max_side")


@dataclass(frozen=True)
class Settings:
    data: Path
    """Dataset folder, or a settings file (.yaml) whose own experiments name folder, splits and data.max_side."""
    train_split: str = "train"
    """Trained on, with image-level labels."""
    seed_split: str = "train"
    """The part of it on which seeds and pseudo labels are measured, where there are masks."""
    val_split: str = "val"
    test_split: str = "test"
    out: Path | None = None
    """Summary, JSON; without it the summary is printed."""
    workers: int = 2
    max_side: int | None = None
    """Of the experiment: photos with a longer side are shrunk to it first, and may be larger."""


@dataclass(frozen=True)
class Seen:
    """What looking at a photo and its mask has told."""

    faults: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


def main(settings: Settings) -> None:
    if settings.data.suffix not in (".yaml", ".yml") or settings.data.is_dir():
        check(settings)
        return
    for own in experiments(settings):
        check(own)
    print(f"no faults: {settings.data} can be run")


def check(settings: Settings) -> None:
    """Checks one dataset; UserError that lists its faults, else a summary to the file or to the terminal."""
    dataset, in_lines = Dataset.inspect(settings.data)
    names = dict.fromkeys([settings.train_split, settings.seed_split, settings.val_split, settings.test_split])
    absent = [name for name in names if not os.path.exists(dataset.list_of(name))]
    splits = {name: [] if name in absent else dataset.listed(name) for name in names}
    train, val = settings.train_split, settings.val_split
    measured = {*splits[settings.seed_split], *splits[val]} if dataset.has_masks else set()
    images = sorted(set(chain.from_iterable(splits.values())))
    seen = look(dataset, images, measured, settings.max_side, settings.workers)
    faults = list(chain(
        (_in_a_line(fault) for fault in in_lines),
        split_faults(splits, train, settings.seed_split, [val]),
        label_faults(dataset, splits, train, val),
        folder_faults(dataset, images),
        seen.faults,
    ))  # fmt: skip
    warnings = list(chain(
        split_warnings(splits, train, [settings.test_split]),
        label_warnings(dataset, splits[train]),
        held_out_copies(dataset, splits[train], splits[val], train, val),
        seen.warnings,
    ))  # fmt: skip
    if faults:
        kinds = list(paragraphs(faults))
        what = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise UserError(settings.data, what, "correct them first:", kinds)
    found = summary(dataset, splits)
    if settings.out is None:
        print(described(settings.data, found, splits))
    for line in paragraphs(warnings):
        print(f"warning: {line}")
    if settings.out is not None:
        write_json(settings.out, found)


def experiments(settings: Settings) -> Iterator[Settings]:
    """Settings of the check of each experiment of a settings file that has a folder of the user's own."""
    file = settings.data
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        sections = [experiment["data"] for experiment in content["experiments"].values()]
        own = [section for section in sections if section.get("source", "folder") == "folder"]
        folders = [Path(section["path"]) for section in own]
    except OSError as error:
        raise UserError(file, f"{error.strerror}", "name a settings file or a dataset folder") from None
    except (ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(file, f"no settings file ({reason(error)})", "docs/own-data.md shows one") from None
    if not own:
        raise UserError(file, "no experiment with a folder of your own", "name the dataset folder instead")
    for section, folder in zip(own, folders, strict=True):
        named: Mapping[str, Any] = {key: section[key] for key in OF_AN_EXPERIMENT if key in section}
        yield replace(settings, data=folder, **named)


def split_faults(splits: dict[str, list[str]], train: str, seed: str, held_out: Sequence[str]) -> Iterator[Finding]:
    """Faults in the lists themselves: empty, repeated or impossible ids, photos trained on and held out."""
    for name, images in splits.items():
        file = f"{LISTS}/{name}.txt"
        if not images:
            yield Finding(file, "is empty or not there", "list one image id a line", "lists are empty or not there")
        for image, count in Counter(images).items():
            if count > 1:
                yield Finding(
                    file, f"{image!r} is listed {count} times", "keep one", f"ids are listed repeatedly in {file}"
                )
            if fault := id_fault(image):
                yield Finding(file, *fault, "lines of lists cannot be ids")
    for name in dict.fromkeys(held_out):
        shared = sorted(set(splits[train]) & set(splits[name]))
        if shared:
            what = f"share {len(shared)} images, the first is {shared[0]!r}"
            yield Finding(f"splits {train} and {name}", what, "keep it in one", "pairs of splits share images")
    outside = sorted(set(splits[seed]) - set(splits[train]))
    if outside:
        what = f"has {len(outside)} images that {train} lacks, such as {outside[0]!r}"
        yield Finding(f"split {seed}", what, "it must be a part", "splits are no part of another")


def split_warnings(splits: dict[str, list[str]], train: str, predicted: Sequence[str]) -> Iterator[Finding]:
    """Photos that are trained on and predicted: meant where all are, for masks of one's own; else an oversight."""
    for name in dict.fromkeys(predicted):
        shared = set(splits[train]) & set(splits[name])
        if 0 < len(shared) < len(set(splits[train])):
            yield Finding(
                f"split {name}", f"{len(shared):,} of its {len(set(splits[name])):,} photos are trained on, too",
                "keep them in one, as scores measured on them would flatter", "splits are trained on, too",
            )  # fmt: skip


def label_faults(dataset: Dataset, splits: dict[str, list[str]], train: str, val: str) -> Iterator[Finding]:
    """Images without a line in labels.csv, and classes that no training image shows."""
    for name in dict.fromkeys([train, val]):
        for image in dict.fromkeys(splits[name]):
            if image not in dataset.labels:
                yield Finding(
                    f"photo {image!r} of split {name}", "has no line in labels.csv",
                    "add one, with empty classes if it has none", f"photos of split {name} have no line in labels.csv",
                )  # fmt: skip
    if "background" in dataset.classes:
        yield Finding("classes.txt", "names background, which is id 0 without being listed", "take it out", "")
    if "mean" in dataset.classes:
        what = "names mean, which is the last row of every table of IoU"
        yield Finding("classes.txt", what, "call the class otherwise", "")
    shown = set(chain.from_iterable(dataset.labels.get(image, ()) for image in splits[train]))
    for number, name in enumerate(dataset.classes, start=1):
        if number not in shown:
            yield Finding(
                f"class {name!r}", f"is on no image of split {train}", "take it out of classes.txt, or label some",
                f"classes are on no image of split {train}",
            )  # fmt: skip


def label_warnings(dataset: Dataset, images: Sequence[str]) -> Iterator[Finding]:
    """Classes that the training photos can hardly tell: rare, far rarer than others, on every photo, written twice."""
    counts = Counter(chain.from_iterable(dataset.labels.get(image, ()) for image in dict.fromkeys(images)))
    shown = {name: counts[number] for number, name in enumerate(dataset.classes, start=1) if counts[number]}
    total = len(set(images))
    for name, count in shown.items():
        if count < FEW:
            what = f"is on {count} training photo{'s' * (count > 1)}"
            many = f"classes have fewer than {FEW} training photos"
            yield Finding(f"class {name!r}", what, "label more photos, or expect poor masks", many)
        if count == total:
            what = "is on every training photo, so that nothing tells the object from what is around it"
            yield Finding(
                f"class {name!r}", what, "add photos without it, with empty classes", "classes are on every photo"
            )
    if shown and max(shown.values()) > IMBALANCE * min(shown.values()):
        often, rare = (choose(shown, key=lambda name: shown[name]) for choose in (max, min))
        what = f"is on {shown[often]:,} training photos, {rare!r} on {shown[rare]:,}"
        yield Finding(f"class {often!r}", what, "label more of the rare classes", "classes are frequent")
    written: dict[str, list[str]] = {}
    for name in dataset.classes:
        written.setdefault("".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
    for names in written.values():
        if len(names) > 1:
            what = f"{listed(map(repr, names))} look like one class"
            yield Finding(
                "classes.txt", what, "write it the same way everywhere", "classes are written in several ways"
            )


def held_out_copies(dataset: Dataset, train: Sequence[str], val: Sequence[str], *names: str) -> Iterator[Finding]:
    """Photos of the held-out split whose file is, byte for byte, one that is trained on."""
    held_out = set(val) - set(train)
    paths = {image: dataset.photo(image) for image in sorted({*train, *held_out}) if not id_fault(image)}
    for group in copies({image: path for image, path in paths.items() if path.is_file()}):
        trained = [image for image in group if image not in held_out]
        for image in group:
            if trained and image in held_out:
                what = f"is the same file as {trained[0]!r} of split {names[0]}"
                many = f"photos of split {names[1]} are copies of photos that are trained on"
                yield Finding(f"photo {image!r}", what, "keep both in one split, or scores flatter", many)


def folder_faults(dataset: Dataset, images: Sequence[str]) -> Iterator[Finding]:
    """Masks in no folder, and several photos of one id."""
    if dataset.mask("").parent.exists() and not dataset.has_masks:
        what = "is no folder"
        yield Finding("SegmentationClass", what, "put the masks into one, or take it out", "")
    photos = replace(dataset).photos_by_id  # of a copy: all that a dataset remembers goes to the worker processes
    for image in images:
        files = [path.name for path in photos.get(image, ())]
        if len(files) > 1:
            what = f"{', '.join(files)} are photos of one id"
            yield Finding("JPEGImages", what, "keep one", "ids have several photos")


def look(dataset: Dataset, images: Sequence[str], measured: set[str], max_side: int | None, workers: int) -> Seen:
    """Opens every photo and every measured mask, and tells what is wrong with them."""
    images = [image for image in images if not id_fault(image)]
    chunks = in_chunks(images, IMAGES_PER_TASK)
    tasks = ((dataset, max_side, [(image, image in measured) for image in chunk]) for chunk in chunks)
    found = run_all(_look_at_chunk, tasks, workers=workers, total=len(images), size=_length, name="photos checked")
    seen = list(chain.from_iterable(found))
    faults, warnings = (sorted(chain.from_iterable(getattr(s, k) for s in seen)) for k in ("faults", "warnings"))
    return Seen(tuple(faults), tuple(warnings))


def look_at(dataset: Dataset, image: str, with_mask: bool, max_side: int | None = None) -> Seen:
    """What is wrong with one photo, which may be large where it is shrunk to `max_side`, and with its mask."""
    path, mask_path = dataset.photo(image), dataset.mask(image)
    place = str(path.relative_to(dataset.root))
    if not os.path.lexists(path):
        remedy = "copy the file there, or take its id out of the lists"
        return Seen((Finding(place, "is not there", remedy, "photos are not there"),))
    most = MAX_PIXELS if max_side is None else MAX_STORED
    try:
        size = photo_size(path, most=most)
        read_photo(path, max_side=max_side)
    except UserError as error:
        return Seen((Finding.of(error, place, "photos cannot be used"),))
    warnings = []
    if min(size) < TINY:
        what, many = f"is {size[1]}x{size[0]} pixels", f"photos have fewer than {TINY} pixels on a side"
        warnings.append(Finding(place, what, "use larger photos, or expect coarse masks", many))
    if not with_mask:
        return Seen(warnings=tuple(warnings))
    place = str(mask_path.relative_to(dataset.root))
    if not os.path.lexists(mask_path):
        remedy = "draw it, list only photos with masks in val and in the seed split, or take SegmentationClass out"
        return Seen((Finding(place, "is not there", remedy, "masks are not there"),), tuple(warnings))
    try:
        mask = read_mask(mask_path, most=most)
    except UserError as error:
        return Seen((Finding.of(error, place, "masks cannot be used"),), tuple(warnings))
    return Seen(tuple(mask_faults(dataset, place, mask, size)), (*warnings, *contradictions(dataset, image, mask)))


def mask_faults(dataset: Dataset, place: str, mask: np.ndarray, size: tuple[int, int]) -> Iterator[Finding]:
    """Faults of a mask (h, w): another size than its photo's, ids that are no class."""
    if mask.shape != size:
        (h, w), (height, width) = mask.shape, size
        what = f"is {w}x{h}, the photo {width}x{height}"
        yield Finding(place, what, "draw it at that size", "masks have another size than their photos")
    unknown = sorted({int(i) for i in np.unique(mask)} - {*range(len(dataset.classes) + 1), IGNORE})
    if unknown:
        remedy = f"allowed are 0 to {len(dataset.classes)} and {IGNORE}"
        yield Finding(place, f"holds id {unknown[0]}", remedy, "masks hold ids of no class")


def contradictions(dataset: Dataset, image: str, mask: np.ndarray) -> Iterator[Finding]:
    """Classes that a mask (h, w) shows and the labels of its image lack, or the other way round."""
    drawn = {int(i) for i in np.unique(mask)} & set(range(1, len(dataset.classes) + 1))
    labelled = set(dataset.labels.get(image, ()))
    if image in dataset.labels and drawn != labelled:
        sides = (("shows {}, which is not labelled", drawn - labelled), ("lacks {}, labelled", labelled - drawn))
        named = ((text, [dataset.classes[i - 1] for i in sorted(ids)]) for text, ids in sides if ids)
        what = "the mask " + " and ".join(text.format(listed(classes)) for text, classes in named)
        many = "masks contradict labels"
        yield Finding(f"image {image!r}", what, "correct one of the two, or scores suffer", many)


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


def described(data: Path, found: dict, splits: dict[str, list[str]]) -> str:
    """A summary as a table of photos by class and split, for people."""
    names = list(found["images"])
    rows = [("photos", [found["images"][name] for name in names])]
    rows += [(c, [found["images_per_class"][name].get(c, 0) for name in names]) for c in found["classes"]]
    width = max(len(title) for title, _ in rows)
    lines = ["  " + " " * width + "".join(f"{name:>12}" for name in names)]
    lines += [f"  {title:<{width}}" + "".join(f"{count:>12,}" for count in counts) for title, counts in rows]
    masks = "with masks" if found["masks"] else "without masks, so nothing is measured"
    total = len(set(chain.from_iterable(splits.values())))
    many = f"{len(found['classes'])} classes" if len(found["classes"]) > 1 else "1 class"
    return "\n".join([f"{data}: {total:,} photos, {many}, {masks}", *lines])


def _in_a_line(fault: UserError) -> Finding:
    """A fault of a line of labels.csv."""
    line = str(fault.where).rpartition(", ")[2]
    return Finding(f"labels.csv, {line}", fault.what, fault.remedy, "lines of labels.csv are faulty")


def _look_at_chunk(task: tuple[Dataset, int | None, Sequence[tuple[str, bool]]]) -> list[Seen]:
    dataset, max_side, images = task
    return [look_at(dataset, image, with_mask, max_side) for image, with_mask in images]


def _length(task: tuple[Dataset, int | None, Sequence]) -> int:
    return len(task[2])


if __name__ == "__main__":
    command(main, Settings)
