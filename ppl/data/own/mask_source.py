"""What `--masks` names: a folder of masks, or a file that describes them, and which mask belongs to which photo."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from ppl.data.findings import MAX_EXAMPLES, listed
from ppl.data.mask_formats import SAVE_IDS
from ppl.data.own.cells import BACKGROUND, IGNORED, class_key
from ppl.data.own.names import Names
from ppl.data.own.pixels import SUFFIXES
from ppl.data.own.source import files_below
from ppl.jobs.errors import UserError

Draw = Callable[[], np.ndarray]
"""Return a mask as class ids (h, w) uint8."""
Files = dict[PurePosixPath, Path]
"""Files by their photo."""


@dataclass(frozen=True)
class Masks:
    """The mask of each photo: a PNG of class ids to be linked, or a function that draws it."""

    form: str
    """Description of the format, for messages."""
    of_photo: Mapping[PurePosixPath, Path | Draw]
    left_out: tuple[str, ...] = ()
    """What was not read, and why, in one line each."""


@dataclass(frozen=True)
class MaskSource:
    """A folder or file of masks, the photos they belong to, and the classes in the order of their ids, from 1."""

    path: Path
    names: Names
    classes: tuple[str, ...]
    ordered: bool
    """Whether the user has named the classes in the order of their ids."""
    colours: str | None = None
    """Table of colours, or `voc`; by default a table beside the masks."""
    suffix: str | None = None
    """What follows the photo's name in the name of its mask."""

    @cached_property
    def files(self) -> list[PurePosixPath]:
        """The images and arrays below the folder."""
        paths = files_below(self.path) if self.path.is_dir() else ()
        return [PurePosixPath(p.relative_to(self.path).as_posix()) for p in paths if p.suffix.lower() in SUFFIXES]

    @property
    def has_masks(self) -> bool:
        """Whether there are images or arrays besides the photos."""
        return not all(map(self._is_photo, self.files))

    @cached_property
    def id_of(self) -> dict[str, int]:
        """The id of each class by its `class_key`, 0 for background and 255 for what is ignored."""
        ids = dict.fromkeys(BACKGROUND, 0) | dict.fromkeys(IGNORED, 255)
        return ids | {class_key(name): number for number, name in enumerate(self.classes, start=1)}

    @cached_property
    def by_photo(self) -> "Files | UserError":
        """The mask of each photo, or why there is none or more than one of some photo."""
        try:
            return self._single()
        except UserError as error:
            return error

    @property
    def single(self) -> Files:
        """The mask of each photo; UserError if there is none, or more than one of some photo."""
        if isinstance(self.by_photo, UserError):
            raise self.by_photo
        return self.by_photo

    @cached_property
    def by_class(self) -> dict[PurePosixPath, dict[str, Path]]:
        """The masks of each photo by class, of files in folders of classes or with the class behind the photo's name.

        Empty if that is not how they are named. UserError for a file of no class among them.
        """
        masks: dict[PurePosixPath, dict[str, Path]] = {}
        others = []
        for path in self.files:
            ways = (self._class_in_folder, self._class_behind_name, self._class_as_name)
            photos, name = next(filter(None, (way(path) for way in ways)), ([], ""))
            if not name and not self._is_photo(path):
                others.append(path)
            for photo in photos:
                if name in masks.setdefault(photo, {}):
                    return {}
                masks[photo][name] = self.path / path
        if not masks or (others and not isinstance(self.by_photo, UserError)):
            return {}
        if others:
            what = f"no class of the labels in its path, which are {listed(self.classes)}"
            raise UserError(self.path / others[0], what, "name all classes by --classes FILE, or move it away")
        return masks

    def without_masks(self, photos: Sequence[PurePosixPath]) -> Iterator[PurePosixPath]:
        """Yield the photos that are not masks lying beside them."""
        root, masks = self.names.root.resolve(), set()
        if any(map(self._is_photo, self.files)) and not isinstance(self.by_photo, UserError):
            masks = {path.resolve() for path in self.by_photo.values()}
        yield from (photo for photo in photos if root / photo not in masks)

    def unused(self, files: Files | Sequence[Path]) -> str | None:
        """Return a line about the files that are the mask of no photo; None if there are none."""
        used = set(files.values() if isinstance(files, Mapping) else files)
        others = [path for path in self.files if self.path / path not in used and not self._is_photo(path)]
        if not others:
            return None
        return f"{len(others):,} masks of no photo, such as {listed(map(str, others[:MAX_EXAMPLES]))}"

    def no_masks(self) -> UserError:
        """Return an error that names what there is in place of masks: files of other names or formats."""
        if isinstance(self.by_photo, UserError) and self.path.is_dir():
            return self.by_photo
        what = "no masks of a known format"
        return UserError(
            self.path, what, "name a folder of PNGs of class ids, or see docs/own-data.md for other formats"
        )

    def _single(self) -> Files:
        masks: Files = {}
        owners: dict[PurePosixPath, PurePosixPath] = {}
        for photo, mask in self._pairs():
            if photo in masks and masks[photo] != mask:
                both = listed(str(path.relative_to(self.path)) for path in (masks[photo], mask))
                remedy = "merge masks of several classes into one, or put those of each class into a folder of its name"
                raise UserError(self.path, f"{both} match {photo}", remedy)
            if owners.setdefault(mask, photo) != photo:
                what = f"matches {owners[mask]} and {photo}"
                raise UserError(mask, what, "put masks into folders as the photos")
            masks[photo] = mask
        if not masks:
            raise self._nothing()
        return masks

    def _pairs(self) -> Iterator[tuple[PurePosixPath, Path]]:
        """Yield photos and their masks: of the same name, else with the same text behind or before it."""
        affixes: dict[str, list[tuple[PurePosixPath, Path]]] = {}
        for path in self.files:
            affix, photos = self._photos_of(path)
            if photos:
                affixes.setdefault(affix.casefold(), []).extend((photo, self.path / path) for photo in photos)
        if self.suffix is not None:
            chosen = self.suffix.casefold()
            if chosen not in affixes:
                what = f"no mask is named as a photo with {self.suffix!r} behind it"
                raise UserError("--mask-suffix", what, f"choose one of {', '.join(map(repr, affixes)) or 'none'}")
        elif "" in affixes or not affixes:
            chosen = ""
        elif len(affixes) == 1:
            (chosen,) = affixes
        else:
            counts = Counter({affix: len(pairs) for affix, pairs in affixes.items()})
            named = [affix for affix, _ in counts.most_common(MAX_EXAMPLES)]
            what = f"masks are named as photos with {', or with '.join(map(repr, named))}"
            raise UserError(self.path, what, f"choose by --mask-suffix, such as --mask-suffix={named[0]}")
        return iter(affixes.get(chosen, []))

    def _photos_of(self, path: PurePosixPath) -> tuple[str, Sequence[PurePosixPath]]:
        """Return the photos of which a file may be the mask, and what its name has besides theirs."""
        find, stem = self.names.index.find, path.stem
        if not self._is_photo(path) and (photos := find(str(path.with_suffix("")))):
            return "", photos
        signs = [match.start() for match in re.finditer(r"[_\-. ]", stem)]
        for sign in reversed(signs):
            if sign and (photos := find(str(path.with_name(stem[:sign])))):
                return stem[sign:], photos
        for sign in signs:
            if sign + 1 < len(stem) and (photos := find(str(path.with_name(stem[sign + 1 :])))):
                return stem[: sign + 1], photos
        return "", []

    def _is_photo(self, path: PurePosixPath) -> bool:
        """Return whether a file is one of the photos, which may have masks beside them."""
        return self._here / path in self._photo_paths

    @cached_property
    def _here(self) -> Path:
        return self.path.resolve()

    @cached_property
    def _photo_paths(self) -> frozenset[Path]:
        root = self.names.root.resolve()
        return frozenset(root / photo for photo in self.names.index.photos)

    def _class_in_folder(self, path: PurePosixPath) -> tuple[Sequence[PurePosixPath], str] | None:
        for place, part in enumerate(path.parts[:-1]):
            if class_key(part) in self.id_of:
                rest = PurePosixPath(*path.parts[:place], *path.parts[place + 1 :])
                return self._photos_of(rest)[1] or self._photos_of(path)[1], class_key(part)
        return None

    def _class_as_name(self, path: PurePosixPath) -> tuple[Sequence[PurePosixPath], str] | None:
        """Return photos and class of a file that is named as a class, in a folder that is named as a photo."""
        name = class_key(path.stem)
        is_class = name in self.id_of and path.parent.name
        return (self.names.index.find(str(path.parent)), name) if is_class else None

    def _class_behind_name(self, path: PurePosixPath) -> tuple[Sequence[PurePosixPath], str] | None:
        affix, photos = self._photos_of(path)
        name = class_key(affix.strip("_-. "))
        return (photos, name) if name in self.id_of else None

    def _nothing(self) -> UserError:
        photos, names = self.names.index.photos, self.files
        if names and photos:
            if all(map(self._is_photo, names)):
                remedy = "move the masks into a folder of their own, or remove --masks"
                return UserError(f"{self.path}/{names[0]}", "lies among the photos, which are listed with it", remedy)
            what = f"no mask matches a photo: masks are named as {names[0]}, photos as {photos[0]}"
            return UserError(self.path, what, "name masks as the photos, with the suffix .png")
        counts = Counter(path.suffix.lower() for path in files_below(self.path)) if self.path.is_dir() else Counter()
        if not counts:
            return UserError(self.path, "no file in it", "name the folder of masks, or remove --masks")
        kinds = listed(f"{count:,} {suffix or 'without suffix'}" for suffix, count in sorted(counts.items()))
        return UserError(self.path, f"no mask matches a photo: no PNG in it, but {kinds}", f"for each mask: {SAVE_IDS}")
