"""The reader of photos: every format as a viewer shows it, and one line for files that are not photos."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ppl.data import check
from ppl.data.dataset import Dataset
from ppl.data.photos import MAX_PIXELS, exif_orientation, photo_size, read_photo
from ppl.jobs.command import explain
from ppl.jobs.errors import UserError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (11, 17, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]
SMOOTH = np.stack([*np.meshgrid(np.arange(40) * 6, np.arange(24) * 10), np.full((24, 40), 90)], -1).astype(np.uint8)
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
NOISE = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of any kind, also of those that Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def png_rows(values: np.ndarray) -> bytes:
    """Unfiltered rows of a PNG from numbers of one or two bytes."""
    stored = values.astype(values.dtype.newbyteorder(">"))
    return b"".join(b"\0" + row.tobytes() for row in stored)


BROKEN = {
    **{f"{form} cut at {share}": (content := encoded(NOISE, form))[: int(len(content) * share)]
       for form in FORMATS for share in (0.01, 0.5, 0.9)},
    "empty": b"", "one byte": b"\xff", "text": b"no photo", "html": b"<!doctype html><html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "eps": encoded(COLOURS, "EPS"), "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100), "zip": b"PK\3\4" + bytes(50),
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "start of a JPEG": b"\xff\xd8\xff\xe0", "JPEG without pixels": b"\xff\xd8\xff\xd9",
    "PNG signature": b"\x89PNG\r\n\x1a\n",
    "PNG of width 0": png(0, 5, 8, 2, b""), "PNG without data": png(9, 9, 8, 2, b""),
    "PNG with a wrong checksum": encoded(COLOURS, "PNG")[:30] + b"\0\0\0\0" + encoded(COLOURS, "PNG")[34:],
    "DDS": encoded(COLOURS, "DDS"), "TGA": encoded(COLOURS, "TGA"), "icon": encoded(Image.new("RGB", (16, 16)), "ICO"),
    "32-bit TIFF": encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
    "float TIFF": encoded(Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"), "random": RNG.bytes(3000),
    "20,000 x 20,000": png(20_000, 20_000, 8, 2, b""), "20,000 x 210": png(20_000, 210, 8, 0, bytes(20_001 * 210)),
    "decompression bomb": png(2**31 - 1, 2**31 - 1, 1, 0, b""),
}  # fmt: skip
PLACES = ("absent", "folder", "loop", "dangling")
HEADS = ("empty", "start of a JPEG", "eps", "20,000 x 20,000", "decompression bomb", "loop")


@pytest.mark.parametrize(
    ("read", "kind"), [*product([read_photo], [*BROKEN, *PLACES]), *product([photo_size, exif_orientation], HEADS)]
)
def test_a_file_that_is_not_a_photo_is_refused_by_its_header_where_that_suffices(tmp_path, refused, spoil, read, kind):
    spoil(tmp_path / "a.jpg", BROKEN.get(kind, kind))
    text = refused(read, tmp_path / "a.jpg", lines=1)
    assert re.search(r"a.jpg: .*; (replace it|make the photo smaller|moved or renamed)", text)


@pytest.mark.parametrize("kind", ["PNG cut at 0.5", "20,000 x 20,000", *PLACES])
@pytest.mark.parametrize("image_id", ["t2", "v1"])
def test_the_check_reports_photos_that_cannot_be_read(root, checking, refused, spoil, kind, image_id):
    spoil(root / "JPEGImages" / f"{image_id}.png", BROKEN.get(kind, kind))
    refused(check.main, checking, f"JPEGImages/{image_id}", "1 fault", lines=2)


@pytest.mark.parametrize("read", [read_photo, photo_size, exif_orientation])
def test_an_unreadable_file_is_named_and_a_fault_of_the_caller_stays_a_traceback(tmp_path, monkeypatch, read):
    def forbidden(*_args, **_options):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.jpg"))

    monkeypatch.setattr(Image, "open", forbidden)  # root may read every file
    with pytest.raises(UserError, match=r"a.jpg: not a readable photo .*Permission denied"):
        read(tmp_path / "a.jpg")
    monkeypatch.undo()
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg")
    with pytest.raises(TypeError):
        read_photo(tmp_path / "a.jpg", max_side="large")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_is_damaged_after_the_check_stops_every_step(root, steps, workers):
    from ppl.cam import export
    from ppl.classify import train

    hardware = replace(steps.training.hardware, workers=workers)
    (root / "JPEGImages" / "t2.png").write_bytes(encoded(NOISE, "PNG")[:9000])
    for step, of_step in ((export, steps.exporting), (train, steps.training)):
        with pytest.raises((UserError, RuntimeError)) as error:  # torch wraps the error of a worker process
            step.main(replace(of_step, hardware=hardware))
        assert re.fullmatch(r"[^\n]*t2.png: not a readable photo[^\n]*; [^\n]*", explain(error.value))
    assert not steps.training.out.exists()  # the curves for TensorBoard do


def test_two_photos_of_one_id_are_refused_and_other_files_ignored(root, checking, refused):
    (root / "JPEGImages" / "t1.png").rename(root / "JPEGImages" / "t1.PNG")
    for name in ("t1.txt", "t1.xml", "t1.zip", ".DS_Store", "t1.png.bak"):
        (root / "JPEGImages" / name).touch()
    check.main(checking)
    checking.out.unlink()
    assert Dataset.open(root).photo("t1").name == "t1.PNG"
    Image.fromarray(COLOURS).save(root / "JPEGImages" / "t1.webp")
    refused(check.main, checking, "t1.PNG, t1.webp have the same id; keep one")


def photo_of_stated_size(path: Path) -> np.ndarray:
    photo = read_photo(path)
    assert photo.dtype == np.uint8
    assert photo.shape == (*photo_size(path), 3)
    assert read_photo(path, upright=False).shape == (*photo_size(path, upright=False), 3)
    assert exif_orientation(path) in range(1, 9)
    return photo


@pytest.fixture
def as_read(tmp_path: Path) -> Callable[[bytes], np.ndarray]:
    """A photo from its bytes; the suffix does not matter, and the header gives the same size."""
    path = tmp_path / "a.jpg"
    return lambda content: path.write_bytes(content) and photo_of_stated_size(path)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("form", "options"),
    [*((form, {}) for form in ("PNG", "TIFF", "BMP", "PPM", "JPEG")), ("WEBP", {"lossless": True}),
     *(("JPEG", options) for options in ({"progressive": True}, {"subsampling": 2}, {"quality": 30}))],
)  # fmt: skip
def test_colours_and_grey_are_read_exactly(as_read, form, mode, options):
    image = Image.fromarray(COLOURS).convert(mode)
    content = encoded(image, form, **options)
    expected = Image.open(io.BytesIO(content)) if form == "JPEG" else image
    np.testing.assert_array_equal(as_read(content), np.array(expected.convert("RGB")))


GREY16 = RNG.integers(0, 65536, GREY.shape).astype(np.uint16)
RGB16 = RNG.integers(0, 65536, COLOURS.shape).astype(np.uint16)
SIZE = GREY.shape[::-1]
DEEP = {
    "PNG": encoded(Image.fromarray(GREY16), "PNG"), "TIFF": encoded(Image.fromarray(GREY16), "TIFF"),
    "LZW": encoded(Image.fromarray(GREY16), "TIFF", compression="tiff_lzw"),
    "PPM": encoded(Image.fromarray(GREY16.astype(np.int32)), "PPM"),
    "PGM": b"P5\n%d %d\n65535\n" % SIZE + GREY16.astype(">u2").tobytes(),
    "big endian": encoded(Image.frombytes("I;16B", SIZE, GREY16.astype(">u2").tobytes()), "TIFF"),
    "RGB PNG": png(*SIZE, 16, 2, png_rows(RGB16)),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEEP)
def test_16_bits_are_reduced_to_the_upper_8(as_read, kind):
    expected = RGB16 if kind == "RGB PNG" else np.repeat(GREY16[..., None], 3, axis=2)
    np.testing.assert_array_equal(as_read(DEEP[kind]), expected >> 8)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_any_depth_spans_black_to_white(as_read, depth):
    ramp = np.arange(2 ** min(depth, 8)) * (257 if depth == 16 else 1)
    if depth < 8:
        bits = np.unpackbits(ramp.astype(np.uint8)[:, None], axis=1)[:, -depth:]
        rows = b"\0" + np.packbits(bits.reshape(-1)).tobytes()
    else:
        rows = png_rows(ramp.astype(np.uint8 if depth == 8 else np.uint16)[None])
    photo = as_read(png(len(ramp), 1, depth, 0, rows))
    np.testing.assert_array_equal(photo[0], np.round(np.linspace([0] * 3, [255] * 3, len(ramp))))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_converted_to_rgb(as_read, form):
    image = Image.fromarray(SMOOTH)
    options = {"quality": 95} if form == "JPEG" else {}
    photo = as_read(encoded(image.convert("CMYK"), form, **options))
    assert np.abs(photo.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("TIFF", "LA"), ("WEBP", "RGBA")]
)
def test_transparency_is_composited_on_white(as_read, form, mode):
    image = Image.fromarray(COLOURS).convert(mode)
    opaque = np.array(image.convert("RGB")).astype(float)
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:3], alpha[3:6] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    photo = as_read(encoded(image, form, **options))
    assert (photo[:3] == 255).all()
    np.testing.assert_array_equal(photo[6:], opaque[6:])
    np.testing.assert_allclose(photo[3:6], (opaque * 128 / 255 + 255 * 127 / 255)[3:6], atol=1)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palette_is_converted_and_its_transparent_colour_is_white(as_read, form):
    image = Image.frombytes("P", (4, 2), bytes([0, 1, 2, 3] * 2))
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    opaque = as_read(encoded(image, form))
    assert opaque[0].tolist() == [[10, 20, 30], [200, 0, 0], [0, 200, 0], [0, 0, 200]]
    clear = as_read(encoded(image, form, transparency=1))
    assert clear[0].tolist() == [[10, 20, 30], [255, 255, 255], [0, 200, 0], [0, 0, 200]]


def test_the_transparent_colour_of_a_png_is_white(as_read):
    pixels = np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8)
    clear = (b"tRNS", struct.pack(">HHH", 1, 2, 3))
    assert as_read(png(2, 1, 8, 2, png_rows(pixels.reshape(1, 6)), clear)).tolist() == [[[255] * 3, [9] * 3]]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG", "MPO"])
def test_only_the_first_frame_is_read(as_read, form):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    options = {"quality": 95} if form == "MPO" else {}
    photo = as_read(encoded(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert photo.shape == (8, 16, 3)
    assert np.abs(photo.astype(int) - [255, 0, 0]).max() < 6


TURNS = Image.Transpose
STORED = {1: None, 2: TURNS.FLIP_LEFT_RIGHT, 3: TURNS.ROTATE_180, 4: TURNS.FLIP_TOP_BOTTOM, 5: TURNS.TRANSPOSE}
STORED |= {6: TURNS.ROTATE_90, 7: TURNS.TRANSVERSE, 8: TURNS.ROTATE_270}


@pytest.mark.parametrize("orientation", [*STORED, 0, 9, 65535])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_photo_is_turned_upright_and_an_invalid_orientation_ignored(as_read, form, orientation):
    turn = STORED.get(orientation)
    stored = Image.fromarray(SMOOTH) if turn is None else Image.fromarray(SMOOTH).transpose(turn)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(form, {})
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = as_read(encoded(stored, form, exif=exif, **options))
    assert np.abs(photo.astype(int) - SMOOTH).max() <= (8 if form == "JPEG" else 0)


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0MM\0*", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + RNG.bytes(64)]
)
def test_a_damaged_exif_block_is_ignored(as_read, block):
    assert as_read(encoded(COLOURS, "JPEG", exif=block)).shape == COLOURS.shape


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (20_000, 200), (1, MAX_PIXELS // 2)], ids=str)
def test_the_smallest_and_the_longest_photos_pass_the_check(root, checking, size):
    (root / "JPEGImages" / "e1.png").write_bytes(encoded(Image.new("L", size, 7), "PNG"))
    check.main(checking)
    assert read_photo(root / "JPEGImages" / "e1.png").shape == (*size[::-1], 3)


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_arbitrary_bytes_are_a_photo_or_one_line(valid_or_one_line, content):
    valid_or_one_line(photo_of_stated_size, content)


WHOLE = [encoded(NOISE[:9, :7], form) for form in FORMATS]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=150)
def test_a_photo_with_changed_bytes_is_a_photo_or_one_line(valid_or_one_line, content, changes):
    changed = bytearray(content)
    for place, value in changes:
        changed[place % len(changed) if place % 3 else place % 64] = value  # most often in the header
    valid_or_one_line(photo_of_stated_size, bytes(changed))
