"""Select the labelled photos to hold out for validation, as a function of their ids alone."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain

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
