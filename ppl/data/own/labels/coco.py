"""COCO JSON: instances, panoptic segments or keypoints; of each object its category alone is used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl.data.own.cells import clean_name
from ppl.data.own.source import Source, read_json
from ppl.data.own.table import Table, annotated
from ppl.jobs.errors import UserError

NAME = "COCO JSON"


def files(source: Source) -> list[Path]:
    kinds = {path: is_coco(content) for path, content in source.json_files.items()}
    if not any(kinds.values()):
        return []
    return [path for path in source.with_suffix(".json") if kinds.get(path) or is_coco(read_json(path))]


def is_coco(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the categories of each photo's objects. UserError for an annotation of a category that is not listed."""
    find = source.names.finder(files)
    found, order, counts = [], [], Counter()
    for path in files:
        content = read_json(path)
        photos, categories, objects = photos_of(path, content), categories_of(path, content), objects_of(path, content)
        order += categories.values()
        counts += Counter(images=len(photos), objects=len(objects))
        classes: dict[Any, set[str]] = {number: set() for number in photos}
        for number, category in objects:
            if number in classes:
                classes[number].add(categories[category])
            else:
                counts["unlisted"] += 1
        if objects and not any(number in classes for number, _ in objects):
            like = f"images have ids such as {next(iter(photos))!r}" if photos else "there is no image"
            what = f"none of its objects is of one of its images: image_id {objects[0][0]!r}, but {like}"
            raise UserError(path, what, "write the id of an image as image_id")
        found += [(source.title(path, name), find(path, name), classes[number]) for number, name in photos.items()]
    form = f"{NAME}, {counts['images']:,} images with {counts['objects']:,} objects"
    unlisted = f"{counts['unlisted']:,} objects of images that the file does not list" if counts["unlisted"] else None
    return annotated(source, found, form, order, [unlisted])


def _number(value: Any) -> int | str:
    """Return the number of an image or category, which may be a text; TypeError for anything else."""
    if not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is no number")
    return value


def _parts(annotation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the segments of a panoptic annotation, or the annotation itself."""
    segments = annotation.get("segments_info")
    return [annotation] if segments is None else segments


def photos_of(path: Path, content: Mapping[str, Any]) -> dict[Any, str]:
    """Return the file names of the images by their number. UserError for a number of two images."""
    photos: dict[Any, str] = {}
    for image in content["images"]:
        try:
            number, name = _number(image["id"]), str(image.get("file_name") or image.get("coco_url") or "")
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(path, "an image without id", "export it again") from error
        if not name:
            raise UserError(path, f"image {number} has no file_name", "export it again")
        if photos.setdefault(number, name) != name:
            what = f"{photos[number]} and {name} have the same id {number}, so their objects cannot be told apart"
            raise UserError(path, what, "give each its own, or keep several exports in several files")
    return photos


def categories_of(path: Path, content: Mapping[str, Any]) -> dict[Any, str]:
    """Return the names of the categories by their number, in the order of the file.

    UserError for a category without name, and for a number of two categories.
    """
    try:
        pairs = [(_number(category["id"]), category["name"]) for category in content["categories"]]
    except (KeyError, TypeError) as error:
        what = "no categories with id and name, as in captions or results"
        raise UserError(path, what, "name the file of the instances") from error
    categories: dict[Any, str] = {}
    for number, name in pairs:
        if name is None or not (clean := clean_name(str(name))):
            raise UserError(path, f"category {number} has no name", "name it")
        if categories.setdefault(number, clean) != clean:
            what = f"{categories[number]!r} and {clean!r} are both category {number}"
            raise UserError(path, what, "give each category its own id")
    return categories


def objects_of(path: Path, content: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return image and category of each object; UserError for a category that is not listed."""
    try:
        objects = [
            (_number(annotation["image_id"]), _number(part["category_id"]))
            for annotation in content["annotations"]
            for part in _parts(annotation)
        ]
    except (AttributeError, KeyError, TypeError) as error:
        what = f"an annotation without image_id or category_id ({error})"
        raise UserError(path, what, "name the file of the instances") from error
    known = {category["id"] for category in content["categories"]}
    if unknown := [category for _, category in objects if category not in known]:
        raise UserError(path, f"an object of category {unknown[0]}, which its categories lack", "add the category")
    return objects
