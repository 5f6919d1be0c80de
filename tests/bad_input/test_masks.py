"""The reader of masks and label maps: other formats, sizes and ids are refused by the check and by every step."""

import io
import struct
import zlib
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ppl.data import check
from ppl.data.checks.masks import mask_faults
from ppl.data.crops import Augmentation, TrainingCrops
from ppl.data.dataset import Dataset
from ppl.data.masks import mask_size, read_mask, write_mask
from ppl.measure import label_maps

SOUND = np.array([[0, 1, 2, 255] * 2] * 6, dtype=np.uint8)  # for a photo of 8x6 and two classes
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def grey_png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """A greyscale PNG of any depth."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return SIGNATURE + b"".join(chunks)


GREY = Image.fromarray(SOUND)
UNREADABLE = {
    **{mode: encoded(GREY.convert(mode)) for mode in ("1", "LA", "RGB", "RGBA")},
    **{form: encoded(GREY, form) for form in ("JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")},
    **{f"{depth} bits of grey": grey_png(8, 6, depth, (b"\0" + bytes(depth)) * 6) for depth in (1, 2, 4)},
    "16 bits": encoded(SOUND.astype(np.uint16)), "empty": b"", "text": b"no mask", "signature": SIGNATURE,
    "cut": encoded(np.random.default_rng(0).integers(0, 3, (60, 80), dtype=np.uint8))[:600],
    "header only": encoded(GREY)[:33], "20,000 x 20,000": grey_png(20_000, 20_000, 8, b""),
}  # fmt: skip
OTHER_SIZE = {
    "transposed": SOUND.T, "wider": np.zeros((6, 9), np.uint8), "lower": np.zeros((5, 8), np.uint8),
    "one pixel": np.zeros((1, 1), np.uint8), "half": SOUND[::2, ::2], "double": SOUND.repeat(2, 0).repeat(2, 1),
}  # fmt: skip
EXAMPLES = {
    "mode RGB": UNREADABLE["RGB"], "cut": UNREADABLE["cut"], "another size": encoded(SOUND.T),
    "another id": encoded(np.full_like(SOUND, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*UNREADABLE, "absent", "folder", "loop"])
def test_a_file_that_is_not_a_mask_is_refused(tmp_path, refused, spoil, kind):
    path = tmp_path / "a.png"
    spoil(path, UNREADABLE.get(kind, kind))
    refused(read_mask, path, f"{path}: ", lines=1)


@pytest.mark.parametrize("mask", OTHER_SIZE.values(), ids=OTHER_SIZE)
def test_the_check_reports_a_mask_of_another_size(root, checking, refused, mask):
    write_mask(root / "SegmentationClass" / "v1.png", mask)
    refused(check.main, checking, "SegmentationClass/v1.png", f"{mask.shape[1]}x{mask.shape[0]}", "8x6")


@pytest.mark.parametrize("kind", [*EXAMPLES, "absent", "folder", "loop"])
@pytest.mark.parametrize("image_id", ["t1", "v1"])
def test_the_check_reports_broken_masks(root, checking, refused, spoil, kind, image_id):
    spoil(root / "SegmentationClass" / f"{image_id}.png", EXAMPLES.get(kind, kind))
    refused(check.main, checking, f"SegmentationClass/{image_id}.png", "1 fault")


def test_the_check_reports_a_file_in_place_of_the_folder_of_masks(root, checking, refused):
    (root / "SegmentationClass").rename(root / "aside")
    (root / "SegmentationClass").touch()
    refused(check.main, checking, "SegmentationClass", "not a folder")


@pytest.mark.parametrize(
    ("place", "kind"), [*product(("data/SegmentationClass", "predicted"), EXAMPLES), ("predicted", "ignored pixels")]
)
def test_broken_maps_are_not_measured(root, tmp_path, refused, place, kind):
    maps, out = tmp_path / "predicted", tmp_path / "iou.csv"
    maps.mkdir()
    write_mask(maps / "v1.png", np.where(SOUND == 255, 0, SOUND))
    (tmp_path / place / "v1.png").write_bytes(EXAMPLES.get(kind, encoded(SOUND)))
    measuring = label_maps.Settings(data=root, split="val", predictions=(maps,), name="val", out=out)
    refused(label_maps.main, measuring, *(["predicted/v1.png", "id 255"] if kind == "ignored pixels" else ["v1.png"]))


def crops(root, labels) -> TrainingCrops:
    photo = Dataset.open(root).photo("t1")
    return TrainingCrops([photo], [labels], Augmentation(32, scale=(0.5, 1.5)), mean=[0] * 3, std=[1] * 3)


@pytest.mark.parametrize("kind", ["mode RGB", "cut", "another size"])
def test_broken_maps_are_not_trained_on_and_valid_ones_are(root, tmp_path, refused, kind):
    path = tmp_path / "t1.png"
    path.write_bytes(EXAMPLES[kind])
    refused(crops(root, path).__getitem__, (0, 0), "t1.png: ", lines=1)
    crop, labels = crops(root, Dataset.open(root).mask("t1"))[0, 0]
    assert crop.pixels.shape == (3, 32, 32)
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
def test_a_mask_is_valid_if_and_only_if_all_its_ids_are_classes(mask, classes):
    dataset = Dataset(Dataset, tuple(map(str, range(classes))), {})
    faults = list(mask_faults(dataset, "a.png", mask, (6, 8)))
    assert bool(faults) == bool(((mask > classes) & (mask < 255)).any())


@pytest.mark.parametrize("kind", ["JPEG", "empty", "text", "signature", "20,000 x 20,000", "absent", "folder", "loop"])
def test_a_size_is_that_of_a_mask(tmp_path, refused, spoil, kind):
    spoil(tmp_path / "a.png", UNREADABLE.get(kind, kind))
    refused(mask_size, tmp_path / "a.png", "a.png: ", lines=1)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=40)
def test_arbitrary_bytes_are_a_mask_or_one_line(valid_or_one_line, content, as_png):
    mask = valid_or_one_line(read_mask, encoded(SOUND)[:33] * as_png + content)
    assert mask is None or mask.dtype == np.uint8
