"""Write label maps computed from photos and CAMs alone, in worker processes that do not import torch, or on a GPU."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam.store import Cam, Store, open_store
from ppl.crf.solvers import Execution
from ppl.data.dataset import Dataset
from ppl.data.masks import write_mask
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

IMAGES_PER_TASK = 4

Label = Callable[[Sequence[np.ndarray], Sequence[Cam]], list[np.ndarray]]
"""Maps photos (h, w, 3) uint8 and their CAMs to label maps (h, w) uint8."""


def label_all(
    dataset: Dataset,
    image_ids: Sequence[str],
    cams: Sequence[Path],
    out: Path,
    label: Label,
    *,
    execution: Execution,
    name: str,
) -> None:
    """Write OUT/ID.png for each image by `label`, which must pickle; the folder appears when it is complete.

    `label` gets the photos of `execution` at once, whose solver it uses.
    UserError if the size of a photo differs from that of its CAM.
    """
    at_once, workers = execution.photos_at_once, execution.workers
    chunks = in_chunks(image_ids, max(at_once, IMAGES_PER_TASK))
    with atomic(out) as folder:
        folder.mkdir()
        write, total = partial(_write, dataset, cams, folder, label, at_once), len(image_ids)
        for _ in run_all(write, chunks, workers=workers, threads=execution.threads, total=total, size=len, name=name):
            pass


def _write(
    dataset: Dataset, cams: Sequence[Path], folder: Path, label: Label, at_once: int, image_ids: Sequence[str]
) -> None:
    with open_store(cams, dataset.classes) as store:
        for some in in_chunks(image_ids, at_once):
            photos, of_photos = zip(*(_read(dataset, store, image_id) for image_id in some), strict=True)
            for image_id, labels in zip(some, label(photos, of_photos), strict=True):
                write_mask(folder / f"{image_id}.png", labels)


def _read(dataset: Dataset, store: Store, image_id: str) -> tuple[np.ndarray, Cam]:
    photo, cam = read_photo(dataset.photo(image_id)), store.read(image_id)
    if photo.shape[:2] != cam.size:
        what = f"shape mismatch: photo {photo.shape[:2]}, CAM {cam.size}"
        raise UserError(dataset.photo(image_id), what, "export the CAMs again")
    return photo, cam
