"""Windows of a photo are those of the photo read as a whole, however its file is divided and turned."""

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ppl.data import windows
from ppl.data.photos import read_photo
from ppl.data.tiff import open_parts
from ppl.data.windows import Windows, size_of
from ppl.jobs.errors import UserError

HEIGHT, WIDTH = 150, 203
ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH, PREDICTOR = 278, 322, 323, 317


def photo(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH))
    colours = np.stack([y + noise, x, (x * y) % 200], axis=2)
    if mode == "I;16":
        return Image.fromarray((colours[..., 0] * 16).astype(np.uint16))
    image = Image.fromarray(colours.clip(0, 255).astype(np.uint8))
    return image.quantize(17) if mode == "P" else image.convert(mode)


def tiff(path: Path, image: Image.Image, compression: str, tags: dict[int, int], **options) -> Path:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    image.save(path, compression=compression, tiffinfo=directory, **options)
    return path


def tiled(path: Path, pixels: np.ndarray, side: int, *, big: bool = False, order: str = "<") -> Path:
    """Write an uncompressed TIFF in tiles, as Pillow cannot, from (h, w, c) uint8."""
    h, w, c = pixels.shape
    rows, columns = -(-h // side), -(-w // side)
    padded = np.zeros((rows * side, columns * side, c), np.uint8)
    padded[:h, :w] = pixels
    tiles = [
        padded[y * side : (y + 1) * side, x * side : (x + 1) * side].tobytes()
        for y in range(rows)
        for x in range(columns)
    ]
    start = 16
    offsets = [start + i * len(tiles[0]) for i in range(len(tiles))]
    number, size = ("Q", 8) if big else ("I", 4)
    long = 16 if big else 4
    entries = [
        *((256, 3, [w]), (257, 3, [h]), (258, 3, [8] * c), (259, 3, [1]), (262, 3, [2]), (277, 3, [c])),
        *((322, 3, [side]), (323, 3, [side]), (324, long, offsets), (325, long, [len(tiles[0])] * len(tiles))),
    ]
    behind = start + sum(map(len, tiles))
    directory, outside = b"", b""
    end = behind + (8 if big else 2) + len(entries) * (20 if big else 12) + size
    for tag, kind, values in entries:
        content = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else number}", *values)
        field = content.ljust(size, b"\0")
        if len(content) > size:
            field, outside = struct.pack(f"{order}{number}", end + len(outside)), outside + content
        directory += struct.pack(f"{order}HH{number}", tag, kind, len(values)) + field
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, behind)
        count = struct.pack(f"{order}Q", len(entries))
    else:
        head = (mark + struct.pack(f"{order}HI", 42, behind)).ljust(16, b"\0")
        count = struct.pack(f"{order}H", len(entries))
    path.write_bytes(head + b"".join(tiles) + count + directory + bytes(size) + outside)
    return path


def equals_the_whole(path: Path, bits: int | None = None) -> None:
    whole = read_photo(path, bits=bits)
    part = Windows(path, bits)
    assert part.size == size_of(path) == whole.shape[:2]
    for top, bottom in ((0, len(whole)), (0, 1), (len(whole) - 1, len(whole)), (37, 101), (64, 128)):
        assert np.array_equal(part.read(top, bottom), whole[top:bottom]), (top, bottom)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("rows", [1, 16, 1000])
def test_a_tiff_in_strips_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, mode: str, rows: int
) -> None:
    if compression == "jpeg" and (mode in ("P", "RGBA") or rows == 1):
        pytest.skip("no such file")
    monkeypatch.setattr(windows, "DECODED", 40 * WIDTH if rows < 1000 else windows.DECODED)
    path = tiff(tmp_path / "a.tif", photo(mode), compression, {ROWS_PER_STRIP: rows})
    assert open_parts(path) is not None
    equals_the_whole(path)


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<")])
@pytest.mark.parametrize("side", [16, 64, 256])
def test_a_tiff_in_tiles_is_read_in_parts(tmp_path: Path, big: bool, order: str, side: int) -> None:
    path = tiled(tmp_path / "a.tif", np.asarray(photo()), side, big=big, order=order)
    equals_the_whole(path)
    first = Image.open(open_parts(path).cut(0, 1, 0, 1))
    assert first.size == (min(side, WIDTH), min(side, HEIGHT))


def test_one_uncompressed_strip_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl.data.tiff.ROW_BYTES", 2000)
    path = tiff(tmp_path / "a.tif", photo(), "raw", {ROWS_PER_STRIP: HEIGHT})
    assert open_parts(path).part == (3, WIDTH)
    equals_the_whole(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["tif", "jpg", "png", "webp"])
def test_windows_are_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tiff(path, photo(), "tiff_lzw", {ROWS_PER_STRIP: 16, 274: orientation})
    else:
        photo().save(path, exif=exif)
    equals_the_whole(path)


@pytest.mark.parametrize("bits", [None, 12, 16])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_of_16_bits_the_same_count_in_all_windows(tmp_path: Path, bits: int | None, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    photo("I;16").save(path)
    equals_the_whole(path, bits)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("P", "png"), ("L", "jpg"), ("CMYK", "jpg"), ("P", "gif"), ("RGB", "bmp")]
)
def test_other_formats_are_decoded_once(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    photo(mode).save(path)
    equals_the_whole(path)


def test_a_transparent_colour_is_white_in_every_window(tmp_path: Path) -> None:
    photo("P").save(tmp_path / "a.png", transparency=3)
    equals_the_whole(tmp_path / "a.png")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:20], lambda b: b"no photo", lambda b: b""])
@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: Callable[[bytes], bytes], suffix: str) -> None:
    content = BytesIO()
    photo().save(content, "TIFF" if suffix == "tif" else "JPEG")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(damage(content.getvalue()))
    with pytest.raises(UserError, match=r"a\.(tif|jpg): .*; replace it or leave it out"):
        Windows(path).read(0, HEIGHT)


def test_a_large_photo_in_a_format_decoded_as_a_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_WHOLE", HEIGHT * WIDTH - 1)
    photo().save(tmp_path / "a.png")
    with pytest.raises(UserError, match="TIFF in tiles"):
        Windows(tmp_path / "a.png")
    photo().save(tmp_path / "a.tif")
    Windows(tmp_path / "a.tif").read(0, 1)


def test_pillows_limit_is_restored(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    photo().save(tmp_path / "a.tif")
    Windows(tmp_path / "a.tif").read(0, 1)
    with pytest.raises(UserError):
        size_of(tmp_path / "absent.jpg")
    assert before == Image.MAX_IMAGE_PIXELS
