"""Checks of photos: one file for each id, readable, and with pixels from which something can be learned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ppl.data.brightness import brightness_fault
from ppl.data.checks.findings import Findings
from ppl.data.checks.missing import missing_file
from ppl.data.dataset import Dataset
from ppl.data.findings import Finding
from ppl.data.photos import MAX_PIXELS, MAX_STORED, photo_size, read_photo
from ppl.jobs.errors import UserError

TINY = 64  # pixels, shorter side


def ids_with_several_photos(dataset: Dataset, image_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the files of each id that has several photos."""
    photos = replace(dataset).photos_by_id  # of a copy: a cached property would be sent to the worker processes
    return {i: [path.name for path in photos[i]] for i in image_ids if len(photos.get(i, ())) > 1}


def id_faults(several: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Yield the ids that several photos have; `several` are the names of their files by id."""
    for files in several.values():
        yield Finding("JPEGImages", f"{', '.join(files)} have the same id", "keep one", "ids have several photos")


def check_photo(
    dataset: Dataset, image_id: str, *, as_stored: bool, bits: int | None, max_side: int | None, copied: bool
) -> tuple[Findings, tuple[int, int] | None]:
    """Return the findings of a photo, and its size (h, w) as it is read, which may be None if it has a fault.

    With `max_side`, to which larger photos are shrunk, it may have up to MAX_STORED pixels.
    """
    path = dataset.photo(image_id)
    place = str(path.relative_to(dataset.root))
    remedy = "copy the file there, or remove its id from the lists"
    if copied:
        remedy = "add the file to the source of the data, and run the workflow with --forcerun prepare_data"
    if finding := missing_file(path, place, "photo", copied=copied, remedy=remedy):
        return Findings((finding,)), None
    try:
        size = photo_size(path, most=most_pixels(max_side), upright=not as_stored)
        pixels = read_photo(path, max_side=max_side, bits=bits)
    except UserError as error:
        return Findings((Finding.of(error, place, "photos cannot be read"),)), None
    warnings = []
    if min(size) < TINY:
        what, many = f"is {size[1]}x{size[0]} pixels", f"photos have fewer than {TINY} pixels on a side"
        warnings.append(Finding(place, what, "use larger photos, or expect coarse masks", many))
    if what := brightness_fault(pixels):
        many = "photos are nearly black, nearly white or of one colour"
        warnings.append(Finding(place, what, "look at them; replace those that are damaged", many))
    return Findings(warnings=tuple(warnings)), size


def most_pixels(max_side: int | None) -> int:
    """Return how many pixels a photo and its mask may have: more if they are shrunk before use."""
    return MAX_PIXELS if max_side is None else MAX_STORED
