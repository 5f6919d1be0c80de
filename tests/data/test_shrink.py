"""Photos that are too large are shrunk for the networks, all others linked, and label maps get the full size back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from ppl.data import check, prepare
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask, write_mask
from ppl.data.photos import MAX_PIXELS, photo_size, read_photo
from ppl.data.settings import Data, Folder
from ppl.data.shrink import SHORTEST, full_sizes, smaller
from ppl.jobs.settings import Hardware
from ppl.segment import voc_server as server

SIZES = {"large": (300, 400), "tall": (500, 90), "turned": (200, 300), "small": (60, 80), "strip": (20, 900)}  # (h, w)
SIDE = 120


@pytest.fixture
def own(tmp_path: Path) -> Path:
    root = tmp_path / "own"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for image, (h, w) in SIZES.items():
        mask, exif = np.zeros((h, w), np.uint8), Image.Exif()
        mask[h // 4 : h // 2, w // 4 : w // 2] = 1
        photo = Image.fromarray(np.where(mask[..., None] == 1, np.uint8([[[220, 40, 40]]]), np.uint8(100)))
        if image == "turned":
            exif[0x0112] = 6
            mask = np.rot90(mask, -1)
        photo.save(root / "JPEGImages" / f"{image}.jpg", quality=95, exif=exif)
        write_mask(root / "SegmentationClass" / f"{image}.png", mask)
    for split, images in {"train": ["large", "tall", "small"], "val": ["turned"], "test": SIZES}.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(images))
    (root / "classes.txt").write_text("ball\n")
    (root / "labels.csv").write_text("image,classes\n" + "".join(f"{image},ball\n" for image in SIZES))
    return root


def bring(own: Path, side: int | None = SIDE) -> Dataset:
    out = own.with_name("data")
    data = Data(folder=Folder(path=str(own), max_side=side), train_split="train")
    prepare.main(prepare.Settings(out, data, Hardware(workers=0)))
    return Dataset.open(out)


def test_large_photos_and_their_masks_are_shrunk_and_others_linked(own):
    before = {path: path.read_bytes() for path in own.rglob("*.*")}
    dataset = bring(own)
    shrunk = full_sizes(dataset.root)
    assert shrunk == {"large": (300, 400), "tall": (500, 90), "turned": (300, 200)}
    for image in SIZES:
        photo, mask = dataset.photo(image), dataset.mask(image)
        assert photo.is_symlink() == mask.is_symlink() == (image not in shrunk)
        assert read_mask(mask).shape == photo_size(photo) == read_photo(photo).shape[:2]
        if image in shrunk:
            assert photo_size(photo) == smaller(shrunk[image], SIDE)
            red = read_photo(photo)[..., 0] > 160
            assert (red == (read_mask(mask) == 1)).mean() > 0.95
    assert {path: path.read_bytes() for path in own.rglob("*.*")} == before
    check.main(check.Settings(dataset.root, workers=0))


def test_without_a_limit_folders_are_linked_whole(own):
    dataset = bring(own, side=None)
    assert (dataset.root / "JPEGImages").is_symlink()
    assert full_sizes(dataset.root) == {}


def test_unreadable_files_are_left_to_the_check(own):
    (own / "JPEGImages" / "large.jpg").write_bytes(b"no photo")
    (own / "JPEGImages" / "tall.jpg").unlink()
    write_mask(own / "SegmentationClass" / "turned.png", np.zeros((30, 40), np.uint8))
    with pytest.raises(check.UserError) as error:
        check.main(check.Settings(bring(own).root, workers=0))
    for text in (
        "large.jpg: not a readable photo",
        "tall.jpg: no such file",
        "turned.png: shape mismatch: expected 80x",
    ):
        assert text in str(error.value)


def test_a_photo_above_the_limit_passes_if_it_is_shrunk(own):
    Image.new("L", (2100, 2100)).save(own / "JPEGImages" / "large.jpg")
    write_mask(own / "SegmentationClass" / "large.png", np.zeros((2100, 2100), np.uint8))
    assert MAX_PIXELS < 2100 * 2100
    with pytest.raises(check.UserError, match=r"large.jpg: 2100x2100 has more than .*data.folder.max_side"):
        check.main(check.Settings(own, workers=0))
    check.main(check.Settings(own, workers=0, max_side=SIDE))
    check.main(check.Settings(bring(own).root, workers=0))


def test_submitted_maps_have_the_size_of_the_original_photos(own, tmp_path):
    maps, served, archive = tmp_path / "maps", tmp_path / "served", tmp_path / "served.tar"
    dataset = bring(own)
    maps.mkdir()
    for image in SIZES:
        write_mask(maps / f"{image}.png", read_mask(dataset.mask(image)))
    server.main(server.Settings(dataset.root, "test", (maps,), served, archive))
    for image in SIZES:
        full = read_mask(served / server.SERVER_FOLDER / f"{image}.png")
        truth = read_mask(own / "SegmentationClass" / f"{image}.png")
        assert full.shape == truth.shape
        assert (full == truth).mean() > 0.97


SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, st.integers(SHORTEST, 2048))
@example(181, 334, 32)
@example(7_777, 20_000, 33)
def test_a_smaller_size_keeps_the_shape_and_never_grows(h, w, side):
    small = smaller((h, w), side)
    assert all(0 < new <= old for new, old in zip(small, (h, w), strict=True))
    if max(h, w) <= side or min(h, w) <= SHORTEST:
        assert small == (h, w)
    else:
        assert max(small) <= side or min(small) == SHORTEST
        assert abs(small[0] / h - small[1] / w) <= 0.5 / h + 0.5 / w + 1e-9  # both sides are rounded
