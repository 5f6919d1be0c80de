"""HEIC photos, as phones write them: read by pillow-heif where it is installed (`pip install pillow-heif`).

Importing this module makes them a format of photos in this process. Only modules that read a user's own files import
it: in a dataset folder such photos are JPEGs, so that no training depends on pillow-heif.
"""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from ppl.data.orientation import link
from ppl.data.photos import PHOTO_FORMATS, PHOTO_SUFFIXES, read_photo
from ppl.data.shrink import QUALITY
from ppl.jobs.errors import UserError
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

SUFFIXES = (".heic", ".heif", ".hif")
REMEDY = "install pillow-heif (pip install pillow-heif), or convert them to JPEG"
COPIES_PER_TASK = 16
INSTALLED = find_spec("pillow_heif") is not None

if INSTALLED:
    import pillow_heif

    pillow_heif.register_heif_opener()  # decodes to 8 bits, upright
    PHOTO_FORMATS["HEIF"] = SUFFIXES
    PHOTO_SUFFIXES.update(SUFFIXES)


def is_heif(photo: Path) -> bool:
    """Return whether a file has a suffix of HEIC."""
    return photo.suffix.lower() in SUFFIXES


def convert(photos: Sequence[Path], folder: Path, *, workers: int) -> None:
    """Write HEIC photos into a folder as ID.jpg; link those that cannot be read, which the check lists."""
    if photos:
        chunks, name = in_chunks(photos, COPIES_PER_TASK), "HEIC photos converted"
        for _ in run_all(partial(_convert, folder), chunks, workers=workers, total=len(photos), size=len, name=name):
            pass
        print(f"{len(photos):,} HEIC photos are converted to JPEG")


def _convert(folder: Path, photos: Sequence[Path]) -> None:
    for photo in photos:
        try:
            pixels = read_photo(photo)
        except UserError:
            link(photo, folder)
        else:
            Image.fromarray(pixels).save(folder / f"{photo.stem}.jpg", quality=QUALITY)
