"""Write masks into a dataset folder, and recognise those that were written: they may be replaced, a user's may not."""

import json
from collections.abc import Mapping
from pathlib import Path

from ppl.data.links import link_to
from ppl.data.masks import write_mask
from ppl.data.own.mask_source import Draw
from ppl.jobs.files import file_digest, write_json

RECORD = "masks.json"
"""File of a dataset folder with the digests of the masks that were drawn."""


def write_masks(dataset: Path, folder: Path, masks: Mapping[str, Path | Draw]) -> None:
    """Write the mask of each image id into `folder` of a dataset: a link to a PNG of class ids, or a drawn one."""
    digests = {}
    for image_id, mask in masks.items():
        path = folder / f"{image_id}.png"
        if isinstance(mask, Path):
            link_to(path, mask)
        else:
            write_mask(path, mask())
            digests[path.name] = file_digest(path)
    if digests:
        write_json(dataset / RECORD, digests)


def are_written(dataset: Path, folder: Path) -> bool:
    """Return whether all masks in `folder` are links, or drawn by `write_masks` and unchanged since."""
    try:
        digests = json.loads((dataset / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        digests = {}
    files = [path for path in folder.glob("*") if not path.is_symlink()]
    return all(path.is_file() and digests.get(path.name) == file_digest(path) for path in files)
