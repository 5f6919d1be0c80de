"""Pascal VOC XML, one file per photo, as labelImg, CVAT and Roboflow write it; only the names of objects are used."""

from collections.abc import Sequence
from pathlib import Path

from ppl.data.own.one_per_photo import read_each
from ppl.data.own.source import Source, read_xml
from ppl.data.own.table import Table
from ppl.jobs.errors import UserError

NAME = "Pascal VOC XML"
ROOT = "annotation"


def files(source: Source) -> list[Path]:
    """Return the XML files if those looked at are of this format; one that is not raises an error when it is read."""
    kinds = set(source.xml_roots.values())
    return source.with_suffix(".xml") if ROOT in kinds else []


def read(source: Source, files: Sequence[Path]) -> Table:
    return read_each(source, files, NAME, _content)


def _content(path: Path) -> tuple[str, list[str]]:
    """Return the name of the photo in a file (empty if it has none) and the classes of its objects."""
    root = read_xml(path)
    if root.tag != ROOT:
        raise UserError(path, f"not {NAME} but <{root.tag}>", "move it out of the folder")
    objects = [each for each in root.findall("object") if each.findtext("deleted") != "1"]
    names = [(each.findtext("name") or "").strip() for each in objects]
    if not all(names):
        raise UserError(path, "an object without name", "add its name, or remove it")
    return (root.findtext("filename") or "").strip(), names
