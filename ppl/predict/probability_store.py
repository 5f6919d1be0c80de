"""Probabilities of a photo as an HDF5 file that h5py alone can read (docs/cam-format.md).

probabilities         float16 (C+1, ceil(h / 4), ceil(w / 4)), background first, compressed; h, w of the network's input
.attrs                classes (names, background first), size (h, w) of the photo, format (version of this layout)
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from ppl.cam.store import PACKED

FORMAT = 1
STRIDE = 4  # pixels of the network's input for one stored value
CHUNK = 64  # side of the compressed pieces, in values


class ProbabilityStore:
    """A new file of probabilities, to be filled in parts; a context manager that closes it."""

    def __init__(self, path: Path, size: tuple[int, int], input_size: tuple[int, int], classes: Sequence[str]) -> None:
        names = [name.encode() for name in ("background", *classes)]
        shape = (len(names), *stored_size(input_size))
        self._file = h5py.File(path, "w", libver="latest")
        text = h5py.string_dtype("utf-8", max(map(len, names)))  # of fixed length, as only these have checksums
        self._file.attrs.update(classes=np.array(names, dtype=text), size=size, format=FORMAT)
        chunks = (1, *(min(CHUNK, side) for side in shape[1:]))
        self._values = self._file.create_dataset("probabilities", shape, np.float16, chunks=chunks, **PACKED)

    def __enter__(self) -> "ProbabilityStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, values: np.ndarray) -> None:
        """Write all values (C+1, *stored_size(input_size))."""
        self._values[...] = values.astype(np.float16)

    def write_block(self, top: int, left: int, probabilities: np.ndarray) -> None:
        """Write the means of STRIDE x STRIDE pixels of a block (C+1, h, w) at a place divisible by STRIDE."""
        h, w = stored_size(probabilities.shape[1:])
        filled = [(0, 0), *((0, -side % STRIDE) for side in probabilities.shape[1:])]  # at the photo's end
        cells = np.pad(probabilities, filled, mode="edge").reshape(len(probabilities), h, STRIDE, w, STRIDE)
        y, x = top // STRIDE, left // STRIDE
        self._values[:, y : y + h, x : x + w] = cells.mean(axis=(2, 4)).astype(np.float16)


def stored_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (h, w) of the stored values for a network's input of `size`."""
    return tuple(-(-side // STRIDE) for side in size)
