"""Label maps as annotations of COCO: run lengths, which are exact, or polygons along the borders of pixels."""

import json
import os.path
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from scipy import ndimage

Annotation = dict[str, Any]
Ring = list[tuple[int, int]]
"""Corners (x, y) of a closed outline, with the region at its right hand (y points down)."""


def rle_annotations(labels: np.ndarray) -> list[Annotation]:
    """Return one annotation for each class in a label map (h, w) uint8, as compressed run lengths."""
    annotations = []
    for class_id in present(labels):
        encoded = run_lengths.encode(np.asfortranarray(labels == class_id, dtype=np.uint8))
        area, box = int(run_lengths.area(encoded)), run_lengths.toBbox(encoded).tolist()
        encoded = {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
        annotations.append(_annotation(class_id, encoded, area, box))
    return annotations


def polygon_annotations(labels: np.ndarray) -> list[Annotation]:
    """Return one annotation for each connected region of a class in a label map (h, w) uint8, as polygons.

    Polygons of COCO have no holes: a region with some is divided into several polygons.
    """
    annotations = []
    for class_id in present(labels):
        regions, _ = ndimage.label(labels == class_id)
        for number, place in enumerate(ndimage.find_objects(regions), start=1):
            region = regions[place] == number
            top, left = place[0].start, place[1].start
            polygons = [[v for x, y in ring for v in (x + left, y + top)] for ring in simple_rings(region)]
            box = [left, top, region.shape[1], region.shape[0]]
            annotations.append(_annotation(class_id, polygons, int(region.sum()), box))
    return annotations


def simple_rings(region: np.ndarray) -> Iterator[Ring]:
    """Yield the outlines of a connected region (h, w) bool; one with holes is cut in two until its parts have none."""
    middle = _column_through_hole(region)
    if middle is None:
        yield outline(region)
        return
    for start, stop in ((0, middle), (middle, region.shape[1])):
        parts, _ = ndimage.label(region[:, start:stop])
        for number, place in enumerate(ndimage.find_objects(parts), start=1):
            top, left = place[0].start, place[1].start + start
            for ring in simple_rings(parts[place] == number):
                yield [(x + left, y + top) for x, y in ring]


def _column_through_hole(region: np.ndarray) -> int | None:
    """Return the middle one of the columns with holes of a region (h, w) bool; None if it has none.

    A function of its own, as a large photo has no memory for its arrays while the parts are cut.
    """
    columns = np.flatnonzero((ndimage.binary_fill_holes(region) & ~region).any(axis=0))
    return int(columns[len(columns) // 2]) if len(columns) else None


def outline(region: np.ndarray) -> Ring:
    """Return the outline of a region (h, w) bool without holes, connected by the sides of its pixels."""
    padded = np.pad(region, 1)
    inside = padded[1:-1, 1:-1]
    follows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    sides = (  # of pixels whose neighbour is outside: from which corner to which, clockwise
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    for neighbour, (x0, y0), (x1, y1) in sides:
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            follows.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    start = min(follows)  # leftmost, so that no other pixel of the region touches it
    corner = follows[start][0]
    ring, direction = [start], (corner[0] - start[0], corner[1] - start[1])
    while corner != start:
        options = follows[corner]
        # Where two pixels touch by this corner alone, turn right, to follow the side of the same one.
        right = (corner[0] - direction[1], corner[1] + direction[0])
        following = right if len(options) > 1 else options[0]
        turned = (following[0] - corner[0], following[1] - corner[1])
        if turned != direction:
            ring.append(corner)
        corner, direction = following, turned
    return ring


def present(labels: np.ndarray) -> list[int]:
    """Return the ids of the classes in a label map, without background."""
    return [int(i) for i in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if i > 0]


def content(
    photos: Sequence[tuple[Path, tuple[int, int], Iterable[Annotation]]], classes: Sequence[str]
) -> Mapping[str, Any]:
    """Return the content of COCO's file for photos with their size (h, w) and annotations.

    Files are named relative to the folder that all photos share; ids count from 1 in the order of `photos`.
    """
    folders = [os.path.dirname(os.path.abspath(path)) for path, _, _ in photos]
    root = os.path.commonpath(folders) if folders else ""
    images, annotations = [], []
    for image_id, (path, (height, width), of_photo) in enumerate(photos, start=1):
        name = Path(os.path.relpath(os.path.abspath(path), root)).as_posix()
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        annotations += [{"id": len(annotations) + n, "image_id": image_id, **a} for n, a in enumerate(of_photo, 1)]
    categories = [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(classes, start=1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def encoded(content: Mapping[str, Any]) -> str:
    """Return the text of COCO's file; names of files may be invalid UTF-8, which is escaped."""
    return json.dumps(content, separators=(",", ":")) + "\n"


def _annotation(class_id: int, segmentation: Any, area: int, box: Sequence[float]) -> Annotation:
    return {"category_id": class_id, "segmentation": segmentation, "area": area, "bbox": [*box], "iscrowd": 0}
