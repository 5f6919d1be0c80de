"""Source `folder`: a dataset folder of the user's own, linked rather than copied, but for photos that are too large."""

import os.path
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ppl.data.dataset import LISTS, Dataset
from ppl.data.shrink import Size, bring_photo, write_sizes
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

LINKED = ("JPEGImages", "SegmentationClass")  # the second is optional
IMAGES_PER_TASK = 32


@dataclass(frozen=True)
class Settings:
    path: Path
    """The user's dataset folder."""
    splits: tuple[str, ...]
    out: Path
    max_side: int | None = None
    """Photos of the splits with a longer side are shrunk to it, and their masks."""
    workers: int = 1

    def reads(self) -> tuple[Path, ...]:
        """No more than what it links and copies, whose digest is that of the output."""
        return ()


def main(settings: Settings) -> None:
    try:
        source, out = settings.path.resolve(), settings.out.resolve()
    except (OSError, RuntimeError) as error:
        raise UserError(settings.path, f"{reason(error)}", "name the dataset folder itself") from None
    if out == source or out in source.parents:
        raise UserError(settings.out, f"would replace the dataset folder {source}", "keep the two apart")
    files = [
        Path("classes.txt"),
        Path("labels.csv"),
        *(LISTS / f"{split}.txt" for split in sorted(set(settings.splits))),
    ]
    missing = [str(name) for name in files if not os.path.isfile(source / name)]
    if not os.path.isdir(source / "JPEGImages"):
        missing.append("JPEGImages")
    if missing:
        raise UserError(settings.path, f"lacks {', '.join(missing)}", "docs/own-data.md shows the layout of a dataset")
    if os.path.isfile(source / "SegmentationClass"):
        raise UserError(
            f"{settings.path}/SegmentationClass", "is a file", "put the masks into a folder, or take it out"
        )
    with atomic(settings.out) as folder:
        (folder / LISTS).mkdir(parents=True)
        for name in files:
            try:
                shutil.copyfile(source / name, folder / name)
            except OSError as error:
                raise UserError(source / name, f"{error.strerror}", "make the file readable") from None
        there = [name for name in LINKED if os.path.isdir(source / name)]
        if settings.max_side is None:
            for name in there:
                (folder / name).symlink_to(source / name, target_is_directory=True)
        else:
            for name in there:
                (folder / name).mkdir()
            bring(Dataset(source, (), {}), folder, settings)


def bring(source: Dataset, folder: Path, settings: Settings) -> None:
    """Shrunk copies of the large photos of all splits and links to the others, file by file."""
    listed = chain.from_iterable(source.listed(split) for split in settings.splits)
    images = [image for image in dict.fromkeys(listed) if image in source.photos_by_id]
    chunks = in_chunks(images, IMAGES_PER_TASK)
    tasks = ([(source.photos_by_id[image], source.mask(image)) for image in chunk] for chunk in chunks)
    work = partial(_bring_chunk, folder, settings.max_side)
    sizes: dict[str, Size] = {}
    for shrunk in run_all(work, tasks, workers=settings.workers, total=len(images), size=len, name="photos brought"):
        sizes |= shrunk
    write_sizes(folder, sizes)
    print(f"{len(sizes):,} of {len(images):,} photos are shrunk, their longer side to {settings.max_side} pixels")


def _bring_chunk(folder: Path, max_side: int, files: Sequence[tuple[Sequence[Path], Path]]) -> dict[str, Size]:
    """The sizes that the shrunk ones of some photos had, by id."""
    brought = {photos[0].stem: bring_photo(photos, mask, folder, max_side) for photos, mask in files}
    return {image: size for image, size in brought.items() if size}


if __name__ == "__main__":
    command(main, Settings)
