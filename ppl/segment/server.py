"""Gathers test predictions in the layout of the VOC evaluation server, and packs them into a tar."""

import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ppl.data.dataset import Dataset, photo_size, read_mask
from ppl.data.labels import find_maps
from ppl.files import UserError, atomic, command

FOLDER = PurePosixPath("results/VOC2012/Segmentation/comp6_test_cls")


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    predictions: tuple[Path, ...]
    """Folders of label maps ID.png with ids 0..C, one per shard; together they hold the whole split."""
    out: Path
    """Folder; the maps lie below it in results/VOC2012/Segmentation/comp6_test_cls."""
    tar: Path


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    images = dataset.split(settings.split)
    maps = find_maps(settings.predictions, images)
    for image, path in zip(images, maps, strict=True):
        _check(path, photo_size(dataset.photo(image)), len(dataset.classes))
    with atomic(settings.out) as folder:
        target = folder / FOLDER
        target.mkdir(parents=True)
        for path in maps:
            shutil.copyfile(path, target / path.name)
        written = sum(1 for _ in target.iterdir())
        if written != len(images):
            raise UserError(f"{settings.out}: {written} maps for {len(images)} images; the split names an image twice")
    with atomic(settings.tar) as temporary:
        pack(settings.out / FOLDER, temporary)


def pack(folder: Path, tar: Path) -> None:
    """Writes the files of a folder as a tar under the server's path; equal files give an equal tar."""
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(folder.iterdir()):
            member = tarfile.TarInfo(str(FOLDER / path.name))  # a new one has mtime, uid and gid 0 and mode 0644
            member.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(member, file)


def _check(path: Path, size: tuple[int, int], classes: int) -> None:
    labels = read_mask(path)
    if labels.shape != size:
        raise UserError(f"{path}: size {labels.shape}, the photo has {size}; predict at the photo's size")
    if labels.max() > classes:
        raise UserError(f"{path}: id {labels.max()} where classes.txt ends with {classes}; make it for this dataset")


if __name__ == "__main__":
    command(main, Settings)
