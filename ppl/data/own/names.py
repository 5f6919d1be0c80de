"""Find the photo that a label belongs to: by the name written in a file, or by the name of the file itself."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ppl.data.dataset import MAX_ID_BYTES
from ppl.data.own.photos import PhotoIndex

Photos = Sequence[PurePosixPath]
Find = Callable[[Path, str], Photos]
"""Return the photos that a name in a file may mean: one, none, or several if the name is ambiguous."""
UPLOAD = re.compile(r"(.*/)?[0-9a-f]{8}-([^/]+)")
"""Name of a photo that was uploaded to Label Studio, which puts 8 digits in front."""
LABEL_FOLDERS = {"labels", "annotations", "label", "annotation", "ann", "xml", "json", "txt"}
IMAGE_FOLDERS = ("images", "jpegimages", "image", "img", "photos")


@dataclass(frozen=True)
class Names:
    """The photos below a folder, to be looked up by the names that labels have for them."""

    root: Path
    index: PhotoIndex

    def find(self, name: str) -> Photos:
        """Return the photos that a name means, with or without folders, suffix, and Label Studio's prefix.

        Label Studio writes `my cat.jpg` as `/data/upload/1/0123abcd-my_cat.jpg` or `?d=photos/my%20cat.jpg`.
        """
        exact = PurePosixPath(name)
        if exact in self._photos:
            return [exact]
        for spelling in dict.fromkeys([name, unquote(name)]):
            if photos := self.index.find(spelling):
                return photos
        upload = UPLOAD.fullmatch(unquote(name).partition("?")[0])
        if not upload:
            return []
        return self.index.find(f"{upload[1] or ''}{upload[2]}") or self._by_upload.get(upload[2].casefold(), [])

    def of_number(self, number: int) -> Photos:
        """Return the photos with a number in place of a name: of all digits of the name, without zeros in front."""
        return self._by_number.get(number, [])

    def of_plain_number(self, name: str) -> Photos:
        """Return the photos called by a number, of which zeros in front do not count: 007.jpg is 7."""
        is_number = name.isascii() and name.isdecimal() and len(name) <= MAX_ID_BYTES
        return self._by_plain_number.get(int(name), []) if is_number else []

    def finder(self, files: Sequence[Path]) -> Find:
        """Return the look-up of names written in `files`.

        Where several files, as of a training and a validation split, lie beside photos, each names those beside it.
        """
        if len(files) == 1:
            return lambda file, name: self.find(name)

        def find(file: Path, name: str) -> Photos:
            folder = file.parent.resolve()
            if photos := self._by_path.get(folder / name):
                return photos
            return [] if folder in self._folders and "/" not in name else self.find(name)

        return find

    def of_files(self, files: Sequence[Path]) -> list[Photos]:
        """Return the photos of files of labels that are named as their photo, one each.

        Photos beside the labels, or in a folder `images` beside `labels`, go before those of the same name elsewhere:
        splits may use the same names.
        """
        exact = [self._beside(file.resolve()) for file in files]
        if any(exact):
            return exact
        by_folders = [self.index.find(str(file.resolve().with_suffix(""))) for file in files]
        if any(by_folders):
            return by_folders
        return [self.find(file.stem) for file in files]

    def _beside(self, file: Path) -> Photos:
        path = file.with_suffix("")
        if photos := self._by_path.get(path):
            return photos
        parts = list(path.parts)
        for place in range(len(parts) - 2, 0, -1):
            if parts[place].casefold() in LABEL_FOLDERS:
                for name in self._image_folders:
                    if photos := self._by_path.get(Path(*parts[:place], name, *parts[place + 1 :])):
                        return photos
        return []

    @cached_property
    def _photos(self) -> frozenset[PurePosixPath]:
        return frozenset(self.index.photos)

    @cached_property
    def _by_path(self) -> dict[Path, list[PurePosixPath]]:
        """Photos by their path, with and without suffix."""
        root = self.root.resolve()
        by_path: dict[Path, list[PurePosixPath]] = {}
        for photo in self.index.photos:
            by_path.setdefault(root / photo.with_suffix(""), []).append(photo)
        return by_path | {root / photo: [photo] for photo in self.index.photos}

    @cached_property
    def _by_upload(self) -> dict[str, list[PurePosixPath]]:
        """Photos by the name that they get when they are uploaded to Label Studio."""
        by_name: dict[str, list[PurePosixPath]] = {}
        for photo in self.index.photos:
            name = re.sub(r"[^-\w.]", "", photo.name.strip().replace(" ", "_"))
            by_name.setdefault(name.casefold(), []).append(photo)
        return by_name

    @cached_property
    def _by_number(self) -> dict[int, list[PurePosixPath]]:
        by_number: dict[int, list[PurePosixPath]] = {}
        for photo in self.index.photos:
            if digits := "".join(re.findall(r"[0-9]", photo.stem)):
                by_number.setdefault(int(digits), []).append(photo)
        return by_number

    @cached_property
    def _by_plain_number(self) -> dict[int, list[PurePosixPath]]:
        by_number: dict[int, list[PurePosixPath]] = {}
        for photo in self.index.photos:
            if photo.stem.isascii() and photo.stem.isdecimal():
                by_number.setdefault(int(photo.stem), []).append(photo)
        return by_number

    @cached_property
    def _folders(self) -> frozenset[Path]:
        root = self.root.resolve()
        return frozenset(root / photo.parent for photo in self.index.photos)

    @cached_property
    def _image_folders(self) -> tuple[str, ...]:
        """Names of folders of photos, as they are spelled here."""
        parts = {part for folder in self._folders for part in folder.parts}
        return tuple(sorted(part for part in parts if part.casefold() in IMAGE_FOLDERS))
