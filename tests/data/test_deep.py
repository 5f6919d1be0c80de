"""Photos of 16 bits: a camera's 12 bits span black to white, alike for all photos of a dataset."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppl.data import bits, check
from ppl.data.deep import BIT_DEPTHS, least_bits
from ppl.data.lists import write_lists
from ppl.data.photos import highest_value, read_photo, upright_rgb
from ppl.data.settings import Folder
from ppl.data.sources import folder
from ppl.jobs.errors import UserError

RNG = np.random.default_rng(0)
H, W = 11, 17
OPAQUE = np.full((H, W, 1), 65535, np.uint16)


def values_of(depth: int, channels: int) -> np.ndarray:
    """Samples that use `depth` bits."""
    values = RNG.integers(0, 2**depth, (H, W, channels)).astype(np.uint16)
    values[0, 0] = 2**depth - 1
    return values


def png16(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits per channel, which Pillow writes of greyscale alone."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff16(values: np.ndarray, order: str = "<", photometric: int = 2, orientation: int = 1, planar: int = 1) -> bytes:
    """An uncompressed TIFF of 16 bits per channel; with `planar` 2 its header says that these are in planes."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    tags = [(256, 4, width), (257, 4, height), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (274, 3, orientation),
            (277, 3, channels), (278, 4, height), (279, 4, len(pixels)), (284, 3, planar)]  # fmt: skip
    after = 8 + len(pixels)
    depths = struct.pack(f"{order}{channels}H", *[16] * channels)
    pad = depths + bytes(-len(depths) % 4)
    tags.append((258, 3, 16) if channels == 1 else (258, 3, (channels, after)))
    if channels == 4:
        tags.append((338, 3, 2))
    body = struct.pack(f"{order}H", len(tags))
    for tag, kind, value in sorted(tags):
        if isinstance(value, tuple):
            body += struct.pack(f"{order}HHII", tag, kind, *value)
        elif kind == 3:
            body += struct.pack(f"{order}HHIHH", tag, kind, 1, value, 0)
        else:
            body += struct.pack(f"{order}HHII", tag, kind, 1, value)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, after + len(pad))
    return head + pixels + pad + body + struct.pack(f"{order}I", 0)


def pillow(values: np.ndarray, form: str, **options: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0]).save(buffer, form, **options)
    return buffer.getvalue()


def pnm(values: np.ndarray) -> bytes:
    kind = b"P6" if values.shape[2] == 3 else b"P5"
    return b"%s %d %d 65535\n" % (kind, W, H) + values.astype(">u2").tobytes()


KINDS = {
    "PNG grey": (1, png16), "PNG colour": (3, png16), "PGM": (1, pnm), "PPM": (3, pnm),
    "PNG grey and alpha": (1, lambda values: png16(np.dstack([values, OPAQUE]))),
    "PNG colour and alpha": (3, lambda values: png16(np.dstack([values, OPAQUE]))),
    "TIFF grey": (1, lambda values: tiff16(values, photometric=1)), "TIFF colour": (3, tiff16),
    "TIFF colour, big endian": (3, lambda values: tiff16(values, ">")),
    "TIFF colour and alpha": (3, lambda values: tiff16(np.dstack([values, OPAQUE]))),
    "TIFF packed": (1, lambda values: pillow(values, "TIFF", compression="tiff_lzw")),
}  # fmt: skip


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return tmp_path / "a.jpg"  # the suffix does not matter


def test_the_least_bits_hold_the_largest_value_and_no_fewer_do():
    for highest in (0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535):
        depth = least_bits(highest)
        assert highest < 2**depth
        assert all(highest >= 2**fewer for fewer in BIT_DEPTHS if fewer < depth)


@pytest.mark.parametrize("depth", BIT_DEPTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_upper_8_of_the_bits_in_use_are_read_in_every_format(photo, kind, depth):
    channels, encode = KINDS[kind]
    values = values_of(depth, channels)
    photo.write_bytes(encode(values))
    expected = np.broadcast_to(values >> (depth - 8), (H, W, 3))
    np.testing.assert_array_equal(read_photo(photo), expected)
    np.testing.assert_array_equal(read_photo(photo, bits=16), np.broadcast_to(values >> 8, (H, W, 3)))
    assert highest_value(photo) == 2**depth - 1


def test_a_12_bit_photo_spans_black_to_white(photo):
    ramp = np.linspace(0, 4095, 64 * 96).reshape(64, 96).astype(np.uint16)
    Image.fromarray(ramp).save(photo, "TIFF")
    read = read_photo(photo)
    assert (read.min(), read.max()) == (0, 255)


def test_a_file_that_states_its_depth_is_read_by_it_however_dark(photo):
    values = np.full((H, W, 1), 1000, np.uint16)
    photo.write_bytes(b"P5 %d %d 4095\n" % (W, H) + values.astype(">u2").tobytes())
    assert highest_value(photo) is None
    assert set(read_photo(photo, bits=10).flat) == {1000 * 255 // 4095}


def test_where_0_is_white_values_are_inverted_within_the_bits_in_use(photo):
    values = values_of(12, 1)
    photo.write_bytes(tiff16(values, photometric=0))
    np.testing.assert_array_equal(read_photo(photo)[..., 0], (4095 - values[..., 0]) >> 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_of_16_bits_is_composited_on_white(photo, channels):
    values = values_of(12, channels)
    alpha = OPAQUE.copy()
    alpha[:3] = 0
    photo.write_bytes(png16(np.dstack([values, alpha])))
    expected = np.broadcast_to(values >> 4, (H, W, 3)).copy()
    expected[:3] = 255
    np.testing.assert_array_equal(read_photo(photo), expected)
    photo.write_bytes(png16(values, (b"tRNS", struct.pack(f">{channels}H", *values[4, 4]))))
    clear = (values == values[4, 4]).all(axis=2)
    read = read_photo(photo)
    assert (read[clear] == 255).all()
    np.testing.assert_array_equal(read[~clear], np.broadcast_to(values >> 4, (H, W, 3))[~clear])


def test_a_photo_of_16_bits_is_turned_upright_as_one_of_8(photo):
    values = values_of(12, 3)
    photo.write_bytes(tiff16(values, orientation=6))
    np.testing.assert_array_equal(read_photo(photo), np.rot90(values >> 4, -1))
    np.testing.assert_array_equal(read_photo(photo, upright=False), values >> 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.write_bytes(png16(values, (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))))
    np.testing.assert_array_equal(read_photo(photo), np.rot90(values >> 4, -1))


@pytest.mark.parametrize("order", "<>")
def test_channels_of_16_bits_in_separate_planes_are_refused_rather_than_read_as_noise(photo, order):
    photo.write_bytes(tiff16(values_of(16, 3), order, planar=2))
    with pytest.raises(UserError, match="16-bit channels in separate planes; save it with interleaved channels"):
        read_photo(photo)
    assert highest_value(photo) is None


def test_an_open_greyscale_image_is_read_as_its_file(photo):
    photo.write_bytes(png16(values_of(12, 1)))
    with Image.open(photo) as image:
        np.testing.assert_array_equal(np.array(upright_rgb(image)), read_photo(photo))


def test_values_beyond_the_bits_asked_for_are_refused(photo):
    photo.write_bytes(png16(values_of(14, 3)))
    with pytest.raises(UserError, match=r"values up to 16,383 need more than the 12 bits of data.folder.bits"):
        read_photo(photo, bits=12)


def test_a_dark_photo_is_scaled_as_its_neighbours():
    assert dict(bits.decide({"a": 4095, "dark": 300, "black": 20}, "auto").bits) == {"a": 12, "dark": 12, "black": 12}
    assert dict(bits.decide({"a": 65535, "dark": 4096}, "auto").bits) == {"a": 16, "dark": 16}


def test_photos_that_would_be_nearly_black_are_of_another_camera_and_the_check_says_it():
    depths = bits.decide({"scan": 65535, "b": 4095, "c": 900}, "auto")
    assert dict(depths.bits) == {"scan": 16, "b": 12, "c": 12}
    assert depths.notes == (
        "2 photos have 16 bits and values up to 4,095: read as 12-bit (data.folder.bits decides)",
        "1 photo has 16 bits and values up to 65,535: read as 16-bit (data.folder.bits decides)",
    )
    assert [w.place for w in depths.warnings] == ["photo 'b'", "photo 'c'"]
    assert "set data.folder.bits to 16" in depths.warnings[0].remedy


def test_a_number_is_for_all_and_each_for_itself():
    highest = {"scan": 65535, "b": 4095, "c": 900}
    assert set(bits.decide(highest, 16).bits.values()) == {16}
    assert dict(bits.decide(highest, "each").bits) == {"scan": 16, "b": 12, "c": 10}
    assert [fault.place for fault in bits.decide(highest, 12).faults] == ["photo 'scan'"]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 65535)), st.sampled_from(["auto", "each"]))
def test_every_value_fits_into_the_bits_that_are_decided(highest, setting):
    depths = bits.decide(highest, setting)
    assert depths.bits.keys() == highest.keys()
    assert all(highest[image_id] < 2**depth for image_id, depth in depths.bits.items())
    assert not depths.faults


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A dataset folder of one photo of 8 bits and three of 12, one of them dark and one larger."""
    root = tmp_path / "deep"
    (root / "JPEGImages").mkdir(parents=True)
    labels = {"a": ["cat"], "dark": ["dog"], "large": ["cat"], "v": []}
    write_lists(root, ["cat", "dog"], labels, {"train": ["a", "dark", "large"], "val": ["v"], "test": ["v"]})
    for name, top, size in (("a", 4096, 70), ("dark", 300, 70), ("large", 4000, 140)):
        values = RNG.integers(0, top, (size, size, 3)).astype(np.uint16)
        values[0, 0] = top - 1
        (root / "JPEGImages" / f"{name}.png").write_bytes(png16(values))
    Image.fromarray(RNG.integers(0, 256, (70, 70, 3), dtype=np.uint8)).save(root / "JPEGImages" / "v.jpg")
    return root


@pytest.mark.parametrize("max_side", [None, 100])
def test_photos_of_16_bits_reach_every_step_with_8_and_the_network_is_used_alike(deep, tmp_path, max_side):
    out = tmp_path / "data"
    out.mkdir()
    folder.prepare(Folder(path=str(deep), max_side=max_side), out, splits=("train", "val", "test"), workers=0)
    for path in (deep / "JPEGImages").iterdir():
        copy = next((out / "JPEGImages").glob(f"{path.stem}.*"))
        if copy.suffix == ".png" or path.suffix == ".jpg":
            np.testing.assert_array_equal(read_photo(copy), read_photo(path, max_side=max_side, bits=12))
        assert highest_value(copy) is None
    assert (out / "JPEGImages" / "v.jpg").is_symlink()
    assert bits.recorded_bits(out) == 12  # for later photos: ppl.predict


def test_the_check_says_how_photos_of_16_bits_are_read(deep, capsys):
    settings = check.Settings(deep, workers=0)
    check.main(settings)
    shown = capsys.readouterr().out
    assert "3 photos have 16 bits and values up to 4,095: read as 12-bit" in shown
    assert "nearly black" not in shown
    check.main(check.Settings(deep, workers=0, bits=16))
    assert "3 photos are nearly black, nearly white or of one colour" in capsys.readouterr().out
    with pytest.raises(UserError, match="need more than 10 bits") as error:
        check.main(check.Settings(deep, workers=0, bits=10))
    assert "not a readable photo" not in str(error.value)
