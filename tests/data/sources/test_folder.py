"""A user's dataset folder: linked, not copied, and never harmed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data import prepare
from ppl.data.lists import write_lists
from ppl.data.masks import write_mask
from ppl.data.settings import Data, Folder
from ppl.data.sources import folder
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware

FILES = ("classes.txt", "labels.csv", "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A dataset folder with one photo and one mask."""
    own = tmp_path / "my photos"
    for name in (*FILES, "JPEGImages/a.jpg", "SegmentationClass/a.png", "notes.txt"):
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return own


def content(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in sorted(path.rglob("*")) if file.is_file()}


def link(own: Path, out: Path, train: str = "train", test: str = "val") -> None:
    data = Data(folder=Folder(path=str(own)), train_split=train, seed_split=train, test_split=test)
    prepare.main(prepare.Settings(out, data, Hardware(workers=0)))


def test_photos_and_masks_are_linked_and_lists_copied(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link(Path("my photos"), Path("results/own/data"))
    monkeypatch.chdir(os.sep)  # links hold from any working directory
    out = tmp_path / "results" / "own" / "data"
    for name in folder.LINKED:
        assert (out / name).is_symlink()
        assert (out / name).resolve() == (own / name).resolve()
    for name in FILES:
        assert (out / name).read_text() == f"content of {name}"
        assert not (out / name).is_symlink()
    assert {path.name for path in out.iterdir()} == {*folder.LINKED, "classes.txt", "labels.csv", "ImageSets"}


def test_removing_or_linking_again_leaves_the_users_files_alone(own, tmp_path):
    before, out = content(own), tmp_path / "data"
    link(own, out)
    link(own, out, train="val")
    assert content(own) == before
    assert [path.name for path in (out / "ImageSets" / "Segmentation").iterdir()] == ["val.txt"]
    shutil.rmtree(out)  # as Snakemake does before it runs a job again
    assert content(own) == before
    shutil.rmtree(own / "SegmentationClass")  # masks are optional
    link(own, out)
    assert not (out / "SegmentationClass").exists()


def test_all_missing_parts_are_named_in_one_line(own, tmp_path):
    shutil.rmtree(own / "JPEGImages")
    (own / "labels.csv").unlink()
    with pytest.raises(UserError) as error:
        link(own, tmp_path / "data", test="absent")
    text = str(error.value)
    assert len(text.splitlines()) == 1
    for name in ("labels.csv", "JPEGImages", "ImageSets/Segmentation/absent.txt"):
        assert name in text
    assert "train.txt" not in text
    assert not (tmp_path / "data").exists()


SIDEWAYS, SQUARE = (20, 30), (20, 20)
"""Sizes (h, w) of the stored pixels of a photo; EXIF turns it by a quarter."""


def put(root: Path, image_id: str, size: tuple[int, int], mask: tuple[int, int] | None, colour: int = 0) -> None:
    """Write a turned photo of one colour, and its mask of that class id; both have sizes (h, w)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", size[::-1], (colour, 0, 0)).save(root / "JPEGImages" / f"{image_id}.png", exif=exif)
    if mask:
        write_mask(root / "SegmentationClass" / f"{image_id}.png", np.full(mask, colour, np.uint8))


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """A dataset folder without photos yet, whose lists name a, b and c."""
    root = tmp_path / "turned"
    for name in ("JPEGImages", "SegmentationClass"):
        (root / name).mkdir(parents=True)
    write_lists(root, ["cat"], {i: ["cat"] for i in "abc"}, {"train": ["a"], "val": ["b", "c"]})
    return root


def version(root: Path, **settings) -> str:
    folder.version.cache_clear()  # of the life of a process
    return folder.version(Folder(path=str(root), **settings), ("train", "val"))


def test_the_version_is_empty_unless_a_photo_is_read_as_stored(turned):
    assert version(turned) == ""
    put(turned, "a", SIDEWAYS, SIDEWAYS[::-1])
    put(turned, "b", SQUARE, SQUARE)
    assert version(turned) == ""
    put(turned, "b", SQUARE, SQUARE, colour=1)
    assert version(turned) == ""
    shutil.rmtree(turned / "SegmentationClass")
    assert version(turned) == version(turned, orientation="upright") == ""
    assert version(turned, orientation="stored")


def test_the_version_changes_with_the_decision_and_with_the_photos_read_as_stored_but_not_with_other_files(turned):
    put(turned, "a", SIDEWAYS, SIDEWAYS)
    one = version(turned)
    put(turned, "b", SQUARE, SQUARE)  # the mask of a decides
    both = version(turned)
    assert len({one, both, ""}) == 3
    write_mask(turned / "SegmentationClass" / "a.png", np.ones(SIDEWAYS, np.uint8))
    assert version(turned) == both
    put(turned, "other", SIDEWAYS, SIDEWAYS)  # in no list
    assert version(turned) == both
    put(turned, "a", SIDEWAYS, None, colour=200)
    replaced = version(turned)
    assert replaced not in (one, both, "")
    (turned / "JPEGImages" / "a.png").unlink()
    assert version(turned) == ""


def test_a_mistake_of_the_user_is_the_version_until_it_is_corrected(turned):
    put(turned, "a", SIDEWAYS, SIDEWAYS)
    put(turned, "b", SQUARE, SQUARE)
    before = version(turned)
    put(turned, "c", SIDEWAYS, SIDEWAYS[::-1])
    assert "masks fit upright and as stored, those of photo 'a' only as stored" in version(turned)
    (turned / "SegmentationClass" / "c.png").unlink()
    assert version(turned) == before
    (turned / "ImageSets" / "Segmentation" / "val.txt").unlink()
    assert version(turned).startswith(f"{turned}/ImageSets/Segmentation/val.txt: No such file or directory; ")
