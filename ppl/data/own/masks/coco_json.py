"""COCO JSON: polygons and run lengths (RLE) of objects, small ones drawn over large ones."""

from collections import Counter
from pathlib import Path
from typing import Any

from ppl.data.findings import listed
from ppl.data.own.cells import class_key
from ppl.data.own.labels import coco
from ppl.data.own.labels.coco import categories_of, objects_of, photos_of
from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.shapes import Shape, refuse_twice, to_draw
from ppl.data.own.source import Source, read_json
from ppl.jobs.errors import UserError

NAME = "COCO JSON"


def fits(source: MaskSource) -> bool:
    return not source.has_masks and bool(_files(source))


def read(source: MaskSource) -> Masks:
    """Return the masks of all images in the files. UserError for objects that have a box alone."""
    files = _files(source)
    find, masks, others = source.names.finder(files), {}, set()
    counts: Counter[str] = Counter()
    for path in files:
        content = read_json(path)
        names, categories = photos_of(path, content), categories_of(path, content)
        objects_of(path, content)  # raises for unknown categories
        shapes: dict[Any, list[Shape]] = {}
        for each in content["annotations"]:
            if not each.get("segmentation") or each.get("segments_info") is not None:
                what = f"object {each.get('id')} has no segmentation, as others may have: a box is no mask"
                raise UserError(path, what, "export polygons or RLE, or remove --masks")
            name = categories[each["category_id"]]
            if number := source.id_of.get(class_key(name), 0):
                shapes.setdefault(each["image_id"], []).append(Shape(number, each["segmentation"]))
            else:
                others.add(name)
        for image in content["images"]:
            name = names[image["id"]]
            photos = find(path, name)
            counts["unused"] += not photos
            if len(photos) == 1:
                refuse_twice(path, name, photos[0] in masks)
                size = (image.get("height"), image.get("width"))
                masks[photos[0]] = to_draw(f"{path}, {name}", size, shapes.get(image["id"], ()))
    if not masks:
        raise UserError(source.path, "names none of the photos", "name the annotations of these photos")
    note = f"objects of {listed(sorted(others))}, no classes of the labels: they are background" if others else None
    unused = f"{counts['unused']:,} images that are no photos here" if counts["unused"] else None
    return Masks(f"{NAME}, {len(masks):,} images", masks, tuple(filter(None, [note, unused])))


def _files(source: MaskSource) -> list[Path]:
    return coco.files(Source(source.path, source.names))
