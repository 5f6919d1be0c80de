"""CVAT's own XML, `CVAT for images 1.1`: tags and the labels of shapes of any kind."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from ppl.data.own.source import Source, read_xml, starts_with
from ppl.data.own.table import Table, annotated
from ppl.jobs.errors import UserError

NAME = "CVAT for images"
ROOT = "annotations"


def files(source: Source) -> list[Path]:
    if ROOT not in source.xml_roots.values():
        return []
    return [path for path in source.with_suffix(".xml") if starts_with(path, "<") and read_xml(path).tag == ROOT]


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the labels of each image. UserError for annotations of a video, whose frames are not named."""
    find = source.names.finder(files)
    found, order, objects = [], [], 0
    for path in files:
        root = read_xml(path)
        if root.find("track") is not None:
            what = "tracks of a video (CVAT for video)"
            raise UserError(path, what, "export the task as `CVAT for images 1.1`, and the frames with it")
        order += [name.text.strip() for name in root.iterfind("meta//labels/label/name") if name.text]
        for image in root.iterfind("image"):
            name, labels = image.get("name"), list(labels_of(image))
            if not name:
                raise UserError(path, f"image {image.get('id')} has no name", "export it again")
            objects += len(labels)
            found.append((source.title(path, name), find(path, name), labels))
    return annotated(source, found, f"{NAME}, {len(found):,} images with {objects:,} objects and tags", order)


def labels_of(image: Element) -> Iterator[str]:
    """Yield the labels of the tags and shapes of an image; parts of a skeleton are no objects."""
    return (label for each in image if (label := each.get("label")))
