"""Formats of labels: a slot of modules, one per format, and the choice of the one that a file or folder has.

A module contains

    NAME                   what it is called in messages
    files(source)          the files of this format, none if it is another one
    read(source, files)    a `Table` of them

`own/MODULE` names a module of the user.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppl.data.findings import MAX_EXAMPLES, listed
from ppl.data.own.recognise import AUTO, several_fit
from ppl.data.own.rows import WORKBOOK_OR_ARCHIVE, archive_remedy
from ppl.data.own.source import Source
from ppl.data.own.table import Table
from ppl.jobs.errors import UserError
from ppl.jobs.slots import load

LABELS = {
    "table": "ppl.data.own.labels.table",
    "coco": "ppl.data.own.labels.coco",
    "voc": "ppl.data.own.labels.voc",
    "cvat": "ppl.data.own.labels.cvat",
    "labelme": "ppl.data.own.labels.labelme",
    "labelstudio": "ppl.data.own.labels.labelstudio",
    "datumaro": "ppl.data.own.labels.datumaro",
    "yolo": "ppl.data.own.labels.yolo",
    "npy": "ppl.data.own.labels.npy",
    "json": "ppl.data.own.labels.json_labels",
    "jsonl": "ppl.data.own.labels.json_lines",
    "folders": "ppl.data.own.labels.folders",
}
"""Formats of labels by the value of `--label-format`."""


def read_labels(source: Source, name: str = AUTO) -> Table:
    """Return the labels in a file or a folder, of the format `name` or the one that it has.

    UserError if it has none or several, and if no photo is named in it.
    """
    _refuse_archive(source.path)
    if source.path.suffix.lower() in (".yaml", ".yml") and source.path.is_file():  # data.yaml
        source, name = replace(source, path=source.path.parent), "yolo" if name == AUTO else name
    name, files = (name, load(LABELS, name).files(source)) if name != AUTO else _recognise(source)
    if not files:
        raise UserError(source.path, f"not {load(LABELS, name).NAME}", _known())
    table = load(LABELS, name).read(source, files)
    if not any(table.photos.get(name) or source.names.find(name) for name in table.labels):
        photo, like = source.names.index.photos[0], next(iter(table.labels), "")
        what = f"{load(LABELS, name).NAME}, but names none of the photos: it names {like}, photos are called {photo}"
        raise UserError(source.path, what, "name the folder of its photos by --photos")
    return table


def _recognise(source: Source) -> tuple[str, Sequence[Path]]:
    """Return the format of labels and their files; UserError unless exactly one format fits."""
    fits = {name: files for name in LABELS if (files := load(LABELS, name).files(source))}
    if fits.keys() - {"folders", "table"}:  # photos that an annotation tool has are often in folders of their own
        fits.pop("folders", None)
    if len(fits) == 1:
        return next(iter(fits.items()))
    if not fits and source.path.is_file() and not source.path.read_bytes().strip():
        raise UserError(source.path, "an empty file", _known())
    if not fits and (source.path / "SegmentationClass").is_dir():
        what = "masks alone, without labels: masks are for measuring, labels are not taken from them"
        raise UserError(
            source.path, what, "export the labels too, such as CVAT's as `CVAT for images 1.1` for --labels"
        )
    if not fits:
        raise UserError(source.path, f"no labels of a known format in it, but {_kinds(source)}", _known())
    readings = {name: f"{load(LABELS, name).NAME} ({_example(source, files)})" for name, files in fits.items()}
    error = several_fit(source.path, readings, "--label-format")
    raise UserError(error.where, error.what, f"{error.remedy}, or name one file by --labels")


def _example(source: Source, files: Sequence[Path]) -> str:
    if files[0] == source.path:
        return source.path.name
    first = files[0].relative_to(source.path)
    return str(first) if len(files) == 1 else f"{len(files):,} files such as {first}"


def _kinds(source: Source) -> str:
    counts = Counter(path.suffix.lower() or path.name for path in source.files)
    kinds = [f"{count:,} {suffix}" for suffix, count in counts.most_common(MAX_EXAMPLES)]
    return listed(kinds) if kinds else "no file"


def _known() -> str:
    return "name the labels by --labels: docs/own-data.md lists the formats, the simplest a table of photo,class"


def _refuse_archive(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(WORKBOOK_OR_ARCHIVE) or start.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
            content = path.read_bytes()
            raise UserError(path, "a workbook or an archive, not a file of labels", archive_remedy(content))
