"""What is decided before photos are read: which are left out, which are read as stored, and how many bits count.

A dataset folder that `ppl.data.prepare` has written has these decisions behind it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ppl.data import bits
from ppl.data.broken import broken_photos, recorded
from ppl.data.dataset import Dataset, id_fault
from ppl.data.findings import Finding
from ppl.data.orientation import Decision, decide
from ppl.data.settings import Bits, Orientation


def broken_of(
    dataset: Dataset, image_ids: Iterable[str], *, skip_broken: bool, prepared: bool, workers: int
) -> tuple[Mapping[str, Finding], Sequence[Finding]]:
    """Return the photos to leave out because they cannot be read, by id, and the findings to report of such photos.

    Those that the preparation of a dataset folder has left out are in no split any more, but reported.
    """
    if prepared:
        return {}, recorded(dataset.root)
    if not skip_broken:
        return {}, []
    broken = broken_photos(_paths(dataset), image_ids, workers=workers)
    return broken, [*broken.values()]


def orientations(
    dataset: Dataset,
    image_ids: Sequence[str],
    orientation: Orientation,
    where: Path,
    *,
    prepared: bool,
    option: str,
    workers: int,
) -> Decision:
    """Return which photos will be read as stored, and what is wrong or in doubt about orientations."""
    if prepared:
        return Decision()
    paths = _paths(dataset)
    files = {i: (paths.photo(i), paths.mask(i)) for i in image_ids if not id_fault(i)}
    return decide(files, orientation, where, workers=workers, option=option)


def depths(dataset: Dataset, image_ids: Sequence[str], setting: Bits, *, prepared: bool, workers: int) -> bits.Depths:
    """Return how many bits count in photos of 16; a source of the user's own leaves that to each photo."""
    paths = _paths(dataset)
    photos = {i: paths.photo(i) for i in image_ids if not id_fault(i)}
    highest = bits.highest_values(photos, workers=workers)
    return bits.decide(highest, "each" if prepared else setting)


def _paths(dataset: Dataset) -> Dataset:
    """Return a copy to look up paths: the original is sent to worker processes, without what a look-up stores in it."""
    return replace(dataset)
