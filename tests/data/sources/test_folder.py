"""A user's dataset folder: linked, not copied, and never harmed."""

import os
import shutil
from pathlib import Path

import pytest

from ppl.data import prepare
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
