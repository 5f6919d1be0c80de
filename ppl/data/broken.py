"""Photos that cannot be read, and that `data.folder.skip_broken` leaves out of all splits.

The file SKIPPED of a dataset folder lists those that its preparation has left out. Missing files, and photos that are
too large, are not broken: a disk that is not there must not shrink a dataset.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import ppl.data.heif  # noqa: F401 - HEIC is a format of photos
from ppl.data.dataset import LISTS, Dataset, id_fault
from ppl.data.findings import Finding
from ppl.data.links import missing_target
from ppl.data.lists import write_lines
from ppl.data.photos import MAX_STORED, read_photo
from ppl.data.windows import size_of
from ppl.jobs.errors import UserError
from ppl.jobs.files import write_json
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

KEY = "data.folder.skip_broken"
SKIPPED = "skipped.json"
IMAGES_PER_TASK = 32
SMALL = 64  # pixels; a JPEG is decoded at an eighth of its sides if it is larger, which still reads all of the file


def broken_photos(dataset: Dataset, image_ids: Iterable[str], *, workers: int) -> dict[str, Finding]:
    """Return the findings of the photos that cannot be read, by image id; each is decoded."""
    photos = {i: dataset.photo(i) for i in dict.fromkeys(image_ids) if not id_fault(i)}
    chunks = in_chunks(list(photos.items()), IMAGES_PER_TASK)
    find = partial(_broken_of, dataset.root)
    found: dict[str, Finding] = {}
    for broken in run_all(find, chunks, workers=workers, total=len(photos), size=len, name="photos read"):
        found |= broken
    return dict(sorted(found.items()))


def leave_out(root: Path, splits: Iterable[str], broken: Mapping[str, Finding]) -> None:
    """Take broken photos out of the lists of a dataset folder, and record them."""
    for split in splits:
        path = root / LISTS / f"{split}.txt"
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        write_lines(path, [line for line in lines if line not in broken])
    write_json(root / SKIPPED, [vars(finding) for finding in broken.values()])


def recorded(root: Path) -> list[Finding]:
    """Return the findings of the photos that the preparation of a dataset folder has left out."""
    path = root / SKIPPED
    return [Finding(**values) for values in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def _broken_of(root: Path, photos: Sequence[tuple[str, Path]]) -> dict[str, Finding]:
    """Return the findings of those photos that cannot be read."""
    errors = ((image_id, path, _error(path)) for image_id, path in photos)
    return {i: _finding(str(path.relative_to(root)), error) for i, path, error in errors if error is not None}


def _error(path: Path) -> UserError | None:
    """Return why a photo cannot be decoded; None for a photo that can be or is too large, and for a missing file."""
    if not path.exists() or missing_target(path):
        return None
    try:
        height, width = size_of(path)
        if height * width <= MAX_STORED:
            read_photo(path, max_side=SMALL)
    except UserError as error:
        return error
    return None


def _finding(place: str, error: UserError) -> Finding:
    return Finding(place, error.what, f"left out of all splits ({KEY})", "photos cannot be read")
