"""Segment photos with a trained network: a mask and an overlay for each, and a legend.

python -m ppl.predict photo.jpg holiday '*.png' --weights results/demo/explicit/s4k2/segmenter.pt

OUT/NAME.png holds class ids in VOC's colours, at the photo's size; OUT/NAME-overlay.jpg shows the classes over the
photo; OUT/legend.png and OUT/legend.csv list their colours. --formats names others, such as COCO JSON. Name the photos
before the options.
"""

import csv
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from tqdm import tqdm
from tyro.conf import FlagCreatePairsOff, Positional, arg

# Before torch starts its threads, whose busy waiting would occupy cores that the worker processes need.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from ppl.data import heif
from ppl.data.masks import VOC_COLOURS
from ppl.data.windows import Windows, size_of
from ppl.jobs.command import command
from ppl.jobs.devices import inference_device
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, write_text
from ppl.jobs.parallel import run_all
from ppl.jobs.settings import Devices
from ppl.predict import coco
from ppl.predict.api import Segmenter
from ppl.predict.files import LEGEND, check_outputs, find_photos, output_names
from ppl.predict.large import blocks, write_large
from ppl.predict.outputs import COCO_FILES, DESCRIBED, FORMATS, Format, Outputs, Task, Written, write
from ppl.predict.overlay import draw_legend
from ppl.predict.segmentation import PreparedPhoto, describe_shares, prepare
from ppl.predict.tiles import tile_side
from ppl.segment.settings import Prediction

READERS = 4  # photos decoded at a time; one of 50 million pixels with transparency needs 0.7 GB
FEW = 4  # photos for which starting worker processes would take longer than the work


def _hardware() -> Devices:
    """Return the default: a GPU if there is one, so that its absence is no warning."""
    import torch  # here: after the variable above

    return Devices(gpu=int(torch.cuda.is_available()), workers=min(8, os.cpu_count() or 1), precision="32-true")


@dataclass(frozen=True)
class Settings:
    photos: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO [PHOTO ...]")]
    """Files, folders, and patterns in quotation marks."""
    weights: Path
    """segmenter.pt of a finished run."""
    folder: Annotated[Path, arg(name="out")] = Path("predictions")
    """Folder for the results."""
    recursive: bool = False
    """Include photos in folders below the named ones."""
    settings: Path | None = None
    """settings.yaml of an experiment; by default the one two directories above the weights."""
    photo_scales: tuple[float, ...] | None = None
    """Factors by which a photo is resized for the network, instead of the experiment's."""
    mirror: FlagCreatePairsOff[bool] = False
    """Average with the mirror image, even if the experiment does not."""
    no_mirror: FlagCreatePairsOff[bool] = False
    """Do not average with the mirror image, even if the experiment does."""
    crf: FlagCreatePairsOff[bool] = False
    """Apply a dense CRF, even if the experiment does not."""
    no_crf: FlagCreatePairsOff[bool] = False
    """Apply no CRF, even if the experiment does."""
    max_side: int | None = None
    """Photos with a longer side are shrunk to it for the network; by default the size of training photos."""
    tile: FlagCreatePairsOff[bool] = False
    """Do not shrink photos, but segment larger ones at full size in overlapping tiles of about `max_side`."""
    formats: tuple[Format, ...] = ("mask", "overlay")
    """Files to write: `mask` NAME.png, `overlay` NAME-overlay.jpg, `class-masks` class-masks/CLASS/NAME.png of 0 and
    255, `coco` coco.json with run lengths, `coco-polygons` coco-polygons.json, `probabilities` NAME.h5."""
    batch_size: int = Prediction().batch_size
    """Photos of equal size in one batch."""
    hardware: Devices = field(default_factory=_hardware)
    """A GPU if there is one; `workers` run the CRF and write results."""

    def __post_init__(self) -> None:
        for name, on, off in (("mirror", self.mirror, self.no_mirror), ("crf", self.crf, self.no_crf)):
            if on and off:
                raise UserError(f"--{name}, --no-{name}", "mutually exclusive", "name one of them")
        if self.batch_size < 1:
            raise UserError("--batch-size", f"{self.batch_size} is below 1", "raise it")
        if not self.formats:
            raise UserError("--formats", "no format is named", f"name some of {', '.join(FORMATS)}")


def main(settings: Settings) -> None:
    sys.stdout.reconfigure(errors="replace")  # names of files may be invalid UTF-8
    photos, others = find_photos(settings.photos, recursive=settings.recursive, out=settings.folder)
    photo_of = dict(zip(output_names(photos), photos, strict=True))
    segmenter = load(settings)
    outputs = Outputs(settings.folder, tuple(dict.fromkeys(settings.formats)), segmenter.classes)
    check_outputs(settings.folder, (path for name in photo_of for path in outputs.of_photo(name)), photos)
    print(segmenter)
    if others:
        print("left out:", ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items())))
    if {*others} & {*heif.SUFFIXES}:
        print(f"to read HEIC photos, {heif.REMEDY}")
    broken: list[UserError] = []
    written: dict[str, Written] = {}
    for result in segment_all(segmenter, photo_of, outputs, settings, broken):
        written[result.name] = result
        shares = describe_shares(result.shares)
        tqdm.write(f"{photo_of[result.name]}: {shares} -> {outputs.main_file(result.name)}")
    if written:
        write_legend(settings.folder, ("background", *segmenter.classes))
        write_coco(outputs, {photo_of[name]: written[name] for name in photo_of if name in written})
        print(f"{settings.folder}: {', '.join(map(DESCRIBED.get, outputs.formats))}, {LEGEND}.png, {LEGEND}.csv")
    if broken and len(photos) == 1:
        raise broken[0]
    if broken:
        what = f"{len(broken)} of {len(photos)} photos could not be read, the others are done"
        raise UserError(settings.folder, what, "replace these or leave them out", [str(error) for error in broken])


def load(settings: Settings) -> Segmenter:
    """Return the network with the settings that the command line names."""
    return Segmenter(
        settings.weights,
        settings=settings.settings,
        photo_scales=settings.photo_scales,
        mirror=settings.mirror or (False if settings.no_mirror else None),
        crf=settings.crf or (False if settings.no_crf else None),
        max_side=settings.max_side,
        device=inference_device(settings.hardware),
        precision=settings.hardware.precision,
    )


def segment_all(
    segmenter: Segmenter, photo_of: Mapping[str, Path], outputs: Outputs, settings: Settings, broken: list[UserError]
) -> Iterator[Written]:
    """Write the files of all photos and yield what they hold; append errors of unreadable photos to `broken`."""
    max_side, large = segmenter.setting("max_side"), {}
    if settings.tile:
        max_side = tile_side(max_side)
        large = {name: path for name, path in photo_of.items() if is_larger(path, max_side)}
    small = {name: path for name, path in photo_of.items() if name not in large}
    workers = settings.hardware.workers if len(small) > FEW else 0
    prepared = read_ahead(small, max_side, segmenter.bits, broken, threads=min(max(1, workers), READERS))
    tasks = predict(segmenter, prepared, settings.batch_size)
    write_task = partial(write, segmenter.setting("crf"), outputs)
    if small:
        yield from run_all(write_task, tasks, workers=workers, total=len(small), name="segment photos")
    for name, path in large.items():
        try:
            yield segment_in_tiles(segmenter, name, path, max_side, outputs, settings)
        except UserError as error:
            if error.where != path:
                raise
            broken.append(error)


def is_larger(photo: Path, side: int) -> bool:
    """Return whether a side of a photo is longer than `side`; not of one that cannot be read, as is reported later."""
    try:
        return max(size_of(photo)) > side
    except UserError:
        return False


def segment_in_tiles(
    segmenter: Segmenter, name: str, path: Path, side: int, outputs: Outputs, settings: Settings
) -> Written:
    """Segment a large photo in tiles of `side`, and write its files."""
    photo, crf = Windows(path, segmenter.bits), segmenter.setting("crf")
    parts = blocks(
        photo,
        name,
        side,
        segmenter.predict_tiles,
        crf,
        classes=len(segmenter.classes) + 1,
        with_probabilities="probabilities" in outputs.formats,
        batch_size=settings.batch_size,
        workers=settings.hardware.workers,
    )
    return write_large(outputs, name, photo, parts)


def read_ahead(
    photos: dict[str, Path], max_side: int, bits: int | None, broken: list[UserError], *, threads: int
) -> Iterator[tuple[str, PreparedPhoto]]:
    """Yield prepared photos by name, one per thread in advance; append errors of unreadable photos to `broken`."""
    with ThreadPoolExecutor(threads) as pool:
        left = iter(photos.items())
        reading = deque((name, pool.submit(prepare, photo, max_side, bits)) for name, photo in islice(left, threads))
        while reading:
            name, future = reading.popleft()
            reading.extend((name, pool.submit(prepare, photo, max_side, bits)) for name, photo in islice(left, 1))
            try:
                prepared = future.result()
            except UserError as error:
                broken.append(error)
            else:
                yield name, prepared


def predict(segmenter: Segmenter, photos: Iterable[tuple[str, PreparedPhoto]], batch_size: int) -> Iterator[Task]:
    """Yield the network's predictions for photos, computed in batches of consecutive photos of equal size."""
    for batch in in_batches(photos, batch_size):
        names, prepared = zip(*batch, strict=True)
        predictions = segmenter.predict(names, np.stack([photo.image for photo in prepared]))
        yield from map(Task, names, prepared, predictions)


def in_batches(
    photos: Iterable[tuple[str, PreparedPhoto]], batch_size: int
) -> Iterator[list[tuple[str, PreparedPhoto]]]:
    """Yield batches of up to `batch_size` consecutive photos of equal size."""
    batch: list[tuple[str, PreparedPhoto]] = []
    for item in photos:
        if len(batch) == batch_size or (batch and batch[0][1].image.shape != item[1].image.shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def write_coco(outputs: Outputs, written: Mapping[Path, Written]) -> None:
    """Write COCO's file of all photos, in their order, for each of its formats."""
    for kind in (kind for kind in outputs.formats if kind in COCO_FILES):
        photos = [(path, result.size, result.annotations[kind]) for path, result in written.items()]
        write_text(outputs.folder / COCO_FILES[kind], coco.encoded(coco.content(photos, outputs.classes)))


def write_legend(folder: Path, names: Sequence[str]) -> None:
    """Write the colours of all ids as a picture and as a table."""
    with atomic(folder / f"{LEGEND}.png") as temporary:
        draw_legend(names).save(temporary)
    colours = (f"#{bytes(VOC_COLOURS[i]).hex()}" for i in range(len(names)))
    with atomic(folder / f"{LEGEND}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = zip(range(len(names)), names, colours, strict=True)
        csv.writer(file, lineterminator="\n").writerows([("id", "class", "colour"), *rows])


if __name__ == "__main__":
    command(main, Settings)
