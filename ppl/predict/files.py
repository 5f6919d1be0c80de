"""Which photos a command line names, and what the files made of them are called."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError
from ppl.predict.segmentation import overlay_of

LEGEND = "legend"  # name of what is written once for all photos
MAX_NAME_BYTES = 150  # of a photo's; with what is added to it while a file is written, below the usual limit of 255


def find_photos(arguments: Sequence[str], *, recursive: bool, out: Path) -> tuple[list[Path], Counter[str]]:
    """Photos that files, folders and patterns name, each once, and how many files of other suffixes folders hold.

    Of a folder those with a photo's suffix in the order of their names, with `recursive` also those of folders below
    it, but for `out`; of a pattern such as `*.jpg` or `**/*.jpg` likewise. What begins with a dot is left out.
    UserError for an argument that names no photo.
    """
    photos: dict[str, Path] = {}
    others: Counter[str] = Counter()
    if not arguments:
        raise UserError("PHOTO", "no photo is named", "name files, folders or quoted patterns before the options")
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            if out.is_dir() and path.samefile(out):
                raise UserError(path, "results would lie among the photos", "choose another folder with --out")
            files = list(_files_in(path, recursive, out))
            found = [file for file in files if file.suffix.lower() in PHOTO_SUFFIXES]
            others.update(file.suffix.lower() or "no suffix" for file in files if file not in {*found})
        elif os.path.lexists(path):
            found = [path]  # whatever it is called
        else:
            matches = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) else []
            files = [Path(match) for match in matches if os.path.isfile(match)]
            found = [file for file in files if file.suffix.lower() in PHOTO_SUFFIXES]
        if not found:
            what = "holds no photo" if path.is_dir() else "no such file, nor photos that fit it as a pattern"
            kinds = ", ".join(sorted(PHOTO_SUFFIXES))
            raise UserError(argument, f"{what}", f"name a folder, file or quoted pattern of photos ({kinds})")
        photos |= {os.path.abspath(file): file for file in found if os.path.abspath(file) not in photos}
    return list(photos.values()), others


def output_names(photos: Sequence[Path]) -> list[str]:
    """A name for the results of each photo, all different: its own, with its folder's in front where several share it.

    Upper and lower case count as the same, as they are on some disks. Where folders do not tell photos apart either,
    numbers do.
    """
    shared = Counter(photo.stem.casefold() for photo in photos)
    taken, names = {LEGEND}, []
    for photo in photos:
        prefix = "" if shared[photo.stem.casefold()] == 1 else f"{photo.absolute().parent.name}-"
        wanted = name = os.fsencode(prefix + photo.stem)[:MAX_NAME_BYTES].decode(errors="ignore")
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def check_outputs(out: Path, names: Sequence[str], photos: Sequence[Path]) -> None:
    """UserError where a result would replace one of the photos, or `out` is no folder."""
    if os.path.lexists(out) and not out.is_dir():
        raise UserError(out, "is no folder", "choose another one with --out")
    read = {os.path.realpath(photo) for photo in photos}
    masks = [out / f"{name}.png" for name in (*names, LEGEND)]
    for path in (*masks, *map(overlay_of, masks)):
        if os.path.realpath(path) in read:
            raise UserError(path, "a result would replace this photo", "choose another folder with --out")


def _files_in(folder: Path, recursive: bool, out: Path) -> Iterator[Path]:
    apart = os.path.realpath(out)
    for root, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(f for f in folders if f[0] != "." and os.path.realpath(Path(root, f)) != apart)
        yield from (Path(root, file) for file in sorted(files) if file[0] != ".")
        if not recursive:
            return


def _raise(error: OSError) -> None:
    raise error
