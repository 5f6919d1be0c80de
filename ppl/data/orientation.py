"""Decide which photos are read as stored, and link or copy photos into a dataset folder accordingly.

Every step reads the photos of a dataset folder upright by their EXIF orientation. Masks may be of the pixels as stored,
and those of public datasets always are. A photo to be read as stored is copied into the dataset folder without loss and
without EXIF, so that the decision is made once. Of a mask only the size is read, from its header.
"""

import os.path
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

from PIL import Image

from ppl.data.links import link_to
from ppl.data.masks import mask_size
from ppl.data.photos import MAX_STORED, SIDEWAYS, exif_orientation, photo_size, read_photo
from ppl.data.settings import Orientation
from ppl.jobs.errors import UserError
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

HEADERS_PER_TASK = 1024
COPIES_PER_TASK = 16
COMPRESSION = 1  # of PNG, 0 to 9: a third of the time of the usual 6, for files that are 15 % larger
Item = TypeVar("Item")
Result = TypeVar("Result")

KEY = "data.folder.orientation"
Fit = Literal["stored", "upright", "both", "unknown"]
"""Which reading of a photo has the size of its mask; unknown: neither, or there is no readable mask."""


@dataclass(frozen=True)
class Decision:
    """The ids of the photos to read as stored, and the message about photos that no mask decides."""

    as_stored: frozenset[str] = frozenset()
    warning: UserError | None = None
    """Other photos, or the default, decided for them."""
    fault: UserError | None = None
    """Other photos contradict each other, so the user has to decide."""


def decide(
    files: Mapping[str, tuple[Path, Path]], orientation: Orientation, where: Path, *, workers: int, option: str = KEY
) -> Decision:
    """Decide how the photos of a dataset are read, by the size of their masks and by `data.folder.orientation`.

    `files` are photo and mask by image id; either may be missing or unreadable. Messages name the place `where`, and
    `option` as the one that decides. With `workers=0` this process reads the headers, and shows no progress.
    """
    relevant = [(i, pair) for i, pair in files.items() if orientation == "stored" or os.path.exists(pair[1])]
    return decide_by_fits(dict(_of_headers(_fits, relevant, workers)), orientation, where, option)


def decide_by_fits(fits: Mapping[str, Fit], orientation: Orientation, where: Path, option: str = KEY) -> Decision:
    """Decide how photos with an EXIF orientation are read, from the fits of their masks."""
    ids: dict[Fit, list[str]] = {"stored": [], "upright": [], "both": [], "unknown": []}
    for image_id, fit in sorted(fits.items()):
        ids[fit].append(image_id)
    if orientation == "stored":
        return Decision(frozenset(fits.keys() - ids["upright"]))
    as_stored = frozenset(ids["stored"])
    if orientation == "upright" or not ids["both"]:
        return Decision(as_stored)
    if ids["stored"] and ids["upright"]:
        return Decision(as_stored, fault=_doubt(ids, where, option))
    return Decision(as_stored.union(ids["both"]) if as_stored else as_stored, warning=_doubt(ids, where, option))


def fit_of(photo: Path, mask: Path) -> Fit | None:
    """Return which reading of a photo its mask fits; None for a photo without EXIF orientation or an unreadable one."""
    try:
        orientation = exif_orientation(photo)
        if orientation == 1:
            return None
        height, width = photo_size(photo, most=MAX_STORED, upright=False)
    except UserError:
        return None
    try:
        size = mask_size(mask, most=MAX_STORED)
    except UserError:
        return "unknown"
    if orientation in SIDEWAYS and height != width:
        return {(height, width): "stored", (width, height): "upright"}.get(size, "unknown")
    return "both" if size == (height, width) else "unknown"


def find_turned(photos: Sequence[Path], *, workers: int) -> set[Path]:
    """Return the photos whose EXIF orientation is not upright; unreadable ones are left to the check."""
    return set(_of_headers(_turned, photos, workers))


def link_as_stored(photos: Sequence[Path], folder: Path, *, workers: int) -> None:
    """Link photos into an existing folder; copy those with an EXIF orientation, so that they are read as stored.

    Missing photos are left out: the check lists them.
    """
    link_or_copy(photos, find_turned(photos, workers=workers), folder, workers=workers)


def link_or_copy(
    photos: Sequence[Path],
    as_stored: Collection[Path],
    folder: Path,
    *,
    bits: Mapping[Path, int] = MappingProxyType({}),
    workers: int,
) -> None:
    """Link photos into an existing folder, without missing ones; copy those to be read as stored, or reduced to 8 bits.

    `bits` says how many bits count in photos of 16.
    """
    copied = [
        (photo, photo not in as_stored, bits.get(photo)) for photo in photos if photo in as_stored or photo in bits
    ]
    for photo in photos:
        if photo not in as_stored and photo not in bits:
            link(photo, folder)
    if not copied:
        return
    chunks, name = in_chunks(copied, COPIES_PER_TASK), "photos copied"
    for _ in run_all(partial(_copy, folder), chunks, workers=workers, total=len(copied), size=len, name=name):
        pass
    if as_stored:
        print(f"{len(as_stored):,} of {len(photos):,} photos are copied as stored (EXIF orientation)")


def link(photo: Path, folder: Path) -> None:
    """Link a photo into a folder; leave out a missing one, which the check lists."""
    if photo.exists():
        link_to(folder / photo.name, photo)


def copy_photo(photo: Path, folder: Path, *, upright: bool = False, bits: int | None = None) -> None:
    """Write the pixels of a photo, by default as stored, into a folder, as ID.png without EXIF; link an unreadable one.

    The reader of the copy need not know its orientation, nor how many bits count in a photo of 16.
    """
    try:
        pixels = Image.fromarray(read_photo(photo, upright=upright, bits=bits))
    except UserError:  # reported by the check
        link(photo, folder)
    else:
        pixels.save(folder / f"{photo.stem}.png", compress_level=COMPRESSION)


def _doubt(ids: Mapping[Fit, Sequence[str]], where: Path, option: str) -> UserError:
    """Return what to say about photos whose masks fit both ways: how they are read, or that others disagree."""

    def photos(fit: Fit) -> str:
        number, example = len(ids[fit]), ids[fit][0]
        return f"{number:,} photos (such as {example!r})" if number > 1 else f"photo {example!r}"

    what = f"EXIF orientation of {photos('both')}: masks fit upright and as stored"
    remedy = f"set {option} to upright or stored"
    if ids["stored"] and ids["upright"]:
        what += f", those of {photos('stored')} only as stored, those of {photos('upright')} only upright"
        return UserError(where, what, remedy)
    way: Fit = "stored" if ids["stored"] else "upright"
    what += f", so {'they are' if len(ids['both']) > 1 else 'it is'} read {'as stored' if ids['stored'] else 'upright'}"
    if ids[way]:
        what += f", the only way that fits for {photos(way)}"
    return UserError(where, what, f"{remedy} to decide")


def _of_headers(
    function: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Yield what a function returns for chunks of files of which it reads the headers, in any order.

    Without workers, and for few files, this process reads them and shows no progress, as Snakemake's own does.
    """
    if not workers or len(items) <= HEADERS_PER_TASK:  # a few thousand headers take as long as starting a process
        yield from function(items)
        return
    chunks = in_chunks(items, HEADERS_PER_TASK)
    for results in run_all(function, chunks, workers=workers, total=len(items), size=len, name="headers of photos"):
        yield from results


def _fits(files: Sequence[tuple[str, tuple[Path, Path]]]) -> list[tuple[str, Fit]]:
    fits = ((image_id, fit_of(*pair)) for image_id, pair in files)
    return [(image_id, fit) for image_id, fit in fits if fit is not None]


def _turned(photos: Sequence[Path]) -> list[Path]:
    return [photo for photo in photos if _is_turned(photo)]


def _is_turned(photo: Path) -> bool:
    try:
        return exif_orientation(photo) != 1
    except UserError:
        return False


def _copy(folder: Path, photos: Sequence[tuple[Path, bool, int | None]]) -> None:
    for photo, upright, bits in photos:
        copy_photo(photo, folder, upright=upright, bits=bits)
