"""Separation of seeds and the rest over the photos of a split, from its CAMs and an early stage of the classifier."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.cam import separation
from ppl.cam.store import Store, open_store
from ppl.cam.threshold import Threshold
from ppl.classify.build import load
from ppl.data.batches import photo_batches
from ppl.data.dataset import Dataset
from ppl.jobs.devices import inference_device
from ppl.jobs.errors import UserError
from ppl.jobs.progress import progress
from ppl.jobs.sampling import evenly
from ppl.jobs.settings import Devices
from ppl.networks.backbones import STRIDES, Backbone, fold_batchnorm

STAGE = 1 + STRIDES.index(8)
"""Stage whose features are compared: that of stride 8, of any backbone. Later ones have cells as large as parts of
objects, earlier ones know little but colours."""
MAX_PHOTOS = 300
"""Photos whose features are compared, at even distances in the list of the split."""
BATCH_SIZE = 8
REMEDY = "set cam.threshold to a number"


def choose_threshold(data: Path, split: str, cams: Sequence[Path], classifier: Path, *, hardware: Devices) -> Threshold:
    """Choose the threshold of the CAMs of a split; UserError if no photo has a label, or all CAMs are empty."""
    dataset, device = Dataset.open(data), inference_device(hardware)
    network, _ = load(classifier, dataset.classes)
    fold_batchnorm(network)
    backbone = network.backbone.to(device, memory_format=torch.channels_last)
    with open_store(cams, dataset.classes) as store:
        counts = pooled_histogram(store, dataset.split(split))
        if not counts.any():
            raise UserError(f"split {split}", "no photo has a label and a CAM that is not empty", REMEDY)
        labelled = [image_id for image_id in dataset.split(split) if dataset.labels_of(image_id)]
        curves = contrasts(backbone, dataset, store, evenly(labelled, MAX_PHOTOS), workers=hardware.workers)
    curve = np.mean(curves, axis=0) if curves else np.zeros(len(separation.THRESHOLDS))
    if not curve.any():
        raise UserError(f"split {split}", "no photo is large enough to compare a seed with the rest", REMEDY)
    best, otsu = float(separation.THRESHOLDS[curve.argmax()]), separation.otsu(counts)
    return Threshold(
        threshold=separation.choose(otsu, best),
        rule="auto",
        photos=len(curves),
        otsu=round(otsu, 4),
        contrast=best,
        curve=tuple(zip(separation.THRESHOLDS.tolist(), curve.round(6).tolist(), strict=True)),
    )


def pooled_histogram(store: Store, image_ids: Sequence[str]) -> np.ndarray:
    """Return the histogram of the strongest class's scores over all cells of images whose CAMs are not empty."""
    counts = np.zeros(separation.BINS, np.int64)
    for image_id in image_ids:
        maps = store.read(image_id).maps
        if maps.any():
            counts += separation.histogram(maps.max(axis=0))
    return counts


def contrasts(
    backbone: Backbone, dataset: Dataset, store: Store, image_ids: Sequence[str], *, workers: int
) -> list[np.ndarray]:
    """Return the contrast (T,) at every threshold of each image whose CAM is not empty, in the order of `image_ids`."""
    _, batches = photo_batches(dataset, image_ids, batch_size=BATCH_SIZE, workers=workers)
    curves: dict[str, np.ndarray] = {}
    with progress(name="threshold, features", unit="image", total=len(image_ids)) as bar:
        for batch in batches:
            for image_id, features in zip(batch.images, stage_features(backbone, batch.photos), strict=True):
                maps = store.read(image_id).maps
                if maps.any():
                    score = area_mean(maps.max(axis=0), tuple(features.shape[1:]))
                    curves[image_id] = separation.contrast(features.flatten(1).T.cpu().numpy(), score.ravel())
                bar.update()
    return [curves[image_id] for image_id in image_ids if image_id in curves]


@torch.inference_mode()
def stage_features(backbone: Backbone, photos: np.ndarray) -> Tensor:
    """Return the features (B, C, ceil(h / 8), ceil(w / 8)) float32 of STAGE for photos (B, h, w, 3) uint8."""
    x = backbone.prepare(photos)
    for stage in backbone.stages[: STAGE + 1]:
        x = stage(x)
    return x


def area_mean(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the means of scores (h, w) float32 over the cells of a coarser grid of `size`."""
    return F.interpolate(torch.from_numpy(scores)[None, None], size, mode="area")[0, 0].numpy()
