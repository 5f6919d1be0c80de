from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data.dataset import Dataset
from ppl.data.masks import VOC_COLOURS, read_mask, write_mask
from ppl.data.photos import MAX_PIXELS, MAX_STORED, photo_size, read_photo
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


def test_labels_are_sorted_ids_from_1(root: Path) -> None:
    dataset = Dataset.open(root)
    assert dataset.classes == ("cat", "dog", "potted plant")
    assert dataset.labels == {"a": (1, 2), "b": (), "c": (1, 3)}
    assert not dataset.has_masks


def test_an_image_without_labels_is_named(root: Path) -> None:
    dataset = Dataset.open(root)
    assert dataset.labels_of("b") == ()
    with pytest.raises(UserError, match=r"labels.csv: no line for image 'd'"):
        dataset.labels_of("d")


def test_a_split_keeps_the_order_of_its_file(root: Path) -> None:
    assert Dataset.open(root).split("train") == ["b", "a"]


def test_files_of_a_spreadsheet_are_read(root: Path) -> None:
    expected = Dataset.open(root)
    for name in ("classes.txt", "labels.csv"):
        text = (root / name).read_text()
        (root / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert Dataset.open(root) == expected


def test_further_columns_do_not_matter(root: Path) -> None:
    (root / "labels.csv").write_text("note,classes,image\nx,dog,a\n")
    assert Dataset.open(root).labels == {"a": (2,)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,classes\na,cat\nb,cow\n", "labels.csv, line 3: class 'cow' is not in classes.txt"),
        ("image,classes\na,cat\nb,\na,dog\n", "labels.csv, line 4: image 'a' appears twice"),
        ("a,cat\n", "labels.csv: the first line must name the columns image and classes"),
        ("", "labels.csv: the first line"),
    ],
)
def test_faulty_labels_are_named_by_line(root: Path, content: str, message: str) -> None:
    (root / "labels.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        Dataset.open(root)


@pytest.mark.parametrize("content", ["", "cat\ndog\ncat\n", "".join(f"class {i}\n" for i in range(255))])
def test_impossible_classes_are_refused(root: Path, content: str) -> None:
    (root / "classes.txt").write_text(content)
    with pytest.raises(UserError, match=r"classes.txt: needs 1 to 254 different class names"):
        Dataset.open(root)


@pytest.mark.parametrize("name", ["classes.txt", "labels.csv"])
def test_a_missing_file_is_named(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(UserError, match=f"{name}: No such file"):
        Dataset.open(root)


@pytest.mark.parametrize("name", ["classes.txt", "labels.csv", "ImageSets/Segmentation/train.txt"])
def test_another_encoding_is_named(root: Path, name: str) -> None:
    (root / name).write_bytes("image,classes\ncaf\u00e9,\n".encode("latin-1"))
    with pytest.raises(UserError, match=f"{name}: not UTF-8"):
        Dataset.open(root).split("train")


def test_a_missing_split_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"ImageSets/Segmentation/val.txt: No such file"):
        Dataset.open(root).split("val")


def test_photos_may_have_another_suffix(root: Path) -> None:
    folder = root / "JPEGImages"
    folder.mkdir()
    for name in ("a.jpg", "a.png", "b.1.webp"):
        (folder / name).touch()
    dataset = Dataset.open(root)
    paths = [dataset.photo(image).name for image in ("a", "b.1", "absent")]
    assert paths == ["a.jpg", "b.1.webp", "absent.jpg"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_upright_and_its_size_known_from_the_header(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((24, 40, 3), dtype=np.uint8)
    upright[:12, :20, 0] = 255  # red at the top left
    turns = Image.Transpose
    stored = {1: None, 2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE}
    stored |= {6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270}
    image, exif = Image.fromarray(upright), Image.Exif()
    if stored[orientation] is not None:
        image = image.transpose(stored[orientation])
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.dtype == np.uint8
    assert photo_size(tmp_path / "a.jpg") == photo.shape[:2] == (24, 40)
    assert photo[6, 10, 0] > 200
    assert photo[[6, 18, 18], [30, 10, 30], 0].max() < 60


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_is_shrunk_to_its_longest_side_and_shows_the_same(tmp_path: Path, form: str, orientation: int) -> None:
    path, exif = tmp_path / "a", Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((300, 400, 3), dtype=np.uint8)
    stored[:150, :200, 0] = 255  # red at the top left
    Image.fromarray(stored).save(path, form, exif=exif)
    whole, shrunk = read_photo(path), read_photo(path, max_side=40)
    assert shrunk.shape[:2] == tuple(side // 10 for side in whole.shape[:2])
    assert np.abs(shrunk[2::10, 2::10].astype(int) - whole[25::100, 25::100]).max() < 10
    assert (read_photo(path, max_side=400) == whole).all()


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (1, 1)])
def test_no_side_is_shrunk_away(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg", max_side=40).shape[:2] == tuple(min(side, 40) for side in size[::-1])


def test_only_what_is_shrunk_may_be_large(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("RGB", (side, side)).save(tmp_path / "a.jpg")
    for read in (read_photo, photo_size):
        with pytest.raises(UserError, match="the limit of the networks; make the photo smaller"):
            read(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg", max_side=64).shape == (64, 64, 3)
    assert photo_size(tmp_path / "a.jpg", most=MAX_STORED) == (side, side)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_photo_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}"
    Image.new("RGB", (5, 4), (102, 102, 102)).convert(mode).save(path)
    assert (read_photo(path) == np.full((4, 5, 3), 102)).all()


@pytest.mark.parametrize("read", [read_photo, photo_size])
def test_what_is_no_photo_is_named(tmp_path: Path, read) -> None:
    path = tmp_path / "a.jpg"
    with pytest.raises(UserError, match=r"a.jpg: not a readable photo"):
        read(path)
    path.write_text("no photo")
    with pytest.raises(UserError, match=r"a.jpg: not a readable photo"):
        read(path)


def test_a_photo_that_was_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"a.jpg: not a readable photo"):
        read_photo(path)


def test_every_id_of_a_mask_comes_back(tmp_path: Path) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), mask)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), VOC_COLOURS[mask])


def test_a_greyscale_mask_is_read_and_a_coloured_one_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 7, 255]], dtype=np.uint8)).save(tmp_path / "grey.png")
    assert read_mask(tmp_path / "grey.png").tolist() == [[0, 7, 255]]
    Image.new("RGB", (3, 1)).save(tmp_path / "rgb.png")
    with pytest.raises(UserError, match=r"rgb.png: mode RGB; save it as"):
        read_mask(tmp_path / "rgb.png")
    with pytest.raises(UserError, match=r"absent.png: not a readable mask"):
        read_mask(tmp_path / "absent.png")


def test_colours_are_those_of_voc() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    known[255] = (224, 224, 192)
    assert {i: tuple(VOC_COLOURS[i]) for i in known} == known
    assert len({tuple(colour) for colour in VOC_COLOURS}) == 256
