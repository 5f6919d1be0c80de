"""Shards: the parts of a split that separate jobs work on, and chunks of images within one job."""

import re
from collections.abc import Sequence
from typing import TypeVar

from ppl.jobs.errors import UserError

Item = TypeVar("Item")


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Items of shard "i/n" (i from 1): every n-th, so that neighbours of similar cost are spread."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"shard {shard!r}", "not a shard", "write i/n with 1 <= i <= n, as in 2/8")
    return list(items[int(match[1]) - 1 :: int(match[2])])


def part_of(split: str, shard: str) -> str:
    """What a shard of a split is called: the split itself where it is all of it."""
    return split if shard == "1/1" else f"{split} {shard}"


def in_chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Slices of `size` items in their order, the last one shorter: what a process or a batch takes at a time."""
    return [items[start : start + size] for start in range(0, len(items), size)]
