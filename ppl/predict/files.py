"""Photos named on a command line, and names for their results."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ppl.data import heif
from ppl.data.heif import is_heif
from ppl.data.own.photos import SYSTEM_FOLDERS
from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError

LEGEND = "legend"  # name of the files written once for all photos
MAX_NAME_BYTES = 150  # of a photo's name; with the parts added while a file is written, below the usual limit of 255
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".wmv", ".mpg", ".mpeg", ".mts")
NUMBER = re.compile(r"([0-9]+)")


def find_photos(arguments: Sequence[str], *, recursive: bool, out: Path) -> tuple[list[Path], Counter[str]]:
    """Return the photos that files, folders and patterns name, each once, and the number of other files by suffix.

    A folder stands for its files with a suffix of photos in the order of their names (`natural`), with `recursive` also
    for those in folders below it except `out`; a pattern such as `*.jpg` or `**/*.jpg` likewise. Hidden files are
    ignored. UserError for an argument that names no photo, or a video.
    """
    photos: dict[str, Path] = {}
    others: Counter[str] = Counter()
    if not arguments:
        raise UserError("PHOTO", "no photo is named", "name files, folders or quoted patterns before the options")
    for argument in arguments:
        path = Path(argument)
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            frames = path.with_suffix("")
            remedy = f"turn it into frames: mkdir {frames}; ffmpeg -i {path} {frames}/%06d.jpg; then name that folder"
            raise UserError(path, "a video", remedy)
        if path.is_dir():
            if out.is_dir() and path.samefile(out):
                raise UserError(path, "results would be written among the photos", "choose another folder with --out")
            files = list(_files_in(path, recursive, out))
            matches = [file for file in files if file.suffix.lower() in PHOTO_SUFFIXES]
            others.update(file.suffix.lower() or "no suffix" for file in files if file not in {*matches})
        elif os.path.lexists(path):
            matches = [path]  # of any suffix
        else:
            names = sorted(glob.glob(argument, recursive=True), key=natural) if glob.has_magic(argument) else []
            files = [Path(name) for name in names if os.path.isfile(name)]
            matches = [file for file in files if file.suffix.lower() in PHOTO_SUFFIXES]
        if not matches:
            what = "no photo in this folder" if path.is_dir() else "no such file, and no photo matches it as a pattern"
            if any(map(is_heif, files)):
                raise UserError(argument, "HEIC photos alone", heif.REMEDY)
            kinds = ", ".join(sorted(PHOTO_SUFFIXES))
            raise UserError(argument, what, f"name a folder, file or quoted pattern of photos ({kinds})")
        photos |= {os.path.abspath(file): file for file in matches if os.path.abspath(file) not in photos}
    return list(photos.values()), others


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a key that sorts numbers in names by their value, as those of frames: frame2 before frame10."""
    parts = NUMBER.split(name)  # text and digits in turn
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def output_names(photos: Sequence[Path]) -> list[str]:
    """Return a unique name for the results of each photo: its own, with its folder's as prefix where several share it.

    Case is ignored, as some file systems do. Names that are still equal get a number.
    """
    shared = Counter(photo.stem.casefold() for photo in photos)
    taken, names = {LEGEND}, []
    for photo in photos:
        prefix = "" if shared[photo.stem.casefold()] == 1 else f"{photo.absolute().parent.name}-"
        base = name = os.fsencode(prefix + photo.stem)[:MAX_NAME_BYTES].decode(errors="ignore")
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def check_outputs(out: Path, files: Iterable[Path], photos: Sequence[Path]) -> None:
    """Raise UserError if one of the `files` of results would replace a photo, or `out` is not a folder."""
    if os.path.lexists(out) and not out.is_dir():
        raise UserError(out, "not a folder", "choose another one with --out")
    read = {os.path.realpath(photo) for photo in photos}
    for path in (*files, out / f"{LEGEND}.png"):
        if os.path.realpath(path) in read:
            raise UserError(path, "a result would replace this photo", "choose another folder with --out")


def _files_in(folder: Path, recursive: bool, out: Path) -> Iterator[Path]:
    apart = os.path.realpath(out)
    for root, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = (f for f in folders if not _is_hidden(f) and os.path.realpath(Path(root, f)) != apart)
        folders.sort(key=natural)
        yield from (Path(root, file) for file in sorted(files, key=natural) if file[0] != ".")
        if not recursive:
            return


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder.casefold() in SYSTEM_FOLDERS


def _raise(error: OSError) -> None:
    raise error
