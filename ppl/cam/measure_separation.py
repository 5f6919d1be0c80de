"""Separation of seeds and the rest over the photos of a split, from its CAMs and features of two stages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ppl.cam import separation
from ppl.cam.store import Store, open_store
from ppl.cam.threshold import Threshold
from ppl.classify.build import initial_backbone, load
from ppl.data.batches import compute_batches
from ppl.data.dataset import Dataset
from ppl.jobs.devices import inference_device
from ppl.jobs.errors import UserError
from ppl.jobs.progress import progress
from ppl.jobs.sampling import evenly
from ppl.jobs.settings import Devices
from ppl.networks.backbones import STRIDES, Backbone, fold_batchnorm

SHALLOW, DEEP = 1 + STRIDES.index(8), len(STRIDES)
"""Stages whose features are compared: that of stride 8, with textures and edges, and the last one, with parts of
objects."""
MAX_PHOTOS = 300
"""Photos whose features are compared, at even distances in the list of the split."""
BATCH_SIZE = 4
"""Photos of equal size whose features are computed at once."""
REMEDY = "set cam.threshold to a number"


def choose_threshold(data: Path, split: str, cams: Sequence[Path], classifier: Path, *, hardware: Devices) -> Threshold:
    """Choose the threshold of the CAMs of a split; UserError if no photo can be compared."""
    dataset, device = Dataset.open(data), inference_device(hardware)
    backbone = compared_backbone(classifier, dataset.classes)
    fold_batchnorm(backbone)
    backbone.to(device, memory_format=torch.channels_last)
    labelled = [image_id for image_id in dataset.split(split) if dataset.labels_of(image_id)]
    with open_store(cams, dataset.classes) as store:
        curves = contrasts(backbone, dataset, store, evenly(labelled, MAX_PHOTOS), workers=hardware.workers)
    if not curves:
        raise UserError(f"split {split}", "no photo has a label and a CAM that is not empty", REMEDY)
    shallow, deep = (_thresholds_of(stage) for stage in zip(*curves, strict=True))
    if not shallow + deep:
        raise UserError(f"split {split}", "no photo is large enough to compare a seed with the rest", REMEDY)
    threshold = separation.choose(shallow, deep)
    return Threshold(threshold=threshold, rule="auto", photos=len(curves), shallow=shallow, deep=deep)


def _thresholds_of(curves: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Return the threshold of the highest contrast of each photo that has contrast."""
    return tuple(best for best in map(separation.highest, curves) if best is not None)


def compared_backbone(classifier: Path, classes: Sequence[str]) -> Backbone:
    """Return the backbone whose features are compared: that of a classifier, with its initial weights if possible.

    CAMs are made of the last features of the trained one, so these would confirm them.
    """
    if backbone := initial_backbone(classifier):
        return backbone
    print("features of the trained backbone: its initial weights were random, or their file no longer exists")
    return load(classifier, classes)[0].backbone


def contrasts(
    backbone: Backbone, dataset: Dataset, store: Store, image_ids: Sequence[str], *, workers: int
) -> list[np.ndarray]:
    """Return the contrast of shallow and deep features (2, T) at every threshold, of each image with a CAM.

    In the order of `image_ids`; images whose CAM is empty are left out.
    """
    computed = compute_batches(
        lambda batch: stage_features(backbone, batch.photos),
        backbone, dataset, image_ids, batch_size=BATCH_SIZE, workers=workers,
    )  # fmt: skip
    curves: dict[str, np.ndarray] = {}
    with progress(name="threshold, features", unit="image", total=len(image_ids)) as bar:
        for batch, stages in computed:
            for image_id, *features in zip(batch.images, *stages, strict=True):
                maps = store.read(image_id).maps
                if maps.any():
                    curves[image_id] = np.stack([stage_contrast(maps.max(axis=0), part) for part in features])
                bar.update()
    return [curves[image_id] for image_id in image_ids if image_id in curves]


@torch.inference_mode()
def stage_features(backbone: Backbone, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shallow and the deep features, each (B, C, ceil(h / stride), ceil(w / stride)) float32.

    photos (B, h, w, 3) uint8; the strides are 8 and the output stride of the backbone.
    """
    outputs = backbone.features(backbone.prepare(photos))
    return outputs[SHALLOW].cpu().numpy(), outputs[DEEP].cpu().numpy()


def stage_contrast(scores: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the contrast (T,) of a photo's scores (h, w) float32 in features (C, h', w') of a coarser grid."""
    channels, *size = features.shape
    return separation.contrast(features.reshape(channels, -1).T, area_mean(scores, tuple(size)).ravel())


def area_mean(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the means of scores (h, w) float32 over the cells of a coarser grid of `size`."""
    return F.interpolate(torch.from_numpy(scores)[None, None], size, mode="area")[0, 0].numpy()
