"""The CAM store: HDF5 files that h5py alone can read (docs/cam-format.md).

cams/{ID}             float16 (classes, ceil(h / 4), ceil(w / 4)), 0..1, compressed
    .attrs["classes"] 1-based class ids of the planes
    .attrs["size"]    (h, w) of the photo
.attrs                classes (names), settings (JSON), checkpoint (SHA-256), format (version of this layout)
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic

FORMAT = 2
PACKED = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
REMEDY = "export the CAMs again"
AHEAD = 16  # CAMs that wait to be written
STRIDE = 4  # of the stored maps: the walk's grid


class Cam(NamedTuple):
    """Maps (K, h4, w4) float32 in 0..1 of the classes (K,), 1-based, of a photo of `size` (h, w)."""

    maps: np.ndarray
    classes: np.ndarray
    size: tuple[int, int]


def write(
    path: Path, cams: Iterable[tuple[str, Cam]], *, classes: Sequence[str], settings: str, checkpoint: str
) -> int:
    """Write pairs (image_id, Cam) to a new file, which appears under its name when complete; return their number.

    A thread compresses and writes while `cams` computes further ones, so that no GPU waits for it.

    UserError for maps that are not finite, such as activations beyond the range of float16.
    """
    # This version of HDF5's format has checksums, except for strings of variable length. Without them a damaged file
    # can crash or hang the library instead of raising an error.
    with atomic(path) as temporary, h5py.File(temporary, "w", libver="latest") as file, ThreadPoolExecutor(1) as writer:
        file.attrs.update(
            classes=_text(classes), settings=_text([settings])[0], checkpoint=_text([checkpoint])[0], format=FORMAT
        )
        group, pending = file.create_group("cams"), deque()
        for image_id, cam in cams:
            if not np.isfinite(cam.maps).all():
                raise UserError(
                    path,
                    f"the map of {image_id!r} is not finite",
                    "use precision 32-true, another cam.method, or train again",
                )
            pending.append(writer.submit(_add, group, image_id, cam))
            while pending and (pending[0].done() or len(pending) > AHEAD):
                pending.popleft().result()  # an error of the thread
        for written in pending:
            written.result()
        return len(group)


def _add(group: h5py.Group, image_id: str, cam: Cam) -> None:
    """Add a CAM to an open file."""
    packed = PACKED if cam.maps.size else {}
    stored = group.create_dataset(image_id, data=cam.maps.astype(np.float16), **packed)
    stored.attrs["classes"] = np.asarray(cam.classes, dtype=np.uint8)
    stored.attrs["size"] = cam.size


class Store:
    """The CAMs of several files (shards) as one store; created by `open_store`."""

    def __init__(self, images: Mapping[h5py.File, Sequence[str]]) -> None:
        self._files = list(images)
        self._file_of = {image_id: file for file, stored in images.items() for image_id in stored}
        if len(self._file_of) < sum(map(len, images.values())):
            names = ", ".join(file.filename for file in images)
            raise UserError(names, "the CAM of an image is stored twice", "export the shards of one split again")

    @property
    def images(self) -> list[str]:
        """Return the ids of all stored images, sorted."""
        return sorted(self._file_of)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes 1..C."""
        return _names(self._files[0])

    def read(self, image_id: str) -> Cam:
        """Return the CAM of one image; UserError if it is not stored, or not in the format of docs/cam-format.md."""
        if image_id not in self._file_of:
            names = ", ".join(file.filename for file in self._files)
            raise UserError(names, f"no CAM of image {image_id!r}", "export the split that it belongs to")
        file = self._file_of[image_id]
        try:
            stored = file["cams"][image_id]
            h, w = (int(side) for side in stored.attrs["size"])
            cam = Cam(stored[()].astype(np.float32), stored.attrs["classes"].astype(np.int64), (h, w))
        except Exception as error:  # h5py raises exceptions of many types for missing or foreign content
            raise UserError(file.filename, f"not a valid CAM of {image_id!r} ({reason(error)})", REMEDY) from error
        if fault := _fault(cam, len(self.class_names)):
            raise UserError(file.filename, f"not a valid CAM of {image_id!r} ({fault})", REMEDY)
        return cam


@contextmanager
def open_store(paths: Sequence[Path], classes: Sequence[str] | None = None) -> Iterator[Store]:
    """Open CAM files for reading; UserError if one is not a CAM store of this format, or is of other `classes`."""
    with ExitStack() as stack:
        images = {}
        for path in paths:
            try:
                file = stack.enter_context(h5py.File(path, "r"))
            except OSError as error:
                raise UserError(path, f"not a readable HDF5 file ({reason(error)})", REMEDY) from error
            try:
                valid = int(file.attrs["format"]) == FORMAT and isinstance(file["cams"], h5py.Group)
                names, stored = _names(file), list(file["cams"])
            except Exception:  # h5py raises exceptions of many types for missing or foreign content
                valid = False
            if not valid:
                raise UserError(path, f"not a CAM store of format {FORMAT}", REMEDY)
            if classes is not None and names != tuple(classes):
                raise UserError(path, "holds other classes than classes.txt names", REMEDY)
            images[file] = stored
        yield Store(images)


def _text(texts: Sequence[str]) -> np.ndarray:
    """Return texts as an array of fixed length in UTF-8."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(1, *map(len, encoded))))


def _names(file: h5py.File) -> tuple[str, ...]:
    """Return the class names of a file."""
    return tuple(name.decode() for name in file.attrs["classes"])


def _fault(cam: Cam, classes: int) -> str | None:
    """Return why a stored CAM is invalid for a dataset of `classes` classes; None if it is valid."""
    if cam.classes.ndim != 1:
        return "its classes are not a list"
    grid = tuple(-(-side // STRIDE) for side in cam.size)
    if min(cam.size) < 1 or cam.maps.shape != (len(cam.classes), *grid):
        return f"maps {cam.maps.shape} of {len(cam.classes)} classes for a photo of {cam.size}"
    if len(set(cam.classes.tolist())) < len(cam.classes) or not ((cam.classes > 0) & (cam.classes <= classes)).all():
        return f"class ids {cam.classes.tolist()} of {classes} classes"
    if not ((cam.maps >= 0) & (cam.maps <= 1)).all():
        return "values outside 0..1"
    return None
