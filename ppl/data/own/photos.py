"""Folders of photos of any depth and naming: list them, assign image ids, and look photos up by name."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import ppl.data.heif  # noqa: F401 - HEIC is a format of photos
from ppl.data.dataset import MAX_ID_BYTES
from ppl.data.photos import PHOTO_SUFFIXES
from ppl.jobs.errors import UserError
from ppl.jobs.files import file_digest

SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "__macosx", "$recycle.bin", "system volume information", "lost+found"}
)
"""Folders of NAS devices and operating systems, in lower case: they hold thumbnails and deleted files."""
DIGITS = 8  # of the digest that makes a shortened id unique


@dataclass(frozen=True)
class PhotoFolder:
    """Photos below a folder, as paths relative to `root`, and the number of other files by suffix."""

    root: Path
    photos: tuple[PurePosixPath, ...]
    others: Mapping[str, int]


def list_photos(root: Path, *, without: Iterable[Path] = ()) -> PhotoFolder:
    """List the files below a folder except hidden ones and those in the folders `without`.

    Links to folders are followed, but no folder is listed twice, nor one of SYSTEM_FOLDERS.
    """
    if not root.is_dir():
        raise UserError(root, "not a folder", "name the folder of your photos")
    skipped = {path.resolve() for path in without} | {root.resolve()}
    photos, others = [], {}
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        # Links last: a folder that is both below the root and linked is listed by its own name.
        for name in sorted(folders, key=lambda name: ((here / name).is_symlink(), name)):
            resolved = (here / name).resolve()
            hidden = name.startswith(".") or name.casefold() in SYSTEM_FOLDERS
            # A link to a folder above would lead to all that lies beside the photos.
            if hidden or resolved in skipped or root.resolve().is_relative_to(resolved):
                folders.remove(name)
            skipped.add(resolved)
        folders.sort()
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if suffix in PHOTO_SUFFIXES:
                photos.append(PurePosixPath((here / name).relative_to(root).as_posix()))
            else:
                others[suffix] = others.get(suffix, 0) + 1
    return PhotoFolder(root, tuple(photos), others)


def ids_of(photos: Sequence[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return an image id for each photo: its path without suffix, folders joined by `__`.

    The suffix is part of the id where paths differ only by it. Ids differ even if case is ignored. UserError if two
    photos would get the same id.
    """
    plain = {photo: _id(photo.with_suffix("")) for photo in photos}
    taken: dict[str, int] = {}
    for name in plain.values():
        taken[name.casefold()] = taken.get(name.casefold(), 0) + 1  # some file systems ignore case
    ids = {photo: name if taken[name.casefold()] == 1 else _id(photo) for photo, name in plain.items()}
    by_id: dict[str, PurePosixPath] = {}
    for photo, name in ids.items():
        if name.casefold() in by_id:
            raise UserError(photo, f"would get the same id {name!r} as {by_id[name.casefold()]}", "rename one of them")
        by_id[name.casefold()] = photo
    return ids


def _id(path: PurePosixPath) -> str:
    name = "".join(c if c.isprintable() and c != "\\" else "_" for c in _plain("__".join(path.parts)))
    name = name.strip()  # as lines of lists are stripped
    name = f"_{name}" if not name or name[0] in ".-" else name
    if len(name.encode()) <= MAX_ID_BYTES:
        return name
    start = name.encode()[: MAX_ID_BYTES - DIGITS - 1].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:DIGITS]}"


@dataclass(frozen=True)
class PhotoIndex:
    """Look-up of photos by the name in a table: with or without suffix and folders, ignoring case."""

    photos: tuple[PurePosixPath, ...]

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        names: dict[str, list[PurePosixPath]] = {}
        for photo in self.photos:
            for name in {_key(photo.name), _key(photo.stem)}:
                names.setdefault(name, []).append(photo)
        return names

    def find(self, name: str) -> list[PurePosixPath]:
        """Return the photos that match a name: one, none, or several if the name is ambiguous.

        What follows a question mark, as in addresses, is left out if the whole name matches none.
        """
        address, mark, _ = name.partition("?")
        return self._find(name) or (self._find(address) if mark else [])

    def _find(self, name: str) -> list[PurePosixPath]:
        *folders, last = [part for part in _key(name).replace("\\", "/").split("/") if part not in ("", ".")] or [""]
        stem = PurePosixPath(last).stem if PurePosixPath(last).suffix in PHOTO_SUFFIXES else last
        for candidates in (self._by_name.get(last, []), self._by_name.get(stem, [])):
            matches = {photo: common for photo in candidates if (common := _common(photo, folders)) is not None}
            best = [photo for photo in matches if matches[photo] == max(matches.values())]
            if best:
                exact = [photo for photo in best if _plain(name).endswith((_plain(photo.name), _plain(photo.stem)))]
                return exact or best
        return []


def _common(photo: PurePosixPath, folders: Sequence[str]) -> int | None:
    """Return how many folders before the name agree, from the last on; None where they differ."""
    parents = [_key(part) for part in photo.parts[:-1]]
    agree = 0
    for parent, folder in zip(reversed(parents), reversed(folders), strict=False):
        if parent != folder:
            return None
        agree += 1
    return agree


def copies(paths: Mapping[str, Path]) -> Iterator[list[str]]:
    """Yield groups of ids whose files are equal byte for byte; only files of equal size are digested."""
    by_size: dict[int, list[str]] = {}
    for image_id, path in paths.items():
        by_size.setdefault(path.stat().st_size, []).append(image_id)
    for image_ids in by_size.values():
        if len(image_ids) > 1:
            by_digest: dict[str, list[str]] = {}
            for image_id in image_ids:
                by_digest.setdefault(file_digest(paths[image_id]), []).append(image_id)
            yield from (group for group in by_digest.values() if len(group) > 1)


def _plain(text: str) -> str:
    """Return text with one spelling of accents, which macOS writes as two characters."""
    return unicodedata.normalize("NFC", text)


def _key(text: str) -> str:
    return _plain(text).strip().casefold()
