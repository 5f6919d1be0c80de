"""Shards, parts of a split for separate jobs, and chunks of images within a job."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from ppl.jobs.errors import UserError

Item = TypeVar("Item")


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Return the items of shard "i/n" (i from 1): every n-th, which spreads neighbours of similar cost."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {shard!r}", "invalid shard", "write i/n with 1 <= i <= n, such as 2/8")
    return list(items[int(match[1]) - 1 :: int(match[2])])


def part_of(split: str, shard: str) -> str:
    """Return the name of a shard of a split: that of the split if it is the only one."""
    return split if shard == "1/1" else f"{split} {shard}"


def in_chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Cut a sequence into slices of `size` items, the last one possibly shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def chunks_of(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items, the last one possibly shorter; an item is not taken before its chunk is."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
