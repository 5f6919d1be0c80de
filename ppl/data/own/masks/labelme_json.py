"""labelme JSON, one file per photo: polygons, circles and masks."""

from pathlib import Path
from typing import Any

from ppl.data.findings import listed
from ppl.data.own.cells import class_key
from ppl.data.own.labels import labelme
from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.shapes import Shape, check_size, crop, ellipse, pixels, polygon, to_draw
from ppl.data.own.source import Source, read_json
from ppl.jobs.errors import UserError

NAME = labelme.NAME
WITHOUT_AREA = {"point", "points", "line", "linestrip"}
"""Shapes that cover nothing; others, such as rectangles, are no masks."""


def fits(source: MaskSource) -> bool:
    return not source.has_masks and bool(_files(source))


def read(source: MaskSource) -> Masks:
    """Return the masks of the photos. UserError for rectangles, which are no masks."""
    files, masks, others = _files(source), {}, set()
    for path, photos in zip(files, source.names.of_files(files), strict=True):
        content = read_json(path)
        if not labelme.is_labelme(content):
            raise UserError(path, f"not {NAME}: it has no shapes", "move it out of the folder")
        if len(photos) != 1:
            continue
        shapes, size = [], (content.get("imageHeight"), content.get("imageWidth"))
        check_size(path, size)
        for shape in content["shapes"]:
            number, segmentation = _covered(path, source, shape, size)
            if number is None:
                others.add(str(shape["label"]))
            elif segmentation is not None:
                shapes.append(Shape(number, segmentation))
        masks[photos[0]] = to_draw(path, size, shapes)
    if not masks:
        raise UserError(source.path, "no file is named as a photo", "name the folder of these photos' annotations")
    note = f"objects of {listed(sorted(others))}, no classes of the labels: they are background" if others else None
    return Masks(f"{NAME}, {len(masks):,} files", masks, tuple(filter(None, [note])))


def _covered(path: Path, source: MaskSource, shape: Any, size: tuple[int, int]) -> tuple[int | None, Any]:
    """Return the id of a shape's class, None if it is no class, and what it covers, None if nothing."""
    try:
        label, kind, points = str(shape["label"]), shape.get("shape_type") or "polygon", shape["points"]
        number = source.id_of.get(class_key(label), 0)
        if kind in WITHOUT_AREA or label in labelme.NO_CLASS or number == 0:
            return (number or None) if label not in labelme.NO_CLASS else 0, None
        if kind == "polygon":
            return number, polygon([(float(x), float(y)) for x, y in points])
        if kind == "circle":
            (x, y), (u, v) = points
            radius = ((x - u) ** 2 + (y - v) ** 2) ** 0.5
            return number, ellipse((x, y), (radius, radius))
        if kind == "mask":
            left, top = points[0]
            return number, pixels(crop(shape["mask"]), round(left), round(top), size)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(path, f"a shape that cannot be drawn ({error})", "correct or remove it") from error
    raise UserError(path, f"a {kind} of {label}, which is no mask", "draw polygons or masks, or remove --masks")


def _files(source: MaskSource) -> list[Path]:
    return labelme.files(Source(source.path, source.names))
