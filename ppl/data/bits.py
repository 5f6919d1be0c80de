"""Decide how many bits of 16-bit photos count, once for all photos of a dataset.

Cameras of 10, 12 or 14 bits store their values in 16. All photos of a dataset are scaled alike, by the bits that the
largest value of all needs: a dark photo stays darker than its neighbours. Photos that would be nearly black so are
taken for those of another camera, and the check says it. `ppl.data.deep` decodes the samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ppl.data.deep import least_bits
from ppl.data.findings import Finding, listed
from ppl.data.photos import highest_value, may_be_deep
from ppl.data.settings import Bits
from ppl.jobs.errors import UserError
from ppl.jobs.files import write_text
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

KEY = "data.folder.bits"
FILE = "bits.txt"
"""Bits that were decided for the 16-bit photos of a prepared dataset; there is none without such photos."""
FEW = 64  # photos that this process reads sooner than it starts others
PHOTOS_PER_TASK = 16
DARK = 4
"""Bits by which a photo needs fewer than others to be of another camera: read alike, it has at most 15 of 255."""
CAMERA = 10
"""The fewest bits of another camera."""


@dataclass(frozen=True)
class Depths:
    """Bits by image id of 16-bit photos, and what to say about them."""

    bits: Mapping[str, int]
    notes: tuple[str, ...] = ()
    """One line for each number of bits."""
    warnings: tuple[Finding, ...] = ()
    faults: tuple[Finding, ...] = ()


def highest_values(photos: Mapping[str, Path], *, workers: int) -> dict[str, int]:
    """Return the largest value of each photo with more than 8 bits that does not state its depth, by image id."""
    wide = [(image_id, path) for image_id, path in photos.items() if may_be_deep(path)]
    if len(wide) <= FEW:
        return dict(_highest(wide))
    chunks = in_chunks(wide, PHOTOS_PER_TASK)
    values = run_all(_highest, chunks, workers=workers, total=len(wide), size=len, name="photos of 16 bits")
    return dict(sorted(chain.from_iterable(values)))


def decide(highest: Mapping[str, int], setting: Bits) -> Depths:
    """Return how many bits count in photos with these largest values, by `data.folder.bits`."""
    if not highest:
        return Depths({})
    if setting == "auto":
        bits = _by_camera(highest)
    elif setting == "each":
        bits = {image_id: least_bits(value) for image_id, value in highest.items()}
    else:
        bits = dict.fromkeys(highest, int(setting))
    notes = tuple(_note(highest, bits, depth) for depth in sorted(set(bits.values())))
    warnings: tuple[Finding, ...] = ()
    if setting == "auto":
        most = max(bits.values())
        others = sorted(image_id for image_id in bits if bits[image_id] < most)
        warnings = tuple(_doubt(image_id, highest[image_id], bits[image_id], most) for image_id in others)
    above = sorted(image_id for image_id, value in highest.items() if value >= 2 ** bits[image_id])
    return Depths(bits, notes, warnings, tuple(_excess(image_id, highest[image_id], setting) for image_id in above))


def write_bits(root: Path, bits: Mapping[str, int]) -> None:
    """Record in a dataset folder the bits of its 16-bit photos, if they are the same for all."""
    if len(set(bits.values())) == 1:
        write_text(root / FILE, f"{next(iter(bits.values()))}\n")


def recorded_bits(root: Path) -> int | None:
    """Return the bits recorded in a dataset folder."""
    try:
        return int((root / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _by_camera(highest: Mapping[str, int]) -> dict[str, int]:
    """Return the bits of each photo: the same for all, but fewer for those that would be nearly black."""
    bits: dict[str, int] = {}
    depth = least_bits(max(highest.values()))
    while rest := {image_id: value for image_id, value in highest.items() if image_id not in bits}:
        darkest = 2 ** (depth - DARK) if depth - DARK >= CAMERA else 0
        bits |= {image_id: depth for image_id, value in rest.items() if value >= darkest}
        depth = max(CAMERA, least_bits(max((v for i, v in rest.items() if i not in bits), default=0)))
    return bits


def _note(highest: Mapping[str, int], bits: Mapping[str, int], depth: int) -> str:
    values = [value for image_id, value in highest.items() if bits[image_id] == depth]
    photos = f"{len(values):,} photos have" if len(values) > 1 else "1 photo has"
    return f"{photos} 16 bits and values up to {max(values):,}: read as {depth}-bit ({KEY} decides)"


def _doubt(image_id: str, value: int, bits: int, most: int) -> Finding:
    what = f"values up to {value:,}, read as {bits}-bit where brighter photos are read as {most}-bit"
    remedy = f"if they are dark photos of the same camera, set {KEY} to {most}"
    return Finding(f"photo {image_id!r}", what, remedy, "photos of 16 bits are taken for those of another camera")


def _excess(image_id: str, value: int, bits: Bits) -> Finding:
    what = f"values up to {value:,} need more than {bits} bits"
    return Finding(f"photo {image_id!r}", what, f"correct {KEY}", f"photos have values of more than {bits} bits")


def error_of(faults: Sequence[Finding], where: Path) -> UserError:
    """Return the faults of a dataset's depths as an error."""
    photos = listed([fault.place for fault in faults[:3]])
    return UserError(where, f"{photos}: {faults[0].what}", faults[0].remedy)


def _highest(photos: Sequence[tuple[str, Path]]) -> list[tuple[str, int]]:
    values = ((image_id, highest_value(path)) for image_id, path in photos)
    return [(image_id, value) for image_id, value in values if value is not None]
