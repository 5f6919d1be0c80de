"""Whole photos in batches of equal size, for inference."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from torch import nn
from torch.utils import data

from ppl.data.dataset import Dataset
from ppl.data.photos import photo_size, read_photo
from ppl.jobs.lifetime import ignore_group_signals
from ppl.jobs.shards import in_chunks
from ppl.jobs.threads import side_by_side, threads_for

Result = TypeVar("Result")


class PhotoBatch(NamedTuple):
    """Image ids and photos (B, h, w, 3) uint8 of one size."""

    images: list[str]
    photos: np.ndarray


def photo_batches(
    dataset: Dataset, image_ids: Sequence[str], *, batch_size: int, workers: int
) -> tuple[int, Iterator[PhotoBatch]]:
    """Return the number of batches and an iterator over them, decoded ahead by `workers` processes.

    Photos are not resized, so a batch holds photos of equal size; most of VOC's photos have one of a few sizes.
    """
    by_size: dict[tuple[int, int], list[str]] = defaultdict(list)
    for image_id in image_ids:
        by_size[photo_size(dataset.photo(image_id))].append(image_id)
    groups = [batch for _, g in sorted(by_size.items()) for batch in in_chunks(g, batch_size)]
    loader = data.DataLoader(
        _Batches(dataset, groups),
        batch_size=None,
        collate_fn=_as_is,
        num_workers=workers,
        worker_init_fn=ignore_group_signals,
    )
    return len(groups), iter(loader)


def compute_batches(
    function: Callable[[PhotoBatch], Result],
    network: nn.Module,
    dataset: Dataset,
    image_ids: Sequence[str],
    *,
    batch_size: int,
    workers: int,
    alone: bool = False,
) -> Iterator[tuple[PhotoBatch, Result]]:
    """Yield batches of photos with the results of a function that calls `network`, in order.

    On a CPU threads compute several batches side by side, as much smaller ones, unless the function has to be `alone`:
    compiled, or code of a user that may change the network for a while.
    """
    threads = 1 if alone else threads_for(network, batch_size)
    _, batches = photo_batches(dataset, image_ids, batch_size=batch_size // threads, workers=workers)
    return side_by_side(function, batches, threads)


class _Batches(data.Dataset):
    def __init__(self, dataset: Dataset, groups: list[list[str]]) -> None:
        self.dataset, self.groups = dataset, groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> PhotoBatch:
        image_ids = self.groups[index]
        return PhotoBatch(image_ids, np.stack([read_photo(self.dataset.photo(image_id)) for image_id in image_ids]))


def _as_is(batch: PhotoBatch) -> PhotoBatch:
    return batch
