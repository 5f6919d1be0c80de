"""Shapes that annotation tools draw, as masks: polygons and pixels, large ones first."""

import base64
import io
from collections.abc import Iterable, Sequence
from functools import partial
from math import cos, pi, sin
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from ppl.data.own.mask_source import Draw
from ppl.data.photos import MAX_STORED
from ppl.data.sources.coco import Instance, Photo, checked, draw
from ppl.jobs.errors import UserError, reason

CORNERS = 72  # of a polygon in place of an ellipse
Points = Sequence[tuple[float, float]]


class Shape(NamedTuple):
    """A class id, what it covers in COCO's format, and its layer: higher ones cover lower ones."""

    number: int
    segmentation: Any
    layer: int = 0


def polygon(points: Points) -> list[list[float]]:
    """Return a polygon in COCO's format."""
    return [[float(number) for point in points for number in point]]


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> list[list[float]]:
    """Return the polygon of an ellipse, turned clockwise."""
    turn, (x, y), (a, b) = degrees * pi / 180, centre, radii
    angles = (2 * pi * corner / CORNERS for corner in range(CORNERS))
    offsets = [(a * cos(t), b * sin(t)) for t in angles]
    return polygon([(x + u * cos(turn) - v * sin(turn), y + u * sin(turn) + v * cos(turn)) for u, v in offsets])


def pixels(inside: np.ndarray, left: int, top: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return pixels (h, w) bool, at `left` and `top` of an image (h, w), as COCO's run lengths.

    ValueError for a negative corner.
    """
    if min(left, top) < 0:
        raise ValueError("a corner lies outside of the photo")
    mask = np.zeros(size, np.uint8, order="F")
    part = mask[top : top + inside.shape[0], left : left + inside.shape[1]]
    part[:] = inside[: part.shape[0], : part.shape[1]]
    code = rle.encode(mask)
    return {"size": list(size), "counts": code["counts"].decode()}


def crop(encoded: str) -> np.ndarray:
    """Return pixels (h, w) bool of a PNG in base64; ValueError for other text."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=("PNG",)) as image:
            if image.width * image.height > MAX_STORED:
                raise ValueError(f"{image.width}x{image.height} pixels")
            return np.array(image.convert("L")) > 0
    except Exception as error:  # Pillow's decoders raise exceptions of many types
        raise ValueError(f"a mask that is not a readable PNG: {reason(error)}") from error


def check_size(where: object, size: tuple[Any, Any]) -> None:
    """Raise UserError, which names `where`, unless height and width are those of an image that can be read."""
    if not all(type(side) is int and side > 0 for side in size) or size[0] * size[1] > MAX_STORED:
        raise UserError(where, f"no valid size of the photo: {size}", "export it again")


def refuse_twice(path: object, name: str, is_drawn: bool) -> None:
    """Raise UserError if a photo has been drawn before: whether its objects belong together cannot be known."""
    if is_drawn:
        raise UserError(path, f"{name} is a photo that has been listed before", "keep one of the two")


def to_draw(where: object, size: tuple[int, int], shapes: Iterable[Shape]) -> Draw:
    """Return what draws shapes on an image (h, w): by layer, in a layer small ones over large ones.

    UserError, which names `where`, for shapes that do not fit the image.
    """
    check_size(where, size)
    try:
        fitting = [shape._replace(segmentation=checked(shape.segmentation, size)) for shape in shapes]
    except (TypeError, ValueError) as error:
        raise UserError(where, f"a shape that cannot be drawn ({error})", "correct or remove it") from error
    ordered = sorted(filter(lambda shape: shape.segmentation, fitting), key=lambda s: (s.layer, -_area(s, size)))
    instances = tuple(Instance(shape.number, shape.segmentation, 0.0, False) for shape in ordered)
    return partial(_drawn, where, Photo("a shape", *size, instances))


def _area(shape: Shape, size: tuple[int, int]) -> float:
    covered = shape.segmentation
    if isinstance(covered, list) or isinstance(covered["counts"], list):
        covered = rle.frPyObjects(covered, *size)
    return float(np.sum(rle.area(covered)))


def _drawn(where: object, photo: Photo) -> np.ndarray:
    try:
        return draw(photo, "A")
    except UserError as error:
        raise UserError(where, error.what, "correct or remove the shape") from error


def runs(text: str, width: int, height: int) -> np.ndarray:
    """Return pixels (h, w) bool from run lengths row by row, outside first; ValueError if they are not as many."""
    counts = [int(count) for count in text.split(",")]
    if min(width, height, *counts) < 0 or sum(counts) != width * height or width * height > MAX_STORED:
        raise ValueError(f"run lengths that are not {width}x{height} pixels together")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)


def flat_points(text: str) -> Points:
    """Return the points of `x,y;x,y`; ValueError for other text."""
    numbers = [[float(number) for number in pair.split(",")] for pair in text.split(";") if text.strip()]
    if any(len(pair) != 2 for pair in numbers):
        raise ValueError("corners have two numbers, x and y")
    return [(x, y) for x, y in numbers]
