"""A user's dataset folder: linked, not copied, and never harmed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data import check, prepare
from ppl.data.broken import recorded
from ppl.data.lists import write_lines, write_lists
from ppl.data.masks import write_mask
from ppl.data.settings import Data, Folder
from ppl.data.sources import folder
from ppl.data.state import Record
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


def parts(root: Path, **settings) -> dict[str, str]:
    record = Record()
    return folder.parts(
        Folder(path=str(root), **settings), ("train", "val"), lambda path: record.token_of(path, str(path))
    )


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_a_photo_a_mask_and_a_label_change_only_their_parts_of_the_splits_that_list_them(turned):
    put(turned, "a", SQUARE, SQUARE)
    put(turned, "b", SQUARE, SQUARE)
    before = parts(turned)
    assert parts(turned) == before
    put(turned, "other", SIDEWAYS, SIDEWAYS)  # in no list
    assert changed(before, parts(turned)) == set()
    write_mask(turned / "SegmentationClass" / "a.png", np.ones((21, 21), np.uint8))
    masked = parts(turned)
    assert changed(before, masked) == {"masks train"}
    put(turned, "b", SIDEWAYS, None, colour=200)
    painted = parts(turned)
    assert changed(masked, painted) == {"photos val"}
    lists = {"train": ["a"], "val": ["b", "c"]}
    write_lists(turned, ["cat"], {"a": [], "b": ["cat"], "c": ["cat"]}, lists)
    assert changed(painted, parts(turned)) == {"labels train"}


def test_a_mask_that_turns_a_photo_of_another_split_changes_that_photo(turned):
    put(turned, "b", SQUARE, SQUARE)
    before = parts(turned)
    put(turned, "a", SIDEWAYS, SIDEWAYS)  # as it is stored, so b is too
    assert "photos val" in changed(before, parts(turned))


def test_settings_change_all_photos_and_masks(turned):
    put(turned, "a", SQUARE, SQUARE)
    assert changed(parts(turned), parts(turned, max_side=64)) == {
        f"{k} {s}" for k in ("photos", "masks") for s in ("train", "val")
    }


def test_a_mistake_of_the_user_changes_all_parts_until_it_is_corrected(turned):
    put(turned, "a", SIDEWAYS, SIDEWAYS)
    put(turned, "b", SQUARE, SQUARE)
    before = parts(turned)
    put(turned, "c", SIDEWAYS, SIDEWAYS[::-1])
    assert changed(before, parts(turned)) == before.keys()
    for name in ("JPEGImages/c.png", "SegmentationClass/c.png"):
        (turned / name).unlink(missing_ok=True)
    assert parts(turned) == before
    (turned / "ImageSets" / "Segmentation" / "val.txt").unlink()
    assert changed(before, parts(turned)) == before.keys()


def test_a_file_with_another_time_and_the_same_content_keeps_its_token(tmp_path):
    photo, record = tmp_path / "a.jpg", Record()
    photo.write_bytes(b"one")
    token = record.token_of(photo, "a.jpg")
    record.complete(tmp_path)
    os.utime(photo, (1, 1))
    assert record.token_of(photo, "a.jpg") == token
    photo.write_bytes(b"two")
    assert record.token_of(photo, "a.jpg") != token


def put_deep(root: Path, image_id: str, value: int) -> None:
    Image.fromarray(np.full(SQUARE, value, np.uint16)).save(root / "JPEGImages" / f"{image_id}.png")


@pytest.mark.parametrize("bits", ["each", 12])
def test_deep_photos_of_which_none_decides_for_others_change_alone(turned, bits):
    put_deep(turned, "a", 1000)
    before = parts(turned, bits=bits)
    put_deep(turned, "c", 4000)
    assert changed(before, parts(turned, bits=bits)) == {"photos val"}


def test_deep_photos_change_together_as_the_brightest_decides_how_all_are_read(turned):
    put_deep(turned, "a", 1000)
    put(turned, "b", SQUARE, SQUARE)
    before = parts(turned)
    put_deep(turned, "c", 4000)
    assert changed(before, parts(turned)) == {"photos train", "photos val"}
    before = parts(turned)
    put(turned, "b", SIDEWAYS, SQUARE, colour=1)
    assert changed(before, parts(turned)) == {"photos val", "masks val"}


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "page": lambda content: b"<html>404</html>",
    "noise": lambda content: content[:20] + bytes(100),
}


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A dataset folder of four photos that can be read and four that cannot."""
    root = tmp_path / "mine"
    (root / "JPEGImages").mkdir(parents=True)
    ids = ["a", "truncated", "b", "empty", "page", "c", "noise", "d"]
    for number, image_id in enumerate(ids):
        path = root / "JPEGImages" / f"{image_id}.jpg"
        pixels = np.random.default_rng(number).integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        path.write_bytes(DAMAGE.get(image_id, bytes)(path.read_bytes()))
    labels = {image_id: ["cat"] if image_id < "c" else ["dog"] for image_id in ids}
    write_lists(root, ["cat", "dog"], labels, {"train": ids[:6], "val": ids[6:], "test": ids[6:]})
    return root


def lists(root: Path) -> dict[str, list[str]]:
    folder = root / "ImageSets" / "Segmentation"
    return {path.stem: path.read_text().split() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("max_side", [None, 64])
@pytest.mark.parametrize("workers", [0, 2])
def test_broken_photos_are_left_out_of_all_splits_and_listed(
    damaged: Path, tmp_path: Path, max_side: int | None, workers: int
) -> None:
    out, before = tmp_path / "data", lists(damaged)
    out.mkdir()
    settings = Folder(path=str(damaged), skip_broken=True, max_side=max_side)
    folder.prepare(settings, out, splits=("train", "val", "test"), workers=workers)
    assert lists(out) == {"train": ["a", "b", "c"], "val": ["d"], "test": ["d"]}
    assert [finding.place for finding in recorded(out)] == [
        f"JPEGImages/{name}.jpg" for name in ("empty", "noise", "page", "truncated")
    ]
    assert lists(damaged) == before  # the user's own lists stay


def test_the_check_lists_the_photos_that_were_left_out(damaged: Path, tmp_path: Path, capsys) -> None:
    """Of the prepared folder as of the user's own, whatever their number."""
    (tmp_path / "data").mkdir()
    folder.prepare(
        Folder(path=str(damaged), skip_broken=True), tmp_path / "data", splits=tuple(lists(damaged)), workers=0
    )
    for data, options in (("data", {"prepared": True}), ("mine", {"skip_broken": True})):
        check.main(check.Settings(tmp_path / data, workers=0, **options))
        output = capsys.readouterr().out
        assert "4 photos cannot be read, such as JPEGImages/empty.jpg" in output
        assert f"all warnings are listed in {tmp_path / data}.check.txt" in output
        lines = (tmp_path / f"{data}.check.txt").read_text().splitlines()
        assert "JPEGImages/page.jpg: not a readable photo: it is a web page" in lines[2]
        assert all(line.endswith("left out of all splits (data.folder.skip_broken)") for line in lines[:4])
    with pytest.raises(UserError, match="4 faults"):
        check.main(check.Settings(damaged, workers=0))


def test_missing_and_too_large_photos_are_not_broken(damaged: Path, tmp_path: Path) -> None:
    """A disk that is not there must not shrink a dataset."""
    (damaged / "JPEGImages" / "a.jpg").unlink()
    (damaged / "JPEGImages" / "b.jpg").unlink()
    (damaged / "JPEGImages" / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    Image.new("L", (2100, 2100)).save(damaged / "JPEGImages" / "c.jpg")
    (tmp_path / "data").mkdir()
    folder.prepare(
        Folder(path=str(damaged), skip_broken=True), tmp_path / "data", splits=tuple(lists(damaged)), workers=0
    )
    assert lists(tmp_path / "data")["train"] == ["a", "b", "c"]
    with pytest.raises(UserError) as error:
        check.main(check.Settings(tmp_path / "data", prepared=True, workers=0))
    faults = "\n".join(error.value.details)
    for text in ("a.jpg: no such file", "b.jpg: the photo it links to", "c.jpg: 2100x2100 has more than"):
        assert text in faults


def test_a_split_of_broken_photos_alone_is_a_fault(damaged: Path, tmp_path: Path) -> None:
    write_lines(damaged / "ImageSets" / "Segmentation" / "val.txt", ["empty", "page"])
    with pytest.raises(UserError, match=r"val\.txt: empty or missing"):
        check.main(check.Settings(damaged, skip_broken=True, workers=0))


def test_skipping_broken_photos_changes_no_part_of_a_dataset(turned) -> None:
    """What is left out follows from the photos alone, so that the flag reruns no training."""
    put(turned, "a", SQUARE, SQUARE)
    (turned / "JPEGImages" / "b.jpg").write_bytes(b"no photo")
    assert parts(turned, skip_broken=True) == parts(turned)
