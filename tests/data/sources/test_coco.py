"""COCO 2014 in its real format: polygons, run lengths and crowds under both conventions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data import check, prepare
from ppl.data.dataset import Dataset
from ppl.data.masks import mask_size, read_mask
from ppl.data.photos import photo_size, read_photo
from ppl.data.settings import Coco, Convention, Data
from ppl.data.sources import coco, unpack
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware

HEIGHT, WIDTH = 20, 30
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}]
PERSON, SIGN, BRUSH = 1, 2, 3  # in the order of COCO's ids


def _box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def _runs(mask: np.ndarray) -> dict:
    """Run lengths by column, the first of zeros, as COCO writes crowds."""
    flat = mask.ravel(order="F").astype(int)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": counts if flat[0] == 0 else [0, *counts]}


CROWD = np.zeros((HEIGHT, WIDTH), bool)
CROWD[12:18, 20:28] = True


def _instances(split: str, first: int) -> dict:
    """Image `first`: a small sign, then a person over it, and a crowd of toothbrushes; `first` + 1: nothing."""
    person = [*_box(4, 4, 14, 14), *_box(16, 2, 18, 6)]
    drawn = [(13, _box(6, 6, 10, 10), 16, 0), (1, person, 108, 0), (90, _runs(CROWD), 48, 1)]
    keys = ("category_id", "segmentation", "area", "iscrowd")
    annotations = [
        {"id": 10 * first + i, "image_id": first, "bbox": [0, 0, 1, 1], **dict(zip(keys, values, strict=True))}
        for i, values in enumerate(drawn)
    ]
    names = (f"COCO_{split}2014_{number:012d}.jpg" for number in (first, first + 1))
    images = [{"id": first + i, "file_name": n, "height": HEIGHT, "width": WIDTH} for i, n in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The unpacked archives."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split, first in (("train", 7), ("val", 9)):
        content = _instances(split, first)
        (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(content))
        (root / f"{split}2014").mkdir()
        for image in content["images"]:
            Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30)).save(root / f"{split}2014" / image["file_name"])
    return root


def _prepared(root: Path, out: Path, convention: Convention) -> Dataset:
    data = Data(source="coco", coco=Coco(path=str(root), convention=convention))
    prepare.main(prepare.Settings(out, data, Hardware(workers=0)))
    return Dataset.open(out)


def _names(dataset: Dataset, image: str) -> tuple[str, ...]:
    return tuple(dataset.classes[i - 1] for i in dataset.labels_of(image))


LABELLED, EMPTY = "COCO_train2014_000000000007", "COCO_train2014_000000000008"


def test_convention_a_draws_the_later_instance_and_leaves_crowds_out(root: Path, tmp_path: Path) -> None:
    dataset = _prepared(root, tmp_path / "data", "A")
    assert dataset.classes == ("person", "stop sign", "toothbrush")
    assert dataset.split("train") == [LABELLED, EMPTY]
    assert [_names(dataset, image) for image in (LABELLED, EMPTY)] == [("person", "stop sign"), ()]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[4:14, 4:14] = expected[2:6, 16:18] = PERSON
    assert np.array_equal(read_mask(dataset.mask(LABELLED)), expected)
    assert not read_mask(dataset.mask(EMPTY)).any()
    for image in (image for split in coco.SPLITS for image in dataset.split(split)):
        assert dataset.photo(image).is_symlink()
        assert read_photo(dataset.photo(image)).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(UserError, match=r"1 fault.*\n.*toothbrush"):  # it is on no photo
        check.main(check.Settings(dataset.root, "train", "train", "val", "val", tmp_path / "check.json", workers=1))


def test_convention_b_draws_the_smaller_instance_and_crowds_and_skips_unlabelled_photos(root, tmp_path) -> None:
    dataset = _prepared(root, tmp_path / "data", "B")
    assert dataset.split("train") == [LABELLED]
    assert _names(dataset, LABELLED) == ("person", "stop sign", "toothbrush")
    mask = read_mask(dataset.mask(LABELLED))
    assert (mask[6:10, 6:10] == SIGN).all()
    assert mask[5, 5] == PERSON
    assert np.array_equal(mask == BRUSH, CROWD)
    check.main(check.Settings(dataset.root, "train", "train", "val", "val", tmp_path / "check.json", workers=1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_read_as_stored_as_their_masks_are_of_these_pixels(root: Path, tmp_path: Path, orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "plain.jpg")
    Image.fromarray(pixels).save(root / "train2014" / f"{LABELLED}.jpg", exif=exif)
    dataset = _prepared(root, tmp_path / "data", "A")
    assert np.array_equal(read_photo(dataset.photo(LABELLED)), read_photo(tmp_path / "plain.jpg"))
    assert photo_size(dataset.photo(LABELLED)) == mask_size(dataset.mask(LABELLED))
    assert dataset.photo(LABELLED).is_symlink() == (orientation == 1)
    assert dataset.photo(EMPTY).is_symlink()


BAD_RUNS = {
    "of another size": {"size": [WIDTH, HEIGHT], "counts": [0, HEIGHT * WIDTH]},
    "of another sum": {"size": [HEIGHT, WIDTH], "counts": [5, 10]},
    "below 0": {"size": [HEIGHT, WIDTH], "counts": [-5, HEIGHT * WIDTH + 5]},
    "damaged text": {"size": [HEIGHT, WIDTH], "counts": "zz~~o0"},
    "no counts": {"size": [HEIGHT, WIDTH]},
    "far outside": [[1, 1, 1e9, 1, 5, 5]],
}


@pytest.mark.parametrize("convention", ["A", "B"])
@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_malformed_object_is_refused_before_pycocotools_reads_it(convention: Convention, name: str) -> None:
    """It reads memory that is not its own where run lengths do not fit."""
    photo = coco.Photo("photo", HEIGHT, WIDTH, (coco.Instance(1, BAD_RUNS[name], 1.0, False),))
    with pytest.raises(UserError, match=r"photo: an instance cannot be drawn \(.*; unpack the annotations again"):
        coco.draw(photo, convention)


def test_a_size_beyond_reading_is_refused_and_objects_of_two_corners_cover_nothing() -> None:
    with pytest.raises(UserError, match="photo: invalid size"):
        coco.draw(coco.Photo("photo", 10**6, 10**6, ()), "A")
    line = coco.Instance(1, [[1, 1, 9, 9]], 0.0, False)
    assert not coco.draw(coco.Photo("photo", HEIGHT, WIDTH, (line,)), "A").any()


def test_archives_are_zips(root: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "photos"), "zip", root)
    unpack.main(unpack.Settings((tmp_path / "photos.zip",), tmp_path / "unpacked"))
    assert _prepared(tmp_path / "unpacked", tmp_path / "data", "A").split("train") == [LABELLED, EMPTY]


BAD = "not an annotation file of COCO"


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), (b"{", BAD), (b"[1]", BAD)])
def test_damaged_files_are_named_and_nothing_is_written(root: Path, tmp_path: Path, content, message: str) -> None:
    path = root / "annotations" / "instances_val2014.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=f"instances_val2014.json: {message}") as refused:
        _prepared(root, tmp_path / "data", "A")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "data").exists()
