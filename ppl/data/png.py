"""Find the metadata of a PNG without decoding its pixels."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that hold EXIF, a `Raw profile type exif` or XMP."""


def metadata_alone(file: BinaryIO) -> bytes | None:
    """Return a PNG of one pixel with the metadata chunks of an open PNG file, in their order; None if it has none.

    Pillow would decode the whole file to find chunks behind the pixels. As Pillow does, read up to the second frame of
    an animation and the end of an incomplete file.
    """
    chunks = list(_metadata_chunks(file))
    if not chunks:
        return None
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def _metadata_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the metadata chunks; the content of others is skipped."""
    file.seek(len(SIGNATURE))
    seen: set[bytes] = set()
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND" or (kind == b"fcTL" and {b"acTL", b"IDAT"} <= seen):
            return
        seen.add(kind)
        following = file.tell() + length + 4  # behind the checksum
        if kind in METADATA and len(content := file.read(length)) == length:
            yield kind, content
        file.seek(following)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
