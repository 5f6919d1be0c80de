"""PNGs that are written row by row, so that a large one is not held in memory."""

import struct
import zlib
from typing import BinaryIO

import numpy as np

from ppl.data.png import SIGNATURE

GREY, PALETTE = 0, 3  # colour types


class PngStream:
    """An 8-bit PNG of `size` (h, w) in an open file: of a `palette` (256, 3), or greyscale without it."""

    def __init__(self, file: BinaryIO, size: tuple[int, int], palette: np.ndarray | None = None) -> None:
        self._file, self._packer = file, zlib.compressobj()
        file.write(SIGNATURE)
        kind = GREY if palette is None else PALETTE
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8, kind, 0, 0, 0))
        if palette is not None:
            self._chunk(b"PLTE", palette.tobytes())

    def write(self, rows: np.ndarray) -> None:
        """Append rows (n, w) uint8."""
        unfiltered = np.zeros((len(rows), rows.shape[1] + 1), np.uint8)  # a row starts with its filter, 0 for none
        unfiltered[:, 1:] = rows
        if packed := self._packer.compress(unfiltered.data):
            self._chunk(b"IDAT", packed)

    def finish(self) -> None:
        """Write the end."""
        self._chunk(b"IDAT", self._packer.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, content: bytes) -> None:
        checksum = zlib.crc32(kind + content)
        self._file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))
