"""Segments one's own photos: a mask and a picture for each, a legend for all.

python -m ppl.predict photo.jpg holiday '*.png' --weights results/demo/explicit/s4k2/deeplab.pt

OUT/NAME.png holds class ids in VOC's colours, at the photo's size; OUT/NAME-overlay.jpg shows the classes over the
photo; OUT/legend.png and OUT/legend.csv tell their colours. Name the photos first: some options take several values.
"""

import csv
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from tqdm import tqdm
from tyro.conf import FlagCreatePairsOff, Positional, arg

# Before torch starts its threads, which else spin while they wait, on cores that the worker processes and others need.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from ppl.data.masks import VOC_COLOURS
from ppl.jobs.command import command
from ppl.jobs.devices import Hardware, inference_device
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.predict.api import Segmenter
from ppl.predict.files import LEGEND, check_outputs, find_photos, output_names
from ppl.predict.overlay import draw_legend
from ppl.predict.segmentation import Task, View, in_words, view, write

READERS = 4  # photos decoded at a time; one of 50 million pixels with transparency takes 0.7 GB
FEW = 4  # photos whose results are written sooner than worker processes have started


@dataclass(frozen=True)
class Settings:
    photos: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO [PHOTO ...]")]
    """Files, folders, and patterns in quotation marks."""
    weights: Path
    """deeplab.pt of a finished run."""
    folder: Annotated[Path, arg(name="out")] = Path("predictions")
    """Folder for what is written."""
    recursive: bool = False
    """Also the photos in folders below those named."""
    settings: Path | None = None
    """settings.yaml of an experiment; by default the one two folders above the weights."""
    photo_scales: tuple[float, ...] | None = None
    """Factors at which the network sees a photo, instead of the experiment's."""
    crf: FlagCreatePairsOff[bool] = False
    """A dense CRF behind the network, also where the experiment has none."""
    no_crf: FlagCreatePairsOff[bool] = False
    """No CRF, also where the experiment has one."""
    max_side: int | None = None
    """Photos with a longer side are shrunk to it for the network; by default as long as training photos were."""
    batch_size: int = 4
    """Photos of equal size in one batch."""
    hardware: Hardware = field(
        default_factory=lambda: Hardware(devices=1, workers=min(8, os.cpu_count() or 1), precision="32-true")
    )
    """A GPU where there is one; `workers` run the CRF and write."""

    def __post_init__(self) -> None:
        if self.crf and self.no_crf:
            raise UserError("--crf, --no-crf", "exclude each other", "name one of them")
        if self.batch_size < 1 or self.hardware.workers < 0:
            raise UserError("--batch-size, --hardware.workers", "at least 1 and at least 0", "raise it")


def main(settings: Settings) -> None:
    sys.stdout.reconfigure(errors="replace")  # the name of a file may be no text
    photos, others = find_photos(settings.photos, recursive=settings.recursive, out=settings.folder)
    names = output_names(photos)
    check_outputs(settings.folder, names, photos)
    segmenter = Segmenter(
        settings.weights,
        settings=settings.settings,
        photo_scales=settings.photo_scales,
        crf=settings.crf or (False if settings.no_crf else None),
        max_side=settings.max_side,
        device=inference_device(settings.hardware),
        precision=settings.hardware.precision,
    )
    print(segmenter)
    if others:
        print("left out:", ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items())))
    masks = {name: settings.folder / f"{name}.png" for name in names}
    photo_of, broken = dict(zip(names, photos, strict=True)), []
    workers = settings.hardware.workers if len(photos) > FEW else 0
    views = read_ahead(photo_of, segmenter.setting("max_side"), broken, threads=min(max(1, workers), READERS))
    tasks = predict(segmenter, masks, views, settings.batch_size)
    finish = partial(write, segmenter.setting("crf"), segmenter.classes)
    for name, shares in run_all(finish, tasks, workers=workers, total=len(photos), name="segment photos"):
        tqdm.write(f"{photo_of[name]}: {in_words(shares)} -> {masks[name]}")
    if len(broken) < len(photos):
        write_legend(settings.folder, ("background", *segmenter.classes))
        print(f"{settings.folder}: masks NAME.png, pictures NAME-overlay.jpg, {LEGEND}.png, {LEGEND}.csv")
    if broken and len(photos) == 1:
        raise broken[0]
    if broken:
        what = f"{len(broken)} of {len(photos)} photos could not be read, the others are done"
        raise UserError(settings.folder, what, "replace these or leave them out", [str(error) for error in broken])


def read_ahead(
    photos: dict[str, Path], max_side: int, broken: list[UserError], *, threads: int
) -> Iterator[tuple[str, View]]:
    """Yields views of photos by name, one for each of some threads ahead; why one cannot be read goes to `broken`."""
    with ThreadPoolExecutor(threads) as pool:
        left = iter(photos.items())
        reading = deque((name, pool.submit(view, photo, max_side)) for name, photo in islice(left, threads))
        while reading:
            name, read = reading.popleft()
            reading.extend((name, pool.submit(view, photo, max_side)) for name, photo in islice(left, 1))
            try:
                looked_at = read.result()
            except UserError as error:
                broken.append(error)
            else:
                yield name, looked_at


def predict(
    segmenter: Segmenter, masks: dict[str, Path], views: Iterable[tuple[str, View]], batch_size: int
) -> Iterator[Task]:
    """Yields what the network says about views of photos, in batches of neighbours of equal size."""
    for batch in in_batches(views, batch_size):
        seen = np.stack([looked_at.seen for _, looked_at in batch])
        for (name, looked_at), prediction in zip(batch, segmenter.predict([n for n, _ in batch], seen), strict=True):
            yield Task(looked_at, prediction, masks[name])


def in_batches(views: Iterable[tuple[str, View]], batch_size: int) -> Iterator[list[tuple[str, View]]]:
    """Yields up to `batch_size` neighbours whose views have the same size at a time."""
    batch: list[tuple[str, View]] = []
    for item in views:
        if len(batch) == batch_size or (batch and batch[0][1].seen.shape != item[1].seen.shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def write_legend(folder: Path, names: Sequence[str]) -> None:
    """Writes the colours of all ids as a picture and as a table."""
    with atomic(folder / f"{LEGEND}.png") as temporary:
        draw_legend(names).save(temporary)
    colours = (f"#{bytes(VOC_COLOURS[i]).hex()}" for i in range(len(names)))
    with atomic(folder / f"{LEGEND}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = zip(range(len(names)), names, colours, strict=True)
        csv.writer(file, lineterminator="\n").writerows([("id", "class", "colour"), *rows])


if __name__ == "__main__":
    command(main, Settings)
