"""Formats with one file per photo, which is named as the photo and may name it inside too."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ppl.data.findings import MAX_EXAMPLES, listed
from ppl.data.own.names import Photos
from ppl.data.own.source import Source
from ppl.data.own.table import Table, annotated


def read_each(
    source: Source, files: Sequence[Path], form: str, content: Callable[[Path], tuple[str, Collection[str]]]
) -> Table:
    """Return the labels of files, one per photo; `content` returns the name of the photo in a file and its classes.

    The name of the file itself goes before the name inside, which tools do not correct when files are renamed.
    """
    found: list[tuple[str, Photos, Collection[str]]] = []
    differing = []
    for path, by_file in zip(files, source.names.of_files(files), strict=True):
        name, classes = content(path)
        inside = source.names.find(name.replace("\\", "/").rpartition("/")[2]) if name else []
        if by_file and inside and not set(by_file) & set(inside):
            differing.append(path.name)
        if len(by_file) > 1 and len(inside) == 1 and inside[0] in by_file:
            by_file = inside
        found.append((str(path), by_file or inside, classes))
    note = None
    if differing:
        examples = listed(differing[:MAX_EXAMPLES])
        note = f"the names of photos inside {len(differing):,} files, such as {examples}: those of the files differ"
    return annotated(source, found, f"{form}, {len(files):,} files", (), [note])
