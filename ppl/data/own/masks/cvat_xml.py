"""CVAT's own XML, `CVAT for images 1.1`: polygons, ellipses and masks (run lengths)."""

from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

from ppl.data.findings import listed
from ppl.data.own.cells import class_key
from ppl.data.own.labels import cvat
from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.shapes import Shape, ellipse, flat_points, pixels, polygon, refuse_twice, runs, to_draw
from ppl.data.own.source import Source, read_xml
from ppl.data.photos import MAX_STORED
from ppl.jobs.errors import UserError

NAME = cvat.NAME
WITHOUT_AREA = {"tag", "points", "polyline"}
"""Shapes that cover nothing; others, such as boxes, are no masks."""


def fits(source: MaskSource) -> bool:
    return not source.has_masks and bool(_files(source))


def read(source: MaskSource) -> Masks:
    """Return the masks of all images in the files. UserError for boxes, which are no masks."""
    files = _files(source)
    find, masks, counts, others = source.names.finder(files), {}, Counter(), set()
    for path in files:
        for image in read_xml(path).iterfind("image"):
            name = image.get("name") or ""
            photos = find(path, name)
            counts["unused"] += not photos
            if len(photos) == 1:
                refuse_twice(path, name, photos[0] in masks)
                shapes, size = [], _size(path, image)
                for each in image:
                    label = each.get("label")
                    if label is None or each.tag in WITHOUT_AREA:
                        continue
                    number = source.id_of.get(class_key(label), 0)
                    if number:
                        shapes.append(Shape(number, _covered(path, name, each, size), _layer(each)))
                    else:
                        others.add(label)
                masks[photos[0]] = to_draw(path, size, shapes)
    if not masks:
        raise UserError(source.path, "names none of the photos", "name the annotations of these photos")
    note = f"objects of {listed(sorted(others))}, no classes of the labels: they are background" if others else None
    unused = f"{counts['unused']:,} images that are no photos here" if counts["unused"] else None
    return Masks(f"{NAME}, {len(masks):,} images", masks, tuple(filter(None, [note, unused])))


def _size(path: Path, image: Element) -> tuple[int, int]:
    try:
        size = int(image.get("height", "")), int(image.get("width", ""))
        if min(size) < 1 or size[0] * size[1] > MAX_STORED:
            raise ValueError(f"{size[1]}x{size[0]} pixels")
        return size
    except ValueError as error:
        raise UserError(path, f"image {image.get('name')} has no valid size", "export it again") from error


def _layer(shape: Element) -> int:
    """Return the layer of a shape; 0 if it has no valid one."""
    try:
        return int(shape.get("z_order", 0))
    except ValueError:
        return 0


def _covered(path: Path, name: str, shape: Element, size: tuple[int, int]) -> object:
    """Return what a shape covers, in COCO's format."""
    try:
        if shape.tag == "polygon":
            return polygon(flat_points(shape.attrib["points"]))
        if shape.tag == "ellipse":
            x, y, a, b = (float(shape.attrib[key]) for key in ("cx", "cy", "rx", "ry"))
            return ellipse((x, y), (a, b), float(shape.get("rotation", 0)))
        if shape.tag == "mask":
            left, top, width, height = (int(shape.attrib[key]) for key in ("left", "top", "width", "height"))
            return pixels(runs(shape.attrib["rle"], width, height), left, top, size)
    except (KeyError, ValueError) as error:
        raise UserError(path, f"a {shape.tag} of {name} that cannot be drawn ({error})", "correct it") from error
    what = f"{name} has a {shape.tag} of {shape.get('label')}, which is no mask"
    raise UserError(path, what, "draw polygons or masks, or remove --masks")


def _files(source: MaskSource) -> list[Path]:
    return cvat.files(Source(source.path, source.names))
