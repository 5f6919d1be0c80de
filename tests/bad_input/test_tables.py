"""The reader of label tables and folders of photos: one line for each fault, and nothing is written."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from ppl.data import example, new


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> new.Settings:
    """Three photos and a sound table, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number, image in enumerate("abcd"):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / "photos" / f"{image}.png")
    Path("labels.csv").write_text("image,classes\na,cat\nb,cat\nc,cat\nd,cat\n")
    return new.Settings(Path("photos"), Path("labels.csv"), device="cpu")


def test_the_table_of_the_fixture_is_valid(own):
    new.main(own)
    assert Path("mine.yaml").exists()


MANY = b";".join(b"c%d" % number for number in range(255))
TABLES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no columns"),
    "one column": (b"image\na\nb\n", "no columns"),
    "a workbook": (b"PK\3\4" + bytes(40), "save its sheet as CSV"),
    "an old workbook": (b"\xd0\xcf\x11\xe0" + bytes(40), "save its sheet as CSV"),
    "no text": (b"image,classes\n\x81\x8d,\n", "not a text file"),
    "other photos": (b"image,classes\nx,cat\ny,dog\n", "no column names any of the photos"),
    "titles only": (b"image,classes\n", "no column names any of the photos"),
    "no class at all": (b"image,classes\na,\nb,\n", "no class names"),
    "classes called 0 and 1": (b"image,label\na,1\nb,0\n", "name the column after the class"),
    "several columns of names": (b"image,first,second\na,cat,dog\nb,dog,\n", "--class-column"),
    "numbers only": (b"image,width,height\na,640,480\nb,640,480\n", "title it classes"),
    "two columns of one name": (b"image,cat,cat\na,1,0\nb,0,1\n", "two columns are titled 'cat'"),
    "a quotation mark alone": (b'image,classes\na,"cat\nb,cat\n', "quotation mark"),
    "one photo": (b"image,classes\na,cat\n", "two different photos of each class"),
    "a photo for each class": (b"image,classes\na,cat\nb,dog\n", "two different photos of each class"),
    "a class of a bell": (b"image,classes\na,c\aat\nb,c\aat\n", "invalid class name"),
    "too many classes": (b"image,classes\na,%s\nb,%s\n" % (MANY, MANY), "classes, more than 254"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), TABLES.values(), ids=TABLES)
def test_a_broken_table_is_refused(own, refused, content, message):
    own.labels.write_bytes(content)
    refused(new.main, own, message)


def name_in_two_folders(root: Path) -> None:
    for folder in ("x", "y"):
        (root / "photos" / folder).mkdir()
        Image.new("RGB", (8, 6)).save(root / "photos" / folder / "same.png")
    (root / "labels.csv").write_text("image,classes\na,cat\nsame,cat\n")


def photo_in(root: Path, folder: str) -> None:
    (root / folder).mkdir(parents=True)
    (root / folder / "a.jpg").write_bytes(b"a photo")


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "an ambiguous name": (name_in_two_folders, "write them with folder and suffix"),
    "something of the user's": (partial(photo_in, folder="mine"), "not written by this command"),
    "a dataset made by hand": (partial(photo_in, folder="mine/JPEGImages"), "not written by this command"),
    "no photos": (lambda root: [photo.unlink() for photo in (root / "photos").iterdir()], "no photos"),
}


@pytest.mark.parametrize(("change", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_broken_folder_is_refused(own, refused, tmp_path, change, message):
    change(tmp_path)
    refused(new.main, own, message)


@pytest.mark.parametrize(("change", "message"), [
    ({"photos": Path("absent")}, "is not there"), ({"labels": Path("absent.csv")}, "is not there"),
    ({"labels": Path("photos")}, "no labels of a known format in it"),
    ({"photos": Path(".")}, "written into this folder of photos"),
    ({"name": "photos"}, "contains your photos"),
])  # fmt: skip
def test_a_wrong_path_is_refused(own, refused, change, message):
    refused(new.main, replace(own, **change), message)


@pytest.mark.parametrize(
    "wrong", [{"name": "a b"}, {"name": "-a"}, {"name": ""}, {"name": "../up"}, {"val_share": 0}, {"val_share": 1},
              {"label_format": "xlsx"}, {"mask_format": "xlsx"}],
)  # fmt: skip
def test_an_invalid_flag_is_refused(wrong, refused):
    refused(lambda wrong: new.Settings(Path("photos"), Path("labels.csv"), **wrong), wrong, "--")


@pytest.mark.parametrize("name", ["out", "masks"])
def test_an_example_replaces_nothing(tmp_path, refused, name):
    (tmp_path / name).mkdir()
    settings = example.Settings(tmp_path / "out", tmp_path / "masks", photos=1, size=64)
    refused(example.main, settings, f"{name}: exists")
