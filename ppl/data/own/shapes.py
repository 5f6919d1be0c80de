"""Shapes that annotation tools draw, as masks: polygons and pixels, large ones first."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from math import cos, pi, sin
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as rle

from ppl.data.own.mask_source import Draw
from ppl.data.photos import MAX_STORED
from ppl.data.sources.coco import Instance, Photo, draw
from ppl.jobs.errors import UserError

FAR = 10  # times the longer side of a photo, beyond which no corner may lie
CORNERS = 72  # of a polygon in place of an ellipse
Points = Sequence[tuple[float, float]]


class Shape(NamedTuple):
    """A class id, what it covers in COCO's format, and its layer: higher ones cover lower ones."""

    number: int
    segmentation: Any
    layer: int = 0


def checked(segmentation: Any, size: tuple[int, int]) -> Any:
    """Return a segmentation in COCO's format if it fits a photo of `size` (h, w); ValueError if it does not.

    Polygons of one or two points are left out: they cover nothing.

    Of coordinates far outside, and of run lengths of another size, pycocotools reads memory that is not its own.
    """
    if isinstance(segmentation, list):
        for part in segmentation:
            if not isinstance(part, list) or len(part) % 2:
                raise ValueError("corners have two numbers, x and y")
            if not all(isinstance(number, int | float) and abs(number) <= FAR * max(size) for number in part):
                raise ValueError("a corner lies far outside of the photo")
        return [part for part in segmentation if len(part) > 4]
    if not isinstance(segmentation, dict) or list(segmentation.get("size", ())) != list(size):
        raise ValueError(f"neither polygons nor run lengths of {size[1]}x{size[0]} pixels")
    counts = segmentation.get("counts")
    lengths = counts if isinstance(counts, list) else _decompressed(counts)
    if not all(isinstance(length, int) and length >= 0 for length in lengths) or sum(lengths) != size[0] * size[1]:
        raise ValueError(f"run lengths of {size[1]}x{size[0]} pixels that are not as many together")
    return segmentation


def _decompressed(counts: Any) -> list[int]:
    """Return the run lengths in COCO's compressed text: 6 bits a character, each length as the difference to the last
    but one.
    """
    if not isinstance(counts, str) or not counts.isascii():
        raise ValueError("run lengths are neither numbers nor text")
    lengths: list[int] = []
    value, shift = 0, 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("run lengths end within a number")
    return lengths


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


def to_draw(where: object, size: tuple[int, int], shapes: Iterable[Shape]) -> Draw:
    """Return what draws shapes on an image (h, w): by layer, in a layer small ones over large ones.

    UserError, which names `where`, for shapes that do not fit the image.
    """
    if not all(type(side) is int and side > 0 for side in size) or size[0] * size[1] > MAX_STORED:
        raise UserError(where, f"no valid size of the photo: {size}", "export it again")
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
    """Return the points of `x,y;x,y`."""
    numbers = [float(number) for number in chain.from_iterable(pair.split(",") for pair in text.split(";"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
