"""Write label maps computed from photos and CAMs alone, image by image in worker processes that do not import torch."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ppl.cam.store import Cam, open_store
from ppl.data.dataset import Dataset
from ppl.data.masks import write_mask
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

IMAGES_PER_TASK = 4

Label = Callable[[np.ndarray, Cam], np.ndarray]
"""Maps a photo (h, w, 3) uint8 and its CAM to a label map (h, w) uint8."""


def label_all(
    dataset: Dataset,
    image_ids: Sequence[str],
    cams: Sequence[Path],
    out: Path,
    label: Label,
    *,
    workers: int,
    name: str,
) -> None:
    """Write OUT/ID.png for each image by `label`, which must pickle; the folder appears when it is complete.

    UserError if the size of a photo differs from that of its CAM.
    """
    chunks = in_chunks(image_ids, IMAGES_PER_TASK)
    with atomic(out) as folder:
        folder.mkdir()
        write = partial(_write, dataset, cams, folder, label)
        for _ in run_all(write, chunks, workers=workers, total=len(image_ids), size=len, name=name):
            pass


def _write(dataset: Dataset, cams: Sequence[Path], folder: Path, label: Label, image_ids: Sequence[str]) -> None:
    with open_store(cams, dataset.classes) as store:
        for image_id in image_ids:
            photo, cam = read_photo(dataset.photo(image_id)), store.read(image_id)
            if photo.shape[:2] != cam.size:
                what = f"shape mismatch: photo {photo.shape[:2]}, CAM {cam.size}"
                raise UserError(dataset.photo(image_id), what, "export the CAMs again")
            write_mask(folder / f"{image_id}.png", label(photo, cam))
