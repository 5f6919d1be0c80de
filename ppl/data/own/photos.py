"""A folder of photos as people have it, of any depth and names: an id for each photo, and which one a name means."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ppl.data.dataset import MAX_ID_BYTES
from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError
from ppl.jobs.files import file_digest

DIGITS = 8  # of a digest, where it tells long ids apart


@dataclass(frozen=True)
class Found:
    """Files below a folder: photos, and the number of others by suffix. Paths are relative to `root`."""

    root: Path
    photos: tuple[PurePosixPath, ...]
    others: Mapping[str, int]


def find(root: Path, *, without: Iterable[Path] = ()) -> Found:
    """All files below a folder but hidden ones and those in the folders `without`."""
    if not root.is_dir():
        raise UserError(root, "is no folder", "name the one that holds your photos")
    skipped = {path.resolve() for path in without}
    photos, others = [], {}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() not in skipped)
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if suffix in PHOTO_SUFFIXES:
                photos.append(PurePosixPath((here / name).relative_to(root).as_posix()))
            else:
                others[suffix] = others.get(suffix, 0) + 1
    return Found(root, tuple(photos), others)


def ids_of(photos: Sequence[PurePosixPath]) -> dict[PurePosixPath, str]:
    """An id for each photo: its path without suffix, folders joined by `__`; with it where only the suffix differs."""
    plain = {photo: _id(photo.with_suffix("")) for photo in photos}
    taken: dict[str, int] = {}
    for name in plain.values():
        taken[name.casefold()] = taken.get(name.casefold(), 0) + 1  # some drives do not tell capitals
    ids = {photo: name if taken[name.casefold()] == 1 else _id(photo) for photo, name in plain.items()}
    by_id: dict[str, PurePosixPath] = {}
    for photo, name in ids.items():
        if name.casefold() in by_id:
            raise UserError(photo, f"would share the id {name!r} with {by_id[name.casefold()]}", "rename one of them")
        by_id[name.casefold()] = photo
    return ids


def _id(path: PurePosixPath) -> str:
    name = "".join(c if c.isprintable() and c != "\\" else "_" for c in _plain("__".join(path.parts)))
    name = name.strip()  # as a line of a list is
    name = f"_{name}" if not name or name[0] in ".-" else name
    if len(name.encode()) <= MAX_ID_BYTES:
        return name
    start = name.encode()[: MAX_ID_BYTES - DIGITS - 1].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:DIGITS]}"


@dataclass(frozen=True)
class Names:
    """Finds the photo that a name in a table means: with or without suffix and folders, whatever the capitals."""

    photos: tuple[PurePosixPath, ...]

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        names: dict[str, list[PurePosixPath]] = {}
        for photo in self.photos:
            for name in {_key(photo.name), _key(photo.stem)}:
                names.setdefault(name, []).append(photo)
        return names

    def find(self, name: str) -> list[PurePosixPath]:
        """The photos that may be meant: one, none, or several where the name does not tell."""
        *folders, last = [part for part in _key(name).replace("\\", "/").split("/") if part not in ("", ".")] or [""]
        stem = PurePosixPath(last).stem if PurePosixPath(last).suffix in PHOTO_SUFFIXES else last
        for candidates in (self._by_name.get(last, []), self._by_name.get(stem, [])):
            fitting = {photo: common for photo in candidates if (common := _common(photo, folders)) is not None}
            best = [photo for photo in fitting if fitting[photo] == max(fitting.values())]
            if best:
                exact = [photo for photo in best if _plain(name).endswith((_plain(photo.name), _plain(photo.stem)))]
                return exact or best
        return []


def _common(photo: PurePosixPath, folders: Sequence[str]) -> int | None:
    """How many folders before the name agree, from the last on; None where both sides name one and they differ."""
    own = [_key(part) for part in photo.parts[:-1]]
    agree = 0
    for ours, theirs in zip(reversed(own), reversed(folders), strict=False):
        if ours != theirs:
            return None
        agree += 1
    return agree


def copies(paths: Mapping[str, Path]) -> Iterator[list[str]]:
    """Groups of ids whose files are the same byte for byte; most files are told apart by their size alone."""
    by_size: dict[int, list[str]] = {}
    for image, path in paths.items():
        by_size.setdefault(path.stat().st_size, []).append(image)
    for images in by_size.values():
        if len(images) > 1:
            by_digest: dict[str, list[str]] = {}
            for image in images:
                by_digest.setdefault(file_digest(paths[image]), []).append(image)
            yield from (group for group in by_digest.values() if len(group) > 1)


def _plain(text: str) -> str:
    """One spelling of accents, which macOS writes in two characters."""
    return unicodedata.normalize("NFC", text)


def _key(text: str) -> str:
    return _plain(text).strip().casefold()
