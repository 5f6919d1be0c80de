from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data.dataset import Dataset
from ppl.data.masks import VOC_COLOURS, read_mask, write_mask
from ppl.data.photos import MAX_PIXELS, MAX_STORED, photo_size, read_photo, shrunk_size
from ppl.jobs.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset without photos and masks: opening needs neither."""
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\n\na \n")
    (tmp_path / "classes.txt").write_text("cat\ndog\npotted plant\n")
    (tmp_path / "labels.csv").write_text("image,classes\na,dog;cat\nb,\nc,potted plant; cat;cat\n")
    return tmp_path


def test_labels_are_sorted_ids_from_1_and_a_split_keeps_the_order_of_its_file(root: Path) -> None:
    dataset = Dataset.open(root)
    assert dataset.classes == ("cat", "dog", "potted plant")
    assert dataset.labels == {"a": (1, 2), "b": (), "c": (1, 3)}
    assert not dataset.has_masks
    assert dataset.split("train") == ["b", "a"]
    assert dataset.labels_of("b") == ()
    with pytest.raises(UserError, match=r"labels.csv: no line for image 'd'"):
        dataset.labels_of("d")


def test_photos_may_have_another_suffix(root: Path) -> None:
    (root / "JPEGImages").mkdir()
    for name in ("a.jpg", "a.png", "b.1.webp"):
        (root / "JPEGImages" / name).touch()
    dataset = Dataset.open(root)
    paths = [dataset.photo(image).name for image in ("a", "b.1", "absent")]
    assert paths == ["a.jpg", "b.1.webp", "absent.jpg"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_is_shrunk_to_its_longest_side(tmp_path: Path, form: str, orientation: int) -> None:
    path, exif = tmp_path / "a", Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((300, 400, 3), dtype=np.uint8)
    stored[:150, :200, 0] = 255  # red at the top left
    Image.fromarray(stored).save(path, form, exif=exif)
    whole, shrunk = read_photo(path), read_photo(path, max_side=40)
    assert shrunk.shape[:2] == tuple(side // 10 for side in whole.shape[:2])
    assert np.abs(shrunk[2::10, 2::10].astype(int) - whole[25::100, 25::100]).max() < 10
    assert (read_photo(path, max_side=400) == whole).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_a_shrunk_photo_has_the_size_that_its_header_and_its_mask_shrink_to(
    tmp_path: Path, form: str, orientation: int, upright: bool
) -> None:
    """Also where a JPEG is decoded at 1/2 of its sides, which rounds them up: 105 to 53, not 52."""
    path, exif = tmp_path / "a", Image.Exif()
    exif[0x0112] = orientation
    for stored in ((160, 105), (160, 113), (105, 160), (321, 209), (323, 322)):
        Image.new("RGB", stored).save(path, form, exif=exif)
        expected = shrunk_size(photo_size(path, upright=upright), 80)
        assert read_photo(path, max_side=80, upright=upright).shape[:2] == expected


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1)])
def test_a_shrunk_side_has_at_least_one_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg", max_side=40).shape[:2] == tuple(min(side, 40) for side in size[::-1])


def test_only_photos_that_are_shrunk_may_be_large(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("RGB", (side, side)).save(tmp_path / "a.jpg")
    for read in (read_photo, photo_size):
        with pytest.raises(UserError, match="the limit of the networks; make the photo smaller"):
            read(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg", max_side=64).shape == (64, 64, 3)
    assert photo_size(tmp_path / "a.jpg", most=MAX_STORED) == (side, side)


@pytest.mark.parametrize("palette", [True, False])
def test_a_written_mask_is_read_again_with_and_without_palette(tmp_path: Path, palette: bool) -> None:
    mask, path = np.arange(256, dtype=np.uint8).reshape(8, 32), tmp_path / "a.png"
    write_mask(path, mask) if palette else Image.fromarray(mask).save(path)
    np.testing.assert_array_equal(read_mask(path), mask)
    if palette:
        with Image.open(path) as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.array(image.convert("RGB")), VOC_COLOURS[mask])


def test_colours_are_those_of_voc() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    known[255] = (224, 224, 192)
    assert {i: tuple(VOC_COLOURS[i]) for i in known} == known
    assert len({tuple(colour) for colour in VOC_COLOURS}) == 256
