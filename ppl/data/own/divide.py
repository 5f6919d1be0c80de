"""Which labelled photos are held out: a choice that depends on their ids alone, so that it is the same every time."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from ppl.jobs.errors import UserError


def held_out(
    labels: Mapping[str, Collection[str]], groups: Sequence[Sequence[str]], candidates: Collection[str], count: int
) -> list[str]:
    """About `count` of the `candidates`, sorted; the photos of a group, copies of each other, stay together.

    Every class keeps a photo to be trained on. Photos come in the order of a digest of their ids: one more photo moves
    few others. UserError where none can be held out.
    """
    group_of = {image: tuple(group) for group in groups for image in group}
    together = {group_of.get(image, (image,)) for image in labels}
    left = Counter(chain.from_iterable(labels.values()))
    chosen: list[str] = []
    for group in sorted(together, key=lambda group: hashlib.sha256(group[0].encode()).digest()):
        own = Counter(chain.from_iterable(labels[image] for image in group if image in labels))
        fits = all(image in candidates for image in group)
        if fits and len(chosen) + len(group) <= count and all(left[name] > shown for name, shown in own.items()):
            chosen += group
            left -= own
    if not chosen or len(chosen) == len(labels):
        raise UserError(
            "labels", "no photo can be held out, as each is the last of a class, or one of several copies",
            "label at least two different photos of each class",
        )  # fmt: skip
    return sorted(chosen)
