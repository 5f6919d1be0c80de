"""Gather test predictions in the layout of the VOC evaluation server, and pack them into a tar that is then checked."""

import shutil
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ppl.data.dataset import Dataset
from ppl.data.label_maps import SERVER_FOLDER, find_maps
from ppl.data.masks import read_mask, write_mask
from ppl.data.resize import enlarge
from ppl.data.shrink import Size, full_sizes
from ppl.jobs.command import command
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.segment.check_server import check


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    predictions: tuple[Path, ...]
    """Folders of label maps ID.png with ids 0..C, one per shard; together they hold the whole split."""
    out: Path
    """Folder; the maps lie below it in results/VOC2012/Segmentation/comp6_test_cls."""
    tar: Path
    workers: int = 0
    """Worker processes that enlarge the maps of shrunk photos."""


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = dataset.split(settings.split)
    maps = find_maps(settings.predictions, image_ids)
    sizes = full_sizes(settings.data)
    with atomic(settings.out) as folder, atomic(settings.tar) as temporary:  # neither appears if the tar has faults
        target = folder / SERVER_FOLDER
        target.mkdir(parents=True)
        write = partial(write_submission_map, target)
        tasks = ((path, sizes.get(image_id)) for image_id, path in zip(image_ids, maps, strict=True))
        for _ in run_all(
            write, tasks, workers=settings.workers if sizes else 0, total=len(image_ids), name="maps gathered"
        ):
            pass
        pack(target, temporary)
        check(temporary, dataset, image_ids, name=settings.tar)


def write_submission_map(folder: Path, task: tuple[Path, Size | None]) -> None:
    """Copy a label map, or write it at the size (h, w) that the photo had before it was shrunk."""
    path, size = task
    if size is None:
        shutil.copyfile(path, folder / path.name)
    else:
        write_mask(folder / path.name, enlarge(read_mask(path), size))


def pack(folder: Path, tar: Path) -> None:
    """Write the files of a folder as a tar under the server's path; equal files give an equal tar."""
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(folder.iterdir()):
            member = tarfile.TarInfo(str(SERVER_FOLDER / path.name))  # a new one has mtime, uid and gid 0 and mode 0644
            member.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(member, file)


if __name__ == "__main__":
    command(main, Settings)
