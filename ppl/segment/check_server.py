"""Check an archive for the VOC evaluation server before it is uploaded, as the server limits submissions.

python -m ppl.segment.check_server --tar results/voc_test_preds.tar --data results/voc/data --split test
"""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from PIL import Image

from ppl.data.dataset import Dataset
from ppl.data.label_maps import SERVER_FOLDER
from ppl.data.masks import VOC_COLOURS
from ppl.data.photos import photo_size
from ppl.data.shrink import Size, full_sizes
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.progress import progress

MAX_FAULTS = 40  # the others are only counted: a wrong setting makes every map faulty in the same way


@dataclass(frozen=True)
class Settings:
    tar: Path
    data: Path
    """Dataset folder: photos, classes and the list of the split."""
    split: str = "test"


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    image_ids = dataset.split(settings.split)
    check(settings.tar, dataset, image_ids, name=settings.tar)
    print(f"{settings.tar}: {len(image_ids)} label maps in the server's format")


def check(tar: Path, dataset: Dataset, image_ids: Sequence[str], *, name: Path) -> None:
    """Raise UserError with the faults of an archive, one per line, under its final `name`."""
    faults = list(archive_faults(tar, dataset, image_ids))
    if faults:
        lines = "".join(f"\n  {fault}" for fault in faults[:MAX_FAULTS])
        more = f"\n  and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        many = "s" * (len(faults) > 1)
        raise UserError(name, f"{len(faults)} fault{many}, do not upload it", f"predict and pack again{lines}{more}")


def archive_faults(tar: Path, dataset: Dataset, image_ids: Sequence[str]) -> Iterator[str]:
    """Yield the faults of an archive that should hold ID.png in SERVER_FOLDER for each of `image_ids` and nothing else.

    Reads it member by member and unpacks nothing. Entries for the folders of that path are allowed.
    """
    folders = {str(folder) for folder in (SERVER_FOLDER, *SERVER_FOLDER.parents)}
    missing, names = dict.fromkeys(image_ids), set()
    shrunk = full_sizes(dataset.root)
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in progress(archive, name="archive checked", unit="map", total=len(image_ids)):
                path = PurePosixPath(member.name)
                if member.isdir() and member.name in folders:
                    continue
                if member.name in names:
                    yield f"{member.name!r}: appears twice"
                elif path.is_absolute() or ".." in path.parts:
                    yield f"{member.name!r}: lies outside the archive; its path must start with results/"
                elif member.name != str(SERVER_FOLDER / path.name) or path.suffix != ".png":
                    yield f"{member.name!r}: unexpected member; expected only {SERVER_FOLDER}/ID.png"
                elif path.stem not in missing:
                    yield f"{member.name!r}: not in the list of images"
                else:
                    del missing[path.stem]
                    if member.isreg():
                        yield from map_faults(archive.extractfile(member), path.stem, dataset, shrunk.get(path.stem))
                    else:
                        yield f"{member.name!r}: is a link or a special file; store the map itself"
                names.add(member.name)
    except (OSError, tarfile.TarError) as error:
        yield f"not a readable uncompressed tar, or truncated ({error})"
    yield from (f"{image_id}.png: is missing" for image_id in missing)


def map_faults(file: IO[bytes], image_id: str, dataset: Dataset, full: Size | None = None) -> Iterator[str]:
    """Yield the faults of a label map: a palette PNG in VOC's colours, of the photo's size, with ids 0 to C, not 255.

    `full` is the size (h, w) that the photo had if it was shrunk.
    """
    name = f"{image_id}.png"
    try:
        height, width = full or photo_size(dataset.photo(image_id))
    except UserError as error:
        yield str(error)
        return
    try:
        with Image.open(file, formats=["PNG"]) as opened:
            if opened.size != (width, height):  # before decoding, which could take any amount of memory
                yield f"{name}: size {opened.width}x{opened.height}, the photo has {width}x{height}"
                return
            if opened.mode != "P":
                yield f"{name}: mode {opened.mode}; expected a PNG with a palette (mode P)"
                return
            ids = np.array(opened)
            colours = np.array(opened.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)  # may end at the last id
    except Exception as error:  # Pillow's decoders raise exceptions of many types
        yield f"{name}: is not a readable PNG ({reason(error)})"
        return
    highest = int(ids.max())
    if highest > len(dataset.classes):
        yield f"{name}: id {highest}, the last class is {len(dataset.classes)}"
    if not np.array_equal(colours, VOC_COLOURS[: len(colours)]) or len(colours) <= min(highest, len(dataset.classes)):
        yield f"{name}: its palette is not VOC's colour map"


if __name__ == "__main__":
    command(main, Settings)
