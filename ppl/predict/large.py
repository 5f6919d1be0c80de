"""Segment a large photo at full size in overlapping tiles, and write the results as they come.

Memory holds the tiles in progress, one row of tiles as labels, and the edges that the next row of tiles is blended
with; of the whole photo only a picture for a screen, and for COCO the label map.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ppl.data.masks import VOC_COLOURS
from ppl.data.windows import Windows
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.predict.outputs import ANNOTATE, PRESENT, Outputs, Written
from ppl.predict.overlay import DISPLAY_SIDES, draw_overlay
from ppl.predict.probability_store import ProbabilityStore
from ppl.predict.segmentation import legend_of, overlay_of, shares_of
from ppl.predict.streams import PngStream
from ppl.predict.tiles import Blend, Span, spans
from ppl.segment.postprocess import Crf, refined

Predict = Callable[[str, np.ndarray], Iterable[tuple[np.ndarray, np.ndarray]]]
"""From the name of a photo and tiles (B, h, w, 3) uint8 to the log-probabilities (C+1, h', w') at the network's stride
and the probabilities (C+1, h, w) of each."""


Refined = tuple[int, int, np.ndarray | None]
"""Row and column of a tile, and its labels (h, w) uint8 after the CRF; None without one."""


class Tile(NamedTuple):
    """A tile by its row and column, with pixels (h, w, 3) and log-probabilities (C+1, h', w')."""

    row: int
    column: int
    pixels: np.ndarray
    scores: np.ndarray


class Block(NamedTuple):
    """Final labels (h, w) uint8 of a part of a photo; if requested, probabilities (C+1, h, w) before any CRF."""

    top: int
    left: int
    labels: np.ndarray
    probabilities: np.ndarray | None


def blocks(
    photo: Windows,
    name: str,
    side: int,
    predict: Predict,
    crf: Crf | None,
    *,
    classes: int,
    with_probabilities: bool,
    batch_size: int,
    workers: int,
) -> Iterator[Block]:
    """Yield the parts of a photo row by row, each from left to right; together they cover it.

    With a CRF, which knows labels only, those of each tile are blended like probabilities of 0 and 1; `workers`
    processes run it. `classes` is the number of labels, background included.
    """
    rows, columns = (spans(length, side) for length in photo.size)
    soft, votes = Blend(rows, columns), Blend(rows, columns)
    predicted: dict[tuple[int, int], np.ndarray] = {}  # probabilities of tiles that are not refined yet

    def tiles() -> Iterator[Tile]:
        for tile, probabilities in _tiles(photo, name, rows, columns, predict, batch_size):
            if crf is None or with_probabilities:
                predicted[tile.row, tile.column] = probabilities
            yield tile

    total, refine = len(rows) * len(columns), partial(_refine, crf)
    results = run_all(refine, tiles(), workers=workers if crf else 0, total=total, name=f"tiles of {name}", unit="tile")
    for row, column, labels in _in_order(results, len(columns)):
        place = row, column
        probabilities = soft.add(*place, predicted.pop(place)) if place in predicted else None
        scores = probabilities if labels is None else votes.add(*place, labels == np.arange(classes)[:, None, None])
        top, left = rows[row].first, columns[column].first
        yield Block(top, left, scores.argmax(axis=0).astype(np.uint8), probabilities if with_probabilities else None)


def _tiles(
    photo: Windows, name: str, rows: list[Span], columns: list[Span], predict: Predict, batch_size: int
) -> Iterator[tuple[Tile, np.ndarray]]:
    """Yield all tiles and their probabilities (C+1, h, w), computed in batches of equal width within a row."""
    last = len(columns) - 1  # the last may be wider
    batches = [range(i, min(i + batch_size, last)) for i in range(0, last, batch_size)] + [range(last, last + 1)]
    for y, row in enumerate(rows):
        band = photo.read(row.start, row.stop)
        for batch in batches:
            pixels = np.stack([band[:, columns[x].start : columns[x].stop] for x in batch])
            for x, of_tile, (scores, probabilities) in zip(batch, pixels, predict(name, pixels), strict=True):
                yield Tile(y, x, of_tile, scores), probabilities


def _refine(crf: Crf | None, tile: Tile) -> Refined:
    """Return the place of a tile, and its labels after the CRF if there is one."""
    return tile.row, tile.column, None if crf is None else refined(tile.pixels, tile.scores, crf)


def _in_order(results: Iterable[Refined], columns: int) -> Iterator[Refined]:
    """Yield results row by row, each from left to right; worker processes finish them in another order."""
    waiting: dict[int, Refined] = {}
    due = 0
    for result in results:
        waiting[result[0] * columns + result[1]] = result
        while due in waiting:
            yield waiting.pop(due)
            due += 1


def write_large(outputs: Outputs, name: str, photo: Windows, parts: Iterable[Block]) -> Written:
    """Write the files of a photo from its parts, and close it; all appear when they are complete."""
    size, formats = photo.size, outputs.formats
    counts = np.zeros(256, np.int64)
    display, factor = _Display(size), reduction(size)
    whole = np.empty(size, np.uint8) if {*formats} & ANNOTATE.keys() else None
    with ExitStack() as files:
        mask = _stream(files, outputs.mask(name), size, VOC_COLOURS) if "mask" in formats else None
        of_classes = outputs.class_masks(name) if "class-masks" in formats else ()
        class_masks = [_stream(files, path, size) for path in of_classes]
        store = None
        if "probabilities" in formats:
            temporary = files.enter_context(atomic(outputs.probabilities(name)))
            store = files.enter_context(ProbabilityStore(temporary, size, size, outputs.classes))
        for top, labels in _rows(_stored(parts, store), size[1]):
            counts += np.bincount(labels.ravel(), minlength=256)
            display.add(top, labels)
            if mask is not None:
                mask.write(labels)
            for class_id, stream in enumerate(class_masks, start=1):
                stream.write((labels == class_id) * np.uint8(PRESENT))
            if whole is not None:
                whole[top : top + len(labels)] = labels
        for stream in filter(None, (mask, *class_masks)):
            stream.finish()
        shares = shares_of(counts, outputs.classes)
        if "overlay" in formats:
            picture = draw_overlay(shrunk(photo, factor), display.labels, legend_of(shares, outputs.classes))
            picture.save(files.enter_context(atomic(overlay_of(outputs.mask(name)))), quality=90)
    photo.close()  # annotations need memory
    annotations = {kind: annotate(whole) for kind, annotate in ANNOTATE.items() if kind in formats}
    return Written(name, size, shares, annotations)


def reduction(size: tuple[int, int]) -> int:
    """Return the factor by which the sides of a photo are divided for a picture on a screen."""
    return -(-max(size) // DISPLAY_SIDES[1])


def shrunk(photo: Windows, factor: int) -> np.ndarray:
    """Return a photo with its sides divided by `factor` and rounded up, read in parts; pixels are means."""
    height = max(1, 256 // factor) * factor
    tops = range(0, photo.size[0], height)
    parts = (photo.read(top, min(top + height, photo.size[0])) for top in tops)
    return np.concatenate([np.asarray(Image.fromarray(part).reduce(factor)) for part in parts])


class _Display:
    """The label map of a large photo for a picture on a screen: each `reduction`-th pixel of each such row."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._factor = reduction(size)
        self.labels = np.zeros([-(-side // self._factor) for side in size], np.uint8)

    def add(self, top: int, labels: np.ndarray) -> None:
        """Add rows (n, w) that start at `top`."""
        first = -(-top // self._factor)
        chosen = labels[first * self._factor - top :: self._factor, :: self._factor]
        self.labels[first : first + len(chosen)] = chosen


def _stream(files: ExitStack, path: Any, size: tuple[int, int], palette: np.ndarray | None = None) -> PngStream:
    """Open a PNG that appears at `path` when `files` are closed."""
    return PngStream(files.enter_context(files.enter_context(atomic(path)).open("wb")), size, palette)


def _stored(parts: Iterable[Block], store: ProbabilityStore | None) -> Iterator[Block]:
    """Yield parts, after writing their probabilities."""
    for part in parts:
        if store is not None and part.probabilities is not None:
            store.write_block(part.top, part.left, part.probabilities)
        yield part


def _rows(parts: Iterable[Block], width: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield whole rows of labels (n, width) with the number of the first, from parts of one height."""
    row: list[np.ndarray] = []
    for part in parts:
        row.append(part.labels)
        if sum(labels.shape[1] for labels in row) == width:
            yield part.top, np.concatenate(row, axis=1)
            row = []
