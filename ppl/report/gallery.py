"""Samples of the gallery: pictures of photo, label maps and CAMs of an image, and its IoU at every threshold."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppl.cam.store import Cam, open_store
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import IGNORE, read_mask, read_truth
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks
from ppl.measure.metrics import confusion, iou
from ppl.measure.sweep import confusions, histogram
from ppl.report.pictures import labels_uri, photo_uri, picture_size, planes_uri

TRUTH = "truth"
IMAGES_PER_TASK = 8


class Planes(NamedTuple):
    """A stored CAM: its planes one below the other in a grey picture, their classes and their (h, w)."""

    uri: str
    classes: list[int]
    grid: tuple[int, int]


class Sample(NamedTuple):
    """One image, with IoU in percent by class id for the classes in its truth; empty without truth."""

    image_id: str
    classes: list[int]
    """From its image-level labels, 1-based."""
    size: tuple[int, int]
    """(w, h) of its pictures."""
    photo: str
    maps: dict[str, str]
    """Pictures of label maps by caption, the truth last."""
    cams: dict[str, Planes]
    """By variant; empty if the image has no class."""
    iou: dict[str, dict[int, float]]
    """Of the maps, by caption."""
    seeds: dict[str, dict[int, list[float]]]
    """Of the seeds, by variant: one value per threshold of the sweep."""


class Source(NamedTuple):
    """The data from which the samples of a split are taken."""

    dataset: Dataset
    cams: dict[str, tuple[Path, ...]]
    """CAM files by variant."""
    maps: dict[str, Sequence[Path]]
    """Folders of label maps by caption."""


def samples(source: Source, image_ids: Sequence[str], *, workers: int) -> list[Sample]:
    """Return the samples of images in their order, computed by `workers` processes."""
    maps = {caption: find_maps(folders, image_ids) for caption, folders in source.maps.items()}
    tasks = (
        [(image_id, {caption: maps[caption][i] for caption in maps}) for i, image_id in part]
        for part in in_chunks(list(enumerate(image_ids)), IMAGES_PER_TASK)
    )
    parts = run_all(
        partial(_chunk, source), tasks, workers=workers, total=len(image_ids), size=len, name="report, pictures"
    )
    by_id = {sample.image_id: sample for part in parts for sample in part}
    return [by_id[image_id] for image_id in image_ids]


def _chunk(source: Source, task: Sequence[tuple[str, Mapping[str, Path]]]) -> list[Sample]:
    with ExitStack() as stack:
        stores = {variant: stack.enter_context(open_store(paths)) for variant, paths in source.cams.items()}
        return [
            sample(
                source.dataset, image_id, {variant: store.read(image_id) for variant, store in stores.items()}, paths
            )
            for image_id, paths in task
        ]


def sample(dataset: Dataset, image_id: str, cams: Mapping[str, Cam], paths: Mapping[str, Path]) -> Sample:
    """Return the sample of one image from its CAMs by variant and the files of its label maps by caption.

    UserError if the size of a label map or mask differs from that of the photo.
    """
    photo = read_photo(dataset.photo(image_id))
    maps = {caption: read_mask(path) for caption, path in paths.items()}
    files, ious, seeds = dict(paths), {}, {}
    if dataset.has_masks and dataset.mask(image_id).exists():
        files[TRUTH] = dataset.mask(image_id)
        maps[TRUTH] = read_truth(files[TRUTH], len(dataset.classes))
    for caption, labels in maps.items():
        if labels.shape != photo.shape[:2]:
            what = f"size mismatch: the photo has {photo.shape[:2]}, got {labels.shape}"
            raise UserError(files[caption], what, "make it again")
    if TRUTH in maps:
        ious = {caption: map_iou(maps[TRUTH], maps[caption]) for caption in paths}
        seeds = {variant: seed_ious(maps[TRUTH], cam) for variant, cam in cams.items()}
    return Sample(
        image_id=image_id,
        classes=list(dataset.labels.get(image_id, ())),
        size=picture_size(*photo.shape[:2]),
        photo=photo_uri(photo),
        maps={caption: labels_uri(labels) for caption, labels in maps.items()},
        cams={
            variant: Planes(planes_uri(cam.maps), cam.classes.tolist(), cam.maps.shape[1:])
            for variant, cam in cams.items()
            if len(cam.classes)
        },
        iou=ious,
        seeds=seeds,
    )


def map_iou(truth: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Return the IoU in percent of `labels` by class of the truth, both (h, w) uint8; label 255 counts as missed."""
    ids = _ids(truth[truth != IGNORE], labels)
    index = _index_table(ids)
    # Only ids in one of the maps get a row of the confusion matrix: an image contains few of many classes.
    values = 100 * iou(confusion(np.where(truth == IGNORE, IGNORE, index[truth]), index[labels], len(ids) - 1))
    return {int(i): round(float(value), 2) for i, value in zip(ids, values, strict=True) if not np.isnan(value)}


def seed_ious(truth: np.ndarray, cam: Cam) -> dict[int, list[float]]:
    """Return the IoU in percent of a CAM's seed at each threshold of the sweep, by class of the truth (h, w) uint8."""
    ids = _ids(truth[truth != IGNORE], cam.classes)
    index = _index_table(ids)
    local = Cam(cam.maps, index[cam.classes].astype(np.int64), cam.size)
    matrices = confusions(histogram(np.where(truth == IGNORE, IGNORE, index[truth]), local, len(ids) - 1))
    values = (100 * iou(matrices)).round(2)  # (101, ids)
    return {int(i): values[:, n].tolist() for n, i in enumerate(ids) if not np.isnan(values[0, n])}


def _ids(*arrays: np.ndarray) -> np.ndarray:
    """Return the sorted ids that occur in any of the arrays, and background."""
    counts = sum(np.bincount(array.ravel(), minlength=256) for array in arrays)
    counts[0] += 1
    return np.flatnonzero(counts)


def _index_table(ids: np.ndarray) -> np.ndarray:
    """Return a table (256,) uint8 from an id to its index in `ids`."""
    table = np.zeros(256, np.uint8)
    table[ids] = np.arange(len(ids))
    return table
