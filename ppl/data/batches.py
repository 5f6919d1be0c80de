"""Whole photos in batches of equal size, for inference."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils import data

from ppl.data.dataset import Dataset
from ppl.data.photos import photo_size, read_photo
from ppl.jobs.lifetime import ignore_group_signals
from ppl.jobs.shards import in_chunks


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
