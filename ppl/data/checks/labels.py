"""Checks of image-level labels and classes: missing ones, and those that are hard to learn."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from ppl.data.dataset import Dataset
from ppl.data.findings import Finding, listed
from ppl.jobs.errors import UserError

FEW = 20  # training photos of a class, below which little can be learned
IMBALANCE = 20  # times as many photos as the rarest class has


def label_faults(dataset: Dataset, splits: Mapping[str, Sequence[str]], train: str, val: str) -> Iterator[Finding]:
    """Yield images without a line in labels.csv, and classes without a training image."""
    for name in dict.fromkeys([train, val]):
        for image_id in dict.fromkeys(splits[name]):
            if image_id not in dataset.labels:
                yield Finding(
                    f"photo {image_id!r} of split {name}", "has no line in labels.csv",
                    "add one, with empty classes if it has none", f"photos of split {name} have no line in labels.csv",
                )  # fmt: skip
    if "background" in dataset.classes:
        yield Finding("classes.txt", "lists background, which always has id 0", "remove it", "")
    if "mean" in dataset.classes:
        what = "lists mean, which names the last row of every table of IoU"
        yield Finding("classes.txt", what, "rename the class", "")
    present = set(chain.from_iterable(dataset.labels.get(image_id, ()) for image_id in splits[train]))
    for number, name in enumerate(dataset.classes, start=1):
        if number not in present:
            yield Finding(
                f"class {name!r}", f"is on no image of split {train}", "remove it from classes.txt, or label some",
                f"classes are on no image of split {train}",
            )  # fmt: skip


def label_warnings(dataset: Dataset, image_ids: Sequence[str]) -> Iterator[Finding]:
    """Yield classes that are hard to learn: rare, far rarer than others, on every photo, or written in two ways."""
    counts = Counter(chain.from_iterable(dataset.labels.get(image_id, ()) for image_id in dict.fromkeys(image_ids)))
    photos_of = {name: counts[number] for number, name in enumerate(dataset.classes, start=1) if counts[number]}
    total = len(set(image_ids))
    for name, count in photos_of.items():
        if count < FEW:
            what = f"is on {count} training photo{'s' * (count > 1)}"
            many = f"classes have fewer than {FEW} training photos"
            yield Finding(f"class {name!r}", what, "label more photos, or expect poor masks", many)
        if count == total:
            what = "is on every training photo, so that it cannot be distinguished from its surroundings"
            yield Finding(
                f"class {name!r}", what, "add photos without it, with empty classes", "classes are on every photo"
            )
    if photos_of and max(photos_of.values()) > IMBALANCE * min(photos_of.values()):
        often, rare = (extreme(photos_of, key=lambda name: photos_of[name]) for extreme in (max, min))
        what = f"is on {photos_of[often]:,} training photos, {rare!r} on {photos_of[rare]:,}"
        yield Finding(f"class {often!r}", what, "label more of the rare classes", "classes are frequent")
    spellings: dict[str, list[str]] = {}
    for name in dataset.classes:
        spellings.setdefault("".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
    for names in spellings.values():
        if len(names) > 1:
            what = f"{listed(map(repr, names))} look like one class"
            yield Finding("classes.txt", what, "write it the same way everywhere", "classes have several spellings")


def line_finding(fault: UserError) -> Finding:
    """Return the finding for a faulty line of labels.csv."""
    line = str(fault.where).rpartition(", ")[2]
    return Finding(f"labels.csv, {line}", fault.what, fault.remedy, "lines of labels.csv are faulty")
