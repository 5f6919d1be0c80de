"""Masks and label maps of another size, mode or range: refused by the check and by each step that opens them."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ppl.data import check
from ppl.data.crops import Augmentation, TrainingCrops
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask, write_mask
from ppl.jobs.errors import UserError
from ppl.measure import label_maps as evaluate

SOUND = np.array([[0, 1, 2, 255] * 2] * 6, dtype=np.uint8)  # of a photo of 8x6 and two classes


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def grey_png(depth: int) -> bytes:
    """Ids 0 and 1 as a grey PNG of less than 8 bits, of 8x6."""
    bits = np.tile(np.arange(8) % 2, (6, 1)).astype(np.uint8)
    packed = np.packbits(np.unpackbits(bits[..., None], axis=2)[..., -depth:].reshape(6, -1), axis=1)
    header = struct.pack(">IIBBBBB", 8, 6, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + r.tobytes() for r in packed))), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def huge() -> bytes:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )


GREY = Image.fromarray(SOUND)
UNREADABLE = {
    **{mode: encoded(GREY.convert(mode)) for mode in ("1", "LA", "RGB", "RGBA")},
    "16 bits": encoded(SOUND.astype(np.uint16)),
    "palette with transparency": encoded(GREY.convert("RGBA")),
    **{f"grey of {depth} bits": grey_png(depth) for depth in (1, 2, 4)},
    **{form: encoded(GREY, form) for form in ("JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")},
    "empty": b"",
    "text": b"no mask",
    "cut": encoded(np.random.default_rng(0).integers(0, 3, (60, 80), dtype=np.uint8))[:600],
    "signature": b"\x89PNG\r\n\x1a\n",
    "20,000 x 20,000": huge(),
}
OTHER_SIZE = {
    "turned": SOUND.T, "wider": np.zeros((6, 9), np.uint8), "lower": np.zeros((5, 8), np.uint8),
    "one pixel": np.zeros((1, 1), np.uint8), "half": SOUND[::2, ::2], "twice": SOUND.repeat(2, 0).repeat(2, 1),
}  # fmt: skip
OTHER_IDS = [3, 4, 20, 127, 128, 253, 254]


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("image", ["t1", "v1"])
def test_what_is_no_mask_is_a_fault_of_the_check(root, checking, refused, content, image):
    (root / "SegmentationClass" / f"{image}.png").write_bytes(content)
    refused(check.main, checking, f"SegmentationClass/{image}.png", "1 fault")


@pytest.mark.parametrize("mask", OTHER_SIZE.values(), ids=OTHER_SIZE)
def test_a_mask_of_another_size_is_a_fault_of_the_check(root, checking, refused, mask):
    write_mask(root / "SegmentationClass" / "v1.png", mask)
    refused(check.main, checking, "SegmentationClass/v1.png", f"{mask.shape[1]}x{mask.shape[0]}", "8x6")


@pytest.mark.parametrize("number", OTHER_IDS)
def test_an_id_of_no_class_is_a_fault_of_the_check(root, checking, refused, number):
    write_mask(root / "SegmentationClass" / "v1.png", np.where(SOUND == 1, number, SOUND))
    refused(check.main, checking, "SegmentationClass/v1.png", f"holds id {number}")


def test_masks_in_no_folder_are_a_fault_of_the_check(root, checking, refused):
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    (root / "SegmentationClass").rmdir()
    (root / "SegmentationClass").touch()
    refused(check.main, checking, "SegmentationClass", "is no folder")


@pytest.mark.parametrize("make", ["folder", "loop", "nothing"])
def test_a_mask_that_is_no_file_is_a_fault_of_the_check(root, checking, refused, make):
    path = root / "SegmentationClass" / "v1.png"
    path.unlink()
    if make == "folder":
        path.mkdir()
    elif make == "loop":
        path.symlink_to(path)
    refused(check.main, checking, "SegmentationClass/v1.png", "1 fault")


@pytest.fixture
def measuring(root, tmp_path) -> evaluate.Settings:
    """Settings of measuring sound predictions."""
    (tmp_path / "predicted").mkdir()
    write_mask(tmp_path / "predicted" / "v1.png", np.where(SOUND == 255, 0, SOUND))
    return evaluate.Settings(
        data=root, split="val", predictions=(tmp_path / "predicted",), name="val", out=tmp_path / "iou.csv"
    )


WRONG = {**UNREADABLE, **{k: encoded(v) for k, v in OTHER_SIZE.items()}}
WRONG |= {f"id {number}": encoded(np.full_like(SOUND, number)) for number in OTHER_IDS}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("place", ["data/SegmentationClass", "predicted"])
def test_a_wrong_map_is_not_measured(tmp_path, measuring, refused, content, place):
    (tmp_path / place / "v1.png").write_bytes(content)
    refused(evaluate.main, measuring, "v1.png")


def test_a_prediction_that_is_ignored_is_not_measured(tmp_path, measuring, refused):
    write_mask(tmp_path / "predicted" / "v1.png", SOUND)
    refused(evaluate.main, measuring, "predicted/v1.png", "id 255")


@pytest.mark.parametrize(
    "content", [*UNREADABLE.values(), *map(encoded, OTHER_SIZE.values())], ids=[*UNREADABLE, *OTHER_SIZE]
)
def test_a_wrong_map_is_not_trained_on(root, tmp_path, content):
    path = tmp_path / "t1.png"
    path.write_bytes(content)
    views = TrainingCrops(
        [Dataset.open(root).photo("t1")], [path], Augmentation(32, scale=(0.5, 1.5)), mean=[0] * 3, std=[1] * 3
    )
    with pytest.raises(UserError, match=r"t1.png: .*; ") as error:
        views[0, 0]
    assert len(str(error.value).splitlines()) == 1


def test_a_sound_map_is_trained_on(root):
    dataset = Dataset.open(root)
    views = TrainingCrops(
        [dataset.photo("t1")], [dataset.mask("t1")], Augmentation(32, scale=(0.5, 1.5)), mean=[0] * 3, std=[1] * 3
    )
    image, labels = views[0, 0]
    assert image.shape == (3, 32, 32)
    assert set(torch.unique(labels).tolist()) <= {0, 1, 2, 255}


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_any_depth_holds_ids(tmp_path, bits):
    ids = np.arange(2**bits, dtype=np.uint8)[None]
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette([5, 5, 5] * 2**bits)
    (tmp_path / "a.png").write_bytes(encoded(image, bits=bits))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), ids)


@given(arrays(np.uint8, (6, 8), elements=st.integers(0, 255)), st.integers(1, 254))
@settings(max_examples=40)
def test_a_mask_is_sound_if_and_only_if_all_its_ids_are_classes(tmp_path_factory, mask, classes):
    root = tmp_path_factory.mktemp("ids")
    (root / "JPEGImages").mkdir()
    (root / "SegmentationClass").mkdir()
    Image.new("RGB", (8, 6)).save(root / "JPEGImages" / "a.png")
    write_mask(root / "SegmentationClass" / "a.png", mask)
    dataset = Dataset(root, tuple(map(str, range(classes))), {})
    faults = check.check_image(dataset, "a", with_mask=True).faults
    assert bool(faults) == bool(((mask > classes) & (mask < 255)).any())


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=40)
def test_any_bytes_are_a_mask_or_one_line(tmp_path_factory, one_line, content, as_png):
    path = tmp_path_factory.getbasetemp() / "mask.png"
    path.write_bytes(encoded(SOUND)[:33] * as_png + content)
    try:
        mask = read_mask(path)
    except UserError as error:
        one_line(error, f"{path}: ")
    else:
        assert mask.dtype == np.uint8
