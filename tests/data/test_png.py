"""The orientation of a PNG is that which Pillow knows once it has decoded the file, but is found without decoding."""

import io
import struct
import zlib
from itertools import permutations

import pytest
from PIL import Image

from ppl.data.photos import exif_orientation, photo_size, read_photo
from ppl.data.png import metadata_alone

Chunk = tuple[bytes, bytes]
HEADER: Chunk = (b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
PIXELS: Chunk = (b"IDAT", zlib.compress(bytes(8)))
END: Chunk = (b"IEND", b"")


def png(*chunks: Chunk) -> bytes:
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def block(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif.tobytes()


def exif(number: int) -> Chunk:
    return b"eXIf", block(number).removeprefix(b"Exif\0\0")


def profile(number: int) -> bytes:
    content = block(number)
    return f"\nexif\n{len(content):8}\n{content.hex()}\n".encode()


def xmp(number: int) -> Chunk:
    text = f'<rdf:Description tiff:Orientation="{number}"/>'.encode()
    return b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text


NAME = b"Raw profile type exif\0"
METADATA: dict[str, Chunk] = {
    "eXIf": exif(6),
    "another eXIf": exif(3),
    "without orientation": (b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "tEXt": (b"tEXt", NAME + profile(5)),
    "zTXt": (b"zTXt", NAME + b"\0" + zlib.compress(profile(7))),
    "XMP": xmp(8),
    "other text": (b"tEXt", b"Comment\0none"),
    "unknown": (b"zzZz", b"eXIf"),
}
PAIRS = [*((name,) for name in METADATA), *permutations(METADATA, 2)]


def decoded(content: bytes) -> int:
    """Return the orientation that Pillow knows after decoding."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        number = image.getexif().get(0x0112, 1)
    return number


@pytest.mark.parametrize("names", [(), *PAIRS])
def test_the_orientation_is_that_after_decoding_wherever_its_chunk_is(tmp_path, names):
    path = tmp_path / "a.png"
    for before in range(len(names) + 1):
        chunks = [METADATA[name] for name in names]
        path.write_bytes(png(HEADER, *chunks[:before], PIXELS, *chunks[before:], END))
        number = exif_orientation(path)
        assert number == decoded(path.read_bytes())
        assert photo_size(path) == read_photo(path).shape[:2] == ((3, 2) if number >= 5 else (2, 3))
        assert photo_size(path, upright=False) == (2, 3)


def test_each_kind_of_metadata_is_found():
    numbers = {name: decoded(png(HEADER, chunk, PIXELS, END)) for name, chunk in METADATA.items()}
    assert [*numbers.values()] == [6, 3, 1, 5, 7, 8, 1, 1]


def test_pixels_are_not_decoded_nor_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(HEADER, (b"IDAT", b"no pixels"), exif(6), END))
    assert exif_orientation(path) == 6
    assert photo_size(path) == (3, 2)

    class Counted(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            self.count += len(content)
            return content

    file = Counted(png(HEADER, *[(b"IDAT", bytes(1000))] * 10, exif(6), END))
    assert metadata_alone(file)
    assert file.count < 300


def test_a_png_without_metadata_or_cut_anywhere_has_none():
    content = png(HEADER, PIXELS, exif(6), END)
    start = content.index(b"eXIf") + 4 + len(exif(6)[1])
    assert metadata_alone(io.BytesIO(png(HEADER, PIXELS, END))) is None
    for length in range(len(content)):
        assert (metadata_alone(io.BytesIO(content[:length])) is None) == (length < start)


def test_what_follows_the_first_frame_of_an_animation_is_not_read(tmp_path):
    frames = [Image.new("L", (3, 2), value) for value in (0, 255)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], duration=10)
    chunk = png(exif(6))[8:]
    for place in (b"IEND", b"fdAT", b"IDAT"):
        content = buffer.getvalue()
        at = content.rindex(place) - 4
        path = tmp_path / "a.png"
        path.write_bytes(content[:at] + chunk + content[at:])
        assert exif_orientation(path) == decoded(path.read_bytes()) == (6 if place == b"IDAT" else 1)
        assert photo_size(path) == read_photo(path).shape[:2]
