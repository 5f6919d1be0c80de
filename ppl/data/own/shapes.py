"""Shapes that annotation tools draw, as masks: polygons and pixels, large ones first."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from math import cos, pi, sin
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle

from ppl.data.own.mask_source import Draw
from ppl.data.sources.coco import Instance, Photo, draw
from ppl.jobs.errors import UserError

CORNERS = 72  # of a polygon in place of an ellipse
Points = Sequence[tuple[float, float]]


class Shape(NamedTuple):
    """A class id, what it covers in COCO's format, and its layer: higher ones cover lower ones."""

    number: int
    segmentation: Any
    layer: int = 0


def polygon(points: Points) -> list[list[float]]:
    """Return a polygon in COCO's format; ValueError for fewer than three points."""
    if len(points) < 3:
        raise ValueError("a polygon has at least three points")
    return [[float(number) for point in points for number in point]]


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> list[list[float]]:
    """Return the polygon of an ellipse, turned clockwise."""
    turn, (x, y), (a, b) = degrees * pi / 180, centre, radii
    angles = (2 * pi * corner / CORNERS for corner in range(CORNERS))
    offsets = [(a * cos(t), b * sin(t)) for t in angles]
    return polygon([(x + u * cos(turn) - v * sin(turn), y + u * sin(turn) + v * cos(turn)) for u, v in offsets])


def pixels(inside: np.ndarray, left: int, top: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return pixels (h, w) bool, which lie at `left` and `top` of an image (h, w), as COCO's run lengths."""
    mask = np.zeros(size, np.uint8, order="F")
    part = mask[top : top + inside.shape[0], left : left + inside.shape[1]]
    part[:] = inside[: part.shape[0], : part.shape[1]]
    return rle.encode(mask)


def to_draw(path: Path, size: tuple[int, int], shapes: Iterable[Shape]) -> Draw:
    """Return what draws shapes on an image (h, w): by layer, in a layer small ones over large ones."""
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise UserError(path, f"no valid size of the photo: {size}", "export it again")
    ordered = sorted(shapes, key=lambda shape: (shape.layer, -_area(path, size, shape)))
    instances = tuple(Instance(shape.number, shape.segmentation, 0.0, False) for shape in ordered)
    return partial(_drawn, path, Photo("a shape", *size, instances))


def _area(path: Path, size: tuple[int, int], shape: Shape) -> float:
    if isinstance(shape.segmentation, dict):
        return float(rle.area(shape.segmentation))
    try:
        return float(sum(rle.area(rle.frPyObjects(shape.segmentation, *size))))
    except Exception as error:  # pycocotools raises exceptions of many types
        raise UserError(path, "a shape that cannot be drawn", "correct or remove it") from error


def _drawn(path: Path, photo: Photo) -> np.ndarray:
    try:
        return draw(photo, "A")
    except UserError as error:
        raise UserError(path, error.what, "correct or remove the shape") from error


def runs(text: str, width: int, height: int) -> np.ndarray:
    """Return pixels (h, w) bool from run lengths row by row, outside first; ValueError if they are not as many."""
    counts = [int(count) for count in text.split(",")]
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    if flat.size != width * height:
        raise ValueError(f"{flat.size} pixels, not {width}x{height}")
    return flat.reshape(height, width)


def flat_points(text: str) -> Points:
    """Return the points of `x,y;x,y`."""
    numbers = [float(number) for number in chain.from_iterable(pair.split(",") for pair in text.split(";"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
