"""VOC 2012 and SBD in their real formats: links, decoded masks, labels of the XML, the paper's trainaug."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ppl.data import check, prepare
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE, mask_size, read_mask, write_mask
from ppl.data.photos import photo_size, read_photo
from ppl.data.settings import Data, Voc
from ppl.data.sources import unpack, voc
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware

SIZE = (20, 30)
OBJECTS = {
    "2007_000001": ("cat", "person"), "2007_000002": ("tvmonitor",), "2007_000003": ("person", "person"),
    "2008_000004": ("dog",), "2008_000005": ("aeroplane",), "2008_000006": (), "2009_000007": ("cat",),
}  # fmt: skip
VOC_LISTS = {"train": ["2007_000001", "2007_000002"], "val": ["2007_000003"], "test": ["2009_000007"]}
SBD_LISTS = {"train": ["2007_000002", "2008_000004"], "val": ["2007_000003", "2008_000005"]}


def _mask(image: str, border: bool) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    for i, name in enumerate(sorted(set(OBJECTS[image]))):
        mask[4:12, 2 + 9 * i : 9 + 9 * i] = voc.CLASSES.index(name) + 1
    if border:
        mask[3, 2:20] = IGNORE
    return mask


def _annotation(objects: tuple[str, ...]) -> str:
    found = "".join(
        f"<object><name>{name}</name><difficult>{i % 2}</difficult><part><name>head</name></part></object>"
        for i, name in enumerate(objects)
    )
    return f"<annotation><folder>VOC2012</folder>{found}</annotation>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The unpacked archives."""
    root = tmp_path / "archives"
    devkit, sbd = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", voc.LISTS):
        (devkit / folder).mkdir(parents=True)
    (sbd / "cls").mkdir(parents=True)
    for image, objects in OBJECTS.items():
        Image.new("RGB", SIZE[::-1], (90, 120, 30)).save(devkit / "JPEGImages" / f"{image}.jpg")
        if image not in VOC_LISTS["test"]:
            (devkit / "Annotations" / f"{image}.xml").write_text(_annotation(objects))
    for name, images in VOC_LISTS.items():
        (devkit / voc.LISTS / f"{name}.txt").write_text("\n".join(images) + "\n")
        for image in images if name != "test" else ():
            write_mask(devkit / "SegmentationClass" / f"{image}.png", _mask(image, border=True))
    for name, images in SBD_LISTS.items():
        (sbd / f"{name}.txt").write_text("\n".join(images))
        for image in images:
            content = {"Segmentation": _mask(image, border=False), "CategoriesPresent": np.array([[1.0]])}
            savemat(sbd / "cls" / f"{image}.mat", {"GTcls": content})
    return root


def _prepared(root: Path, out: Path) -> Dataset:
    prepare.main(prepare.Settings(out, Data(source="voc", voc=Voc(path=str(root))), Hardware(workers=1)))
    return Dataset.open(out)


def test_lists_are_those_of_the_paper_labels_those_of_the_annotations_and_masks_vocs_or_else_those_of_sbd(
    root: Path, tmp_path: Path
) -> None:
    dataset = _prepared(root, tmp_path / "data")
    assert dataset.split("trainaug") == ["2007_000001", "2007_000002", "2008_000004", "2008_000005"]
    assert {name: dataset.split(name) for name in VOC_LISTS} == VOC_LISTS
    assert len(dataset.classes) == 20
    named = {image: tuple(dataset.classes[i - 1] for i in ids) for image, ids in dataset.labels.items()}
    images = {*dataset.split("trainaug"), *dataset.split("val")}
    assert named == {image: tuple(sorted(set(OBJECTS[image]))) for image in images}
    for image in images:
        ours = image not in VOC_LISTS["train"] + VOC_LISTS["val"]
        assert dataset.mask(image).is_symlink() != ours
        assert np.array_equal(read_mask(dataset.mask(image)), _mask(image, border=not ours))
    assert (dataset.root / "JPEGImages").is_symlink()
    with pytest.raises(UserError) as error:
        check.main(check.Settings(dataset.root, "trainaug", "train", "val", "test", tmp_path / "check.json", workers=1))
    _, paragraph = str(error.value).splitlines()  # of 20 classes the few images show 5
    assert "15 classes are on no image of split trainaug" in paragraph


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_photos_are_read_as_stored_as_their_masks_are_of_these_pixels(root: Path, tmp_path: Path, orientation) -> None:
    exif, turned = Image.Exif(), ["2007_000001", "2008_000004", "2009_000007"]  # with masks of VOC, of SBD, without one
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    photos = root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    Image.fromarray(pixels).save(tmp_path / "plain.jpg")
    for image in turned:
        Image.fromarray(pixels).save(photos / f"{image}.jpg", exif=exif)
    before = {path: path.read_bytes() for path in photos.iterdir()}
    dataset = _prepared(root, tmp_path / "data")
    for image in turned:
        assert np.array_equal(read_photo(dataset.photo(image)), read_photo(tmp_path / "plain.jpg"))
    for image in {*dataset.split("trainaug"), *dataset.split("val")}:
        assert photo_size(dataset.photo(image)) == mask_size(dataset.mask(image))
    assert (dataset.root / "JPEGImages").is_symlink() == (orientation == 1)
    assert dataset.photo("2007_000002").resolve().parent == photos.resolve()
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_a_missing_photo_beside_a_turned_one_is_listed_by_the_check(root: Path, tmp_path: Path) -> None:
    exif, photos = Image.Exif(), root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    exif[0x0112] = 6
    Image.new("RGB", SIZE[::-1]).save(photos / "2007_000001.jpg", exif=exif)
    (photos / "2008_000004.jpg").unlink()
    dataset = _prepared(root, tmp_path / "data")
    assert "2008_000004" not in {path.stem for path in (dataset.root / "JPEGImages").iterdir()}
    with pytest.raises(UserError, match=r"JPEGImages/2008_000004.jpg: no such file; add the file to the source of the"):
        check.main(check.Settings(dataset.root, "trainaug", "train", "val", "test", workers=0, prepared=True))


def test_archives_become_a_dataset_and_without_that_of_test_there_is_no_test_split(root: Path, tmp_path: Path) -> None:
    (root / "VOCdevkit" / "VOC2012" / voc.LISTS / "test.txt").unlink()
    names = {"voc.tar": "VOCdevkit", "sbd.tgz": "benchmark_RELEASE"}
    for name, folder in names.items():
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as tar:
            tar.add(root / folder, folder)
    unpack.main(unpack.Settings(tuple(tmp_path / name for name in names), tmp_path / "unpacked"))
    dataset = _prepared(tmp_path / "unpacked", tmp_path / "data")
    assert len(dataset.split("trainaug")) == 4
    with pytest.raises(UserError, match=r"test.txt"):
        dataset.split("test")


def test_a_folder_of_ones_own_may_hold_them_in_other_places(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (root / "VOCdevkit" / "VOC2012").rename(own / "VOC2012")
    (root / "benchmark_RELEASE" / "dataset").rename(own / "SBD")
    before = sorted(own.rglob("*"))
    assert len(_prepared(own, tmp_path / "data").split("trainaug")) == 4
    assert sorted(own.rglob("*")) == before


def test_the_list_of_test_images_of_voc_must_be_complete(tmp_path: Path) -> None:
    def lists(**numbers: int) -> dict[str, list[str]]:
        return {name: [f"{name}{i}" for i in range(n)] for name, n in (voc.PUBLISHED | numbers).items()}

    path = tmp_path / "test.txt"
    voc.check_test(path, lists())
    voc.check_test(path, lists(train=3, test=2))  # a set of one's own
    for splits in (lists(test=1455), lists() | {"test": ["2008_000001"] * 1456}):
        with pytest.raises(UserError, match=r"test.txt: .* VOC 2012 has 1456; unpack VOC2012test.tar again") as refused:
            voc.check_test(path, splits)
        assert "\n" not in str(refused.value)


XML, MAT = "VOCdevkit/VOC2012/Annotations/2008_000004.xml", "benchmark_RELEASE/dataset/cls/2008_000004.mat"


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (XML, None, "2008_000004.xml: not a readable annotation"),
        (XML, b"<annotation>", "2008_000004.xml: not a readable annotation"),
        (XML, _annotation(("yeti",)).encode(), "'yeti' is not a class of VOC"),
        (MAT, b"no mat file", "2008_000004.mat: not a readable mask of SBD"),
        (MAT, None, "2008_000004.mat: not a readable mask of SBD"),
        ("benchmark_RELEASE/dataset/train.txt", None, "dataset/train.txt: No such file"),
        (f"VOCdevkit/VOC2012/{voc.LISTS}/val.txt", None, "VOC2012: lacks ImageSets/Segmentation/val.txt"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_written(root: Path, tmp_path: Path, path, content, message) -> None:
    (root / path).unlink()
    if content is not None:
        (root / path).write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        _prepared(root, tmp_path / "data")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_a_folder_without_the_archives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"VOC 2012 .* is missing; docs/voc.md"):
        _prepared(tmp_path, tmp_path / "data")
