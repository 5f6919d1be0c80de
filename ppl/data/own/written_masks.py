"""Write masks into a dataset folder, and recognise those that were written: they may be replaced, a user's may not."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppl.data.links import link_to
from ppl.data.masks import write_mask
from ppl.data.own.mask_source import Draw
from ppl.jobs.files import file_digest, write_json
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

RECORD = "masks.json"
"""File of a dataset folder with the digests of the masks that were drawn."""
FEW = 200  # masks, for which it takes longer to start worker processes than to draw
MASKS_PER_TASK = 32


def write_masks(dataset: Path, folder: Path, masks: Mapping[str, Path | Draw], *, workers: int) -> None:
    """Write the mask of each image id into `folder` of a dataset: a link to a PNG of class ids, or a drawn one."""
    draws = []
    for image_id, mask in masks.items():
        path = folder / f"{image_id}.png"
        if isinstance(mask, Path):
            link_to(path, mask)
        else:
            draws.append((path, mask))
    if not draws:
        return
    digests: dict[str, str] = {}
    workers = workers if len(draws) > FEW else 0
    tasks = in_chunks(draws, MASKS_PER_TASK)
    for written in run_all(_write_chunk, tasks, workers=workers, total=len(draws), size=len, name="masks converted"):
        digests |= written
    write_json(dataset / RECORD, digests)


def are_written(dataset: Path, folder: Path) -> bool:
    """Return whether all masks in `folder` are links, or drawn by `write_masks` and unchanged since."""
    try:
        digests = json.loads((dataset / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        digests = {}
    files = [path for path in folder.glob("*") if not path.is_symlink()]
    return all(path.is_file() and digests.get(path.name) == file_digest(path) for path in files)


def _write_chunk(draws: Sequence[tuple[Path, Draw]]) -> dict[str, str]:
    """Draw masks; return the digest of each file by its name."""
    for path, draw in draws:
        write_mask(path, draw())
    return {path.name: file_digest(path) for path, _ in draws}
