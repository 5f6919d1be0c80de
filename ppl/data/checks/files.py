"""Reading of every photo and every measured mask, in worker processes."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

import ppl.data.heif  # noqa: F401 - HEIC is a format of photos
from ppl.data.checks.findings import Findings
from ppl.data.checks.masks import check_mask
from ppl.data.checks.photos import check_photo
from ppl.data.dataset import Dataset, id_fault
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

IMAGES_PER_TASK = 32


def check_files(
    dataset: Dataset,
    image_ids: Sequence[str],
    measured: set[str],
    as_stored: Collection[str],
    bits_of: Mapping[str, int],
    *,
    max_side: int | None,
    copied: bool,
    workers: int,
) -> Findings:
    """Read every photo and every mask in `measured`; return their faults and warnings, sorted.

    With `copied` each photo of the source is linked or copied by itself, so that a missing one is to be added there.
    """
    image_ids = [image_id for image_id in image_ids if not id_fault(image_id)]
    chunks = in_chunks(image_ids, IMAGES_PER_TASK)
    tasks = (
        (dataset, max_side, copied, [(i, i in measured, i in as_stored, bits_of.get(i)) for i in chunk])
        for chunk in chunks
    )
    results = run_all(_check_chunk, tasks, workers=workers, total=len(image_ids), size=_length, name="photos checked")
    findings = list(chain.from_iterable(results))
    faults = sorted(chain.from_iterable(finding.faults for finding in findings))
    warnings = sorted(chain.from_iterable(finding.warnings for finding in findings))
    mask_ids = {image_id: ids for finding in findings for image_id, ids in finding.mask_ids.items()}
    return Findings(tuple(faults), tuple(warnings), mask_ids)


def check_image(
    dataset: Dataset,
    image_id: str,
    with_mask: bool,
    as_stored: bool,
    bits: int | None,
    *,
    max_side: int | None,
    copied: bool,
) -> Findings:
    """Return the faults and warnings of a photo, and of its mask if the photo can be read."""
    of_photo, size = check_photo(dataset, image_id, as_stored=as_stored, bits=bits, max_side=max_side, copied=copied)
    if size is None or not with_mask:
        return of_photo
    of_mask = check_mask(dataset, image_id, size, max_side=max_side, copied=copied)
    return Findings(of_mask.faults, of_photo.warnings + of_mask.warnings, of_mask.mask_ids)


def _check_chunk(
    task: tuple[Dataset, int | None, bool, Sequence[tuple[str, bool, bool, int | None]]],
) -> list[Findings]:
    dataset, max_side, copied, images = task
    return [check_image(dataset, i, *options, max_side=max_side, copied=copied) for i, *options in images]


def _length(task: tuple[Dataset, int | None, bool, Sequence]) -> int:
    return len(task[3])
