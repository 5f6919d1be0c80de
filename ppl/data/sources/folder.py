"""Source `folder`: a dataset folder of the user, linked rather than copied, except for photos that are shrunk."""

import os.path
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ppl.data.dataset import LISTS, Dataset
from ppl.data.shrink import Size, link_or_shrink_photo, write_sizes
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
    """Photos of the splits with a longer side are shrunk to it, with their masks."""
    workers: int = 1

    def reads(self) -> tuple[Path, ...]:
        """Return no paths: the digest of the output covers all files that it links and copies."""
        return ()


def main(settings: Settings) -> None:
    try:
        source, out = settings.path.resolve(), settings.out.resolve()
    except (OSError, RuntimeError) as error:
        raise UserError(settings.path, f"{reason(error)}", "name the dataset folder itself") from error
    if out == source or out in source.parents:
        raise UserError(settings.out, f"would replace the dataset folder {source}", "choose another folder")
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
            f"{settings.path}/SegmentationClass", "not a folder", "put the masks into a folder, or remove it"
        )
    with atomic(settings.out) as folder:
        (folder / LISTS).mkdir(parents=True)
        for name in files:
            try:
                shutil.copyfile(source / name, folder / name)
            except OSError as error:
                raise UserError(source / name, f"{error.strerror}", "make the file readable") from error
        present = [name for name in LINKED if os.path.isdir(source / name)]
        if settings.max_side is None:
            for name in present:
                (folder / name).symlink_to(source / name, target_is_directory=True)
        else:
            for name in present:
                (folder / name).mkdir()
            link_or_shrink(Dataset(source, (), {}), folder, settings)


def link_or_shrink(source: Dataset, folder: Path, settings: Settings) -> None:
    """Write shrunk copies of the large photos of all splits, and links to the others."""
    all_ids = chain.from_iterable(source.listed(split) for split in settings.splits)
    image_ids = [image_id for image_id in dict.fromkeys(all_ids) if image_id in source.photos_by_id]
    chunks = in_chunks(image_ids, IMAGES_PER_TASK)
    tasks = ([(source.photos_by_id[image_id], source.mask(image_id)) for image_id in chunk] for chunk in chunks)
    work = partial(_link_or_shrink_chunk, folder, settings.max_side)
    sizes: dict[str, Size] = {}
    for shrunk in run_all(
        work, tasks, workers=settings.workers, total=len(image_ids), size=len, name="photos prepared"
    ):
        sizes |= shrunk
    write_sizes(folder, sizes)
    print(f"{len(sizes):,} of {len(image_ids):,} photos are shrunk to a longer side of {settings.max_side} pixels")


def _link_or_shrink_chunk(folder: Path, max_side: int, files: Sequence[tuple[Sequence[Path], Path]]) -> dict[str, Size]:
    """Return the original sizes of the photos that were shrunk, by image id."""
    sizes = {photos[0].stem: link_or_shrink_photo(photos, mask, folder, max_side) for photos, mask in files}
    return {image_id: size for image_id, size in sizes.items() if size}


if __name__ == "__main__":
    command(main, Settings)
