"""Parts of a TIFF as small TIFFs, so that a large photo can be decoded without holding all of it.

Pillow decodes a TIFF as a whole. Strips and tiles are compressed each by itself, though: together with the tags that
describe pixels, some of them are a TIFF of their own.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 274, 277
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 273, 278, 279, 284
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
DESCRIBE_PIXELS = (
    *(BITS, COMPRESSION, PHOTOMETRIC, 266, SAMPLES, PLANAR, 292, 293),
    *(317, 320, 332, 338, 339, 347, 530, 531, 532),
)
"""Tags that a part needs: besides the above FillOrder, the options of fax, Predictor, ColorMap, InkSet, ExtraSamples,
SampleFormat, JPEGTables, and those of YCbCr."""
CODES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 16: "Q"}
"""Codes of `struct` for the types of values."""
UNCOMPRESSED, OLD_JPEG = 1, 6  # compressions; parts of the latter share tables at any place in the file
YCBCR = 6  # a photometric interpretation, whose uncompressed rows may be stored in blocks
ROW_BYTES = 1 << 20  # of a part that uncompressed strips are divided into


class Value(NamedTuple):
    """The value of a tag: its type, number of items, and bytes as stored."""

    kind: int
    count: int
    content: bytes


@dataclass(frozen=True)
class Parts:
    """The strips or tiles of the first image of a TIFF file."""

    path: Path
    order: str
    """Byte order, `<` or `>`."""
    tags: Mapping[int, Value]
    size: tuple[int, int]
    """(h, w) of the image as stored."""
    part: tuple[int, int]
    """(h, w) of a strip or tile; those at the end may be cut."""
    offsets: Sequence[int]
    counts: Sequence[int]
    """Place and number of bytes of each part, row by row, of separate channels one channel after the other."""
    tiled: bool

    @property
    def orientation(self) -> int:
        """The orientation of the image, 1 to 8."""
        return _numbers(self.order, self.tags[ORIENTATION])[0] if ORIENTATION in self.tags else 1

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and columns of parts."""
        return tuple(-(-side // of_part) for side, of_part in zip(self.size, self.part, strict=True))

    def cut(self, first: int, last: int, left: int = 0, right: int | None = None) -> BytesIO:
        """Return a TIFF of the rows `first` to `last`, the latter excluded, and columns `left` to `right` of parts."""
        rows, columns = self.grid
        right = columns if right is None else right
        per_channel = rows * columns
        chosen = [
            channel * per_channel + row * columns + column
            for channel in range(len(self.offsets) // per_channel)
            for row in range(first, last)
            for column in range(left, right)
        ]
        with self.path.open("rb") as file:
            contents = [_read(file, self.offsets[i], self.counts[i]) for i in chosen]
        height, width = (
            min(side, end * of_part) - start * of_part
            for side, of_part, start, end in zip(self.size, self.part, (first, left), (last, right), strict=True)
        )
        numbers = {WIDTH: [width], LENGTH: [height]}
        if self.tiled:
            numbers |= {TILE_WIDTH: [self.part[1]], TILE_LENGTH: [self.part[0]]}
        else:
            numbers |= {ROWS_PER_STRIP: [self.part[0]]}
        return _encoded(self.order, self.tags, numbers, contents, tiled=self.tiled)


def open_parts(path: Path) -> Parts | None:
    """Return the parts of a TIFF file; None for other files, and for a TIFF whose parts cannot be decoded alone.

    ValueError or struct.error for a damaged file.
    """
    with path.open("rb") as file:
        order, tags = _first_directory(file)
        if not tags:
            return None
        numbers = {tag: _numbers(order, value) for tag, value in tags.items() if value.kind in (1, 3, 4, 16)}
    tiled = TILE_OFFSETS in numbers
    offsets, counts = (TILE_OFFSETS, TILE_COUNTS) if tiled else (STRIP_OFFSETS, STRIP_COUNTS)
    compression = numbers.get(COMPRESSION, (UNCOMPRESSED,))[0]
    if compression == OLD_JPEG or not {offsets, counts, WIDTH, LENGTH} <= numbers.keys():
        return None
    size = numbers[LENGTH][0], numbers[WIDTH][0]
    if tiled:
        part = numbers[TILE_LENGTH][0], numbers[TILE_WIDTH][0]
    else:
        part = min(numbers.get(ROWS_PER_STRIP, size)[0], size[0]), size[1]
    if min(*size, *part) < 1:
        raise ValueError("an image or part without pixels")
    parts = Parts(path, order, tags, size, part, numbers[offsets], numbers[counts], tiled)
    rows, columns = parts.grid
    channels = numbers.get(SAMPLES, (1,))[0] if numbers.get(PLANAR, (1,))[0] == 2 else 1
    if min(len(parts.offsets), len(parts.counts)) < rows * columns * channels:
        raise ValueError("fewer strips or tiles than the image needs")
    is_plain = compression == UNCOMPRESSED and not tiled and numbers.get(PHOTOMETRIC, (0,))[0] != YCBCR
    return _finer(parts, numbers, channels) if is_plain else parts


def _finer(parts: Parts, numbers: Mapping[int, Sequence[int]], channels: int) -> Parts:
    """Return uncompressed strips divided into smaller ones: many programs write the whole image as one strip."""
    depth = numbers.get(BITS, (1,))
    bits = sum(depth) * (numbers.get(SAMPLES, (1,))[0] if len(depth) == 1 else 1) // channels
    row_bytes = -(-parts.size[1] * bits // 8)
    height = max(1, ROW_BYTES // row_bytes)
    if parts.part[0] <= height or parts.part[0] < parts.size[0]:
        return parts  # small, or several strips, whose ends the finer ones would cross
    starts = range(0, parts.size[0], height)
    offsets = [parts.offsets[channel] + row * row_bytes for channel in range(channels) for row in starts]
    counts = [min(height, parts.size[0] - row) * row_bytes for _ in range(channels) for row in starts]
    return Parts(parts.path, parts.order, parts.tags, parts.size, (height, parts.size[1]), offsets, counts, False)


def _first_directory(file: BinaryIO) -> tuple[str, dict[int, Value]]:
    """Return the byte order and the tags of the first image of a TIFF or BigTIFF; no tags for another file."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) == 16 else 0
    if version not in (42, 43):
        return order, {}
    big = version == 43
    number, of_count = ("Q", "Q") if big else ("I", "H")  # of offsets and counts of items; of the count of tags
    width = struct.calcsize(number)
    (start,) = struct.unpack(f"{order}{number}", head[8:16] if big else head[4:8])
    file.seek(start)
    (entries,) = struct.unpack(f"{order}{of_count}", file.read(struct.calcsize(of_count)))
    tags: dict[int, Value] = {}
    for entry in _chunks(_read(file, file.tell(), entries * (4 + 2 * width)), 4 + 2 * width):
        tag, kind, count = struct.unpack(f"{order}HH{number}", entry[: 4 + width])
        if kind in CODES:
            length = count * struct.calcsize(f"{order}{CODES[kind]}")
            content = entry[4 + width :][:length]
            if length > width:
                content = _read(file, struct.unpack(f"{order}{number}", entry[4 + width :])[0], length)
            tags[tag] = Value(kind, count, content)
    return order, tags


def _encoded(
    order: str,
    tags: Mapping[int, Value],
    numbers: Mapping[int, Sequence[int]],
    contents: Sequence[bytes],
    *,
    tiled: bool,
) -> BytesIO:
    """Return a TIFF with the tags that describe pixels, further `numbers`, and the contents of its parts."""
    places = (TILE_OFFSETS, TILE_COUNTS) if tiled else (STRIP_OFFSETS, STRIP_COUNTS)
    values = {tag: tags[tag] for tag in DESCRIBE_PIXELS if tag in tags}
    starts, end = [], 8
    for content in contents:
        starts.append(end)
        end += len(content) + len(content) % 2
    numbers = {**numbers, places[0]: starts, places[1]: [len(content) for content in contents]}
    values |= {tag: Value(4, len(n), struct.pack(f"{order}{len(n)}I", *n)) for tag, n in numbers.items()}
    directory = bytearray(struct.pack(f"{order}H", len(values)))
    behind, outside = end + 2 + 12 * len(values) + 4, bytearray()  # values of more than 4 bytes
    for tag, (kind, count, content) in sorted(values.items()):
        field = content.ljust(4, b"\0")
        if len(content) > 4:
            field = struct.pack(f"{order}I", behind + len(outside))
            outside += content + bytes(len(content) % 2)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + field
    magic = b"II*\0" if order == "<" else b"MM\0*"
    parts = [magic, struct.pack(f"{order}I", end), *(content + bytes(len(content) % 2) for content in contents)]
    return BytesIO(b"".join([*parts, directory, bytes(4), outside]))


def _numbers(order: str, value: Value) -> tuple[int, ...]:
    return struct.unpack(f"{order}{value.count}{CODES[value.kind]}", value.content)


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    content = file.read(length)
    if len(content) < length:
        raise ValueError("image file is truncated")
    return content


def _chunks(content: bytes, length: int) -> list[bytes]:
    return [content[i : i + length] for i in range(0, len(content), length)]
