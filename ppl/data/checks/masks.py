"""Checks of masks: their size and ids, their classes against the labels, and what all masks together can show."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ppl.data.checks.findings import Findings
from ppl.data.checks.missing import missing_file
from ppl.data.checks.photos import most_pixels
from ppl.data.dataset import Dataset
from ppl.data.findings import Finding, listed
from ppl.data.mask_formats import SAVE_IDS, mask_error
from ppl.data.masks import IGNORE, read_mask
from ppl.jobs.errors import UserError


def folder_faults(dataset: Dataset) -> Iterator[Finding]:
    """Yield a fault if there is a file in place of the folder of masks."""
    if dataset.mask("").parent.exists() and not dataset.has_masks:
        yield Finding("SegmentationClass", "not a folder", "put the masks into a folder, or remove it", "")


def check_mask(
    dataset: Dataset, image_id: str, size: tuple[int, int], *, max_side: int | None, copied: bool
) -> Findings:
    """Return the faults and warnings of the mask of a photo of `size` (h, w), and its ids if it can be read."""
    path = dataset.mask(image_id)
    place = str(path.relative_to(dataset.root))
    remedy = "draw it, list only photos with masks in val and in the seed split, or remove SegmentationClass"
    if finding := missing_file(path, place, "mask", copied=copied, remedy=remedy):
        return Findings((finding,))
    try:
        mask = read_mask(path, most=most_pixels(max_side))
    except UserError as error:
        fault = mask_error(path, error)
        many = f"masks cannot be read ({fault.what})" if fault.remedy == SAVE_IDS else "masks cannot be read"
        return Findings((Finding.of(fault, place, many),))
    faults, warnings = mask_faults(dataset, place, mask, size), contradictions(dataset, image_id, mask)
    return Findings(tuple(faults), tuple(warnings), {image_id: frozenset(np.unique(mask).tolist())})


def mask_faults(dataset: Dataset, place: str, mask: np.ndarray, size: tuple[int, int]) -> Iterator[Finding]:
    """Yield faults of a mask (h, w): a size other than the photo's `size` (h, w), ids outside 0..C and 255."""
    if mask.shape != size:
        (h, w), (height, width) = mask.shape, size
        what = f"shape mismatch: expected {width}x{height}, as the photo, got {w}x{h}"
        yield Finding(place, what, "draw it at that size", "masks have another size than their photos")
    unknown = sorted({int(i) for i in np.unique(mask)} - {*range(len(dataset.classes) + 1), IGNORE})
    if unknown:
        remedy = f"allowed are 0 to {len(dataset.classes)} and {IGNORE}"
        yield Finding(place, f"holds id {unknown[0]}", remedy, "masks hold invalid ids")


def contradictions(dataset: Dataset, image_id: str, mask: np.ndarray) -> Iterator[Finding]:
    """Yield a warning if the classes in a mask (h, w) differ from the labels of its image."""
    in_mask = {int(i) for i in np.unique(mask)} & set(range(1, len(dataset.classes) + 1))
    labelled = set(dataset.labels.get(image_id, ()))
    if image_id in dataset.labels and in_mask != labelled:
        sides = (("shows {}, which is not labelled", in_mask - labelled), ("lacks {}, labelled", labelled - in_mask))
        named = ((text, [dataset.classes[i - 1] for i in sorted(ids)]) for text, ids in sides if ids)
        what = "the mask " + " and ".join(text.format(listed(classes)) for text, classes in named)
        many = "masks contradict labels"
        yield Finding(f"image {image_id!r}", what, "correct one of the two, or scores are too low", many)


def class_faults(dataset: Dataset, mask_ids: Mapping[str, frozenset[int]]) -> Iterator[Finding]:
    """Yield a fault if the masks of labelled photos cannot show their classes. `mask_ids` by image id.

    A class drawn as 255 ("white on black") would not be measured. Masks of 1 alone where labels name other classes are
    foreground masks.
    """
    if fault := _class_fault(dataset, {i: ids for i, ids in mask_ids.items() if dataset.labels.get(i)}):
        yield Finding("masks", *fault, "")


def _class_fault(dataset: Dataset, mask_ids: Mapping[str, frozenset[int]]) -> tuple[str, str] | None:
    """Return what is wrong with the ids of the masks of labelled photos, and the remedy; None if nothing is."""
    ids = frozenset().union(*mask_ids.values())
    if IGNORE in ids and not ids - {0, IGNORE}:
        what = f"hold 0 and {IGNORE} alone: {IGNORE} is ignored, so no class would be measured"
        return what, f"write {dataset.classes[0]!r} as 1, as docs/own-data.md shows"
    others = [i for i, ids_of_mask in mask_ids.items() if 1 in ids_of_mask and 1 not in dataset.labels[i]]
    if ids - {0, IGNORE} == {1} and others:
        name = dataset.classes[dataset.labels[others[0]][0] - 1]
        what = f"hold 1, {dataset.classes[0]!r}, as the only class, also {others[0]!r}, labelled {name!r}"
        return what, "write each class as the number of its line in classes.txt"
    return None


def class_warnings(
    dataset: Dataset,
    mask_ids: Mapping[str, frozenset[int]],
    splits: Mapping[str, Sequence[str]],
    measured: Sequence[str],
) -> Iterator[Finding]:
    """Yield measured splits whose masks hold no class, and masks without background, which may count from 1."""
    if any(class_faults(dataset, mask_ids)):
        return
    for name in dict.fromkeys(measured):
        ids = frozenset().union(*(mask_ids.get(image_id, frozenset()) for image_id in splits[name]))
        if ids and not ids - {0, IGNORE}:
            what = "hold no class, so that this split has no mIoU"
            yield Finding(f"masks of split {name}", what, "list photos whose masks show classes", "splits have no mIoU")
    ids = frozenset().union(*mask_ids.values())
    if ids - {IGNORE} and 0 not in ids:
        what = f"hold {min(ids)} to {max(ids - {IGNORE})}, never 0, which is background"
        yield Finding("masks", what, "subtract 1 from all ids if 1 is background", "")
