"""Divide photos into splits; those held out for validation are a function of the ids of labelled photos alone."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from ppl.data.own.photos import PhotoFolder, copies
from ppl.jobs.errors import UserError


def held_out(
    labels: Mapping[str, Collection[str]], groups: Sequence[Sequence[str]], candidates: Collection[str], count: int
) -> list[str]:
    """Return up to `count` of the `candidates`, sorted, to be held out.

    `labels` holds class names by image id. Photos of a group, copies of each other, stay together. Every class keeps at
    least one training photo. Photos are considered in the order of a digest of their ids, so that adding a photo moves
    few others. UserError if none can be held out.
    """
    group_of = {image_id: tuple(group) for group in groups for image_id in group}
    together = {group_of.get(image_id, (image_id,)) for image_id in labels}
    remaining = Counter(chain.from_iterable(labels.values()))
    selected: list[str] = []
    for group in sorted(together, key=lambda group: hashlib.sha256(group[0].encode()).digest()):
        in_group = Counter(chain.from_iterable(labels[image_id] for image_id in group if image_id in labels))
        fits = all(image_id in candidates for image_id in group)
        fits = fits and len(selected) + len(group) <= count
        if fits and all(remaining[name] > number for name, number in in_group.items()):
            selected += group
            remaining -= in_group
    if not selected or len(selected) == len(labels):
        raise UserError(
            "labels", "no photo can be held out, as each is the last of a class, or one of several copies",
            "label at least two different photos of each class",
        )  # fmt: skip
    return sorted(selected)


def divide(
    folder: PhotoFolder,
    ids: Mapping[PurePosixPath, str],
    labels: Mapping[str, frozenset[str]],
    masked: set[str],
    val_share: float,
    *,
    labels_path: Path,
    masks_path: Path | None,
) -> dict[str, list[str]]:
    """Return the image ids of each split: training, those of it with masks (seed), held out (val), and all (test).

    `masked` are the ids of photos with a mask, `val_share` is the share of labelled photos to hold out. UserError,
    which names the path of labels or of masks, if too few can be held out.
    """
    measured = masked & labels.keys()
    if masked and len(measured) < 2:
        raise UserError(masks_path, "fewer than two labelled photos have a mask", "draw more, or omit --masks")
    count = max(1, round(val_share * len(labels)))
    if measured:
        count = min(count, len(measured) // 2)
    paths = {ids[photo]: folder.root / photo for photo in folder.photos}
    same = list(copies({image_id: path for image_id, path in paths.items() if image_id in labels and path.is_file()}))
    try:
        val = held_out(labels, same, measured or labels.keys(), count)
    except UserError as error:
        raise UserError(labels_path, error.what, error.remedy) from error
    held = set(val)
    train = [image_id for image_id in labels if image_id not in held]
    seed = [image_id for image_id in train if image_id in measured] or train
    return {"train": train, "seed": seed, "val": val, "test": sorted(ids.values())}
