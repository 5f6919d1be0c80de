"""Source `folder`: a dataset folder of the user, linked rather than copied, except for photos that are shrunk."""

import os.path
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from ppl.data.dataset import LISTS, Dataset
from ppl.data.settings import Folder
from ppl.data.shrink import Size, link_or_shrink_photo, write_sizes
from ppl.jobs.errors import UserError
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

LINKED = ("JPEGImages", "SegmentationClass")  # the second is optional
IMAGES_PER_TASK = 32


def check(settings: Folder) -> None:
    _root(settings)


def inputs(settings: Folder, splits: Sequence[str]) -> list[str]:
    """Return the lists that exist; the check of the data finds a changed photo."""
    root = _root(settings)
    return [str(root / name) for name in _lists(splits) if (root / name).exists()]


def has_masks(settings: Folder) -> bool:
    return (_root(settings) / "SegmentationClass").is_dir()


def prepare(settings: Folder, out: Path, *, splits: Sequence[str], workers: int) -> None:
    """Write the dataset folder: copies of the lists, links to photos and masks or to their folders."""
    root, files = _root(settings), _lists(splits)
    source = root.resolve()
    missing = [str(name) for name in files if not os.path.isfile(source / name)]
    if not os.path.isdir(source / "JPEGImages"):
        missing.append("JPEGImages")
    if missing:
        raise UserError(root, f"lacks {', '.join(missing)}", "docs/own-data.md shows the layout of a dataset")
    if os.path.isfile(source / "SegmentationClass"):
        raise UserError(f"{root}/SegmentationClass", "not a folder", "put the masks into a folder, or remove it")
    (out / LISTS).mkdir(parents=True)
    for name in files:
        try:
            shutil.copyfile(source / name, out / name)
        except OSError as error:
            raise UserError(source / name, f"{error.strerror}", "make the file readable") from error
    present = [name for name in LINKED if os.path.isdir(source / name)]
    if settings.max_side is None:
        for name in present:
            (out / name).symlink_to(source / name, target_is_directory=True)
    else:
        for name in present:
            (out / name).mkdir()
        link_or_shrink(Dataset(source, (), {}), out, splits, settings.max_side, workers)


def _root(settings: Folder) -> Path:
    if settings.path is None:
        raise UserError("data.folder", "source folder needs path", "name the dataset folder")
    return Path(settings.path)


def _lists(splits: Sequence[str]) -> list[Path]:
    return [Path("classes.txt"), Path("labels.csv"), *(LISTS / f"{split}.txt" for split in splits)]


def link_or_shrink(source: Dataset, out: Path, splits: Sequence[str], max_side: int, workers: int) -> None:
    """Write shrunk copies of the large photos of all splits, and links to the others."""
    all_ids = chain.from_iterable(source.listed(split) for split in splits)
    image_ids = [image_id for image_id in dict.fromkeys(all_ids) if image_id in source.photos_by_id]
    chunks = in_chunks(image_ids, IMAGES_PER_TASK)
    tasks = ([(source.photos_by_id[image_id], source.mask(image_id)) for image_id in chunk] for chunk in chunks)
    work = partial(_link_or_shrink_chunk, out, max_side)
    sizes: dict[str, Size] = {}
    for shrunk in run_all(work, tasks, workers=workers, total=len(image_ids), size=len, name="photos prepared"):
        sizes |= shrunk
    write_sizes(out, sizes)
    print(f"{len(sizes):,} of {len(image_ids):,} photos are shrunk to a longer side of {max_side} pixels")


def _link_or_shrink_chunk(folder: Path, max_side: int, files: Sequence[tuple[Sequence[Path], Path]]) -> dict[str, Size]:
    """Return the original sizes of the photos that were shrunk, by image id."""
    sizes = {photos[0].stem: link_or_shrink_photo(photos, mask, folder, max_side) for photos, mask in files}
    return {image_id: size for image_id, size in sizes.items() if size}
