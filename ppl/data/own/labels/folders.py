"""A folder of photos for each class, as of ImageNet: `cat/1.jpg`, also below `train` and `val`."""

from collections.abc import Sequence
from pathlib import Path

from ppl.data.own.cells import ABSENT, SPLITS
from ppl.data.own.photos import copies
from ppl.data.own.source import Source
from ppl.data.own.table import Table, annotated
from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError

NAME = "a folder for each class"
NO_CLASSES = {
    "images",
    "jpegimages",
    "photos",
    "masks",
    "labels",
    "annotations",
    "segmentationclass",
    "segmentationobject",
}
"""Names of folders, in lower case, that no class has."""
Parts = tuple[str, ...]


def files(source: Source) -> list[Path]:
    """Return the photos in folders if there are several folders that may be those of classes."""
    if source.path.is_file():
        return []
    photos = [path for path in source.with_suffix(*PHOTO_SUFFIXES) if path.parent != source.path]
    names = {parts for path in photos if (parts := _folders(source, path))}
    return photos if len(_trimmed(names)) > 1 else []


def read(source: Source, files: Sequence[Path]) -> Table:
    """Return the folder of each photo as its class; the classes of equal files are joined.

    UserError if folders are nested, so that the first or the last may be that of the class, and nobody says which.
    """
    trimmed = _trimmed({_folders(source, path) for path in files})
    class_of = _classes(source, trimmed)
    by_file = {str(path): {class_of[parts]} for path in files if (parts := _folders(source, path)) in class_of}
    together = 0
    for group in copies({name: Path(name) for name in by_file if Path(name).is_file()}):
        union = set().union(*(by_file[name] for name in group))
        together += len(union) > 1
        by_file |= dict.fromkeys(group, union)
    root, here = source.names.root.resolve(), source.path.resolve()
    above = here.relative_to(root) if here.is_relative_to(root) else Path()
    found = []
    for name, classes in by_file.items():
        relative = (above / Path(name).relative_to(source.path)).as_posix()
        photos = source.names.find(relative) or source.names.find(Path(name).name)
        found.append((name, photos, [_no_class(each) for each in classes]))
    form = f"{NAME}, {len(set(class_of.values())):,} folders"
    form += f"; {together:,} photos lie in folders of several classes, and have all of them" if together else ""
    return annotated(source, found, form)


def _folders(source: Source, path: Path) -> Parts:
    return tuple(part for part in path.relative_to(source.path).parts[:-1] if part.casefold() not in NO_CLASSES)


def _trimmed(folders: set[Parts]) -> dict[Parts, Parts]:
    """Return folders without those of splits, at either end, and those that all photos share; none for a split."""
    trimmed = {parts: parts for parts in folders}
    while trimmed:
        first, last = ({parts[end].casefold() for parts in trimmed.values() if parts} for end in (0, -1))
        longer = all(len(parts) > 1 for parts in trimmed.values())
        if first <= SPLITS or (longer and len(first) == 1):
            trimmed = {folder: parts[1:] for folder, parts in trimmed.items()}
        elif last <= SPLITS:
            trimmed = {folder: parts[:-1] for folder, parts in trimmed.items()}
        else:
            break
        trimmed = {folder: parts for folder, parts in trimmed.items() if parts}
    return trimmed


def _classes(source: Source, trimmed: dict[Parts, Parts]) -> dict[Parts, str]:
    """Return the class of each folder."""
    nested = next((parts for parts in sorted(trimmed.values()) if len(parts) > 1), None)
    level = source.choices.class_folder
    if nested and level == "auto":
        what = f"{'/'.join(nested)} can be read in two ways: a photo of class {nested[0]!r}, or of {nested[-1]!r}"
        raise UserError(source.path, what, "choose by --class-folder first or --class-folder last")
    return {folder: parts[-1 if level == "last" else 0] for folder, parts in trimmed.items()}


def _no_class(name: str) -> str:
    """Return the word for no class for folders such as `no_class`."""
    plain = name.casefold().replace("_", " ").replace("-", " ")
    return plain if plain in ABSENT else name
