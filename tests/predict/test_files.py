from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.jobs.errors import UserError
from ppl.predict.files import MAX_NAME_BYTES, find_photos, natural, output_names

FILES = ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "x[1].jpg", "x1.jpg")
BELOW = ("down/c.webp", "down/deep/d.tif", "out/b.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*FILES, *BELOW):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "recursive", "found"),
    [
        (["."], False, ["a.png", "b.JPG", "x1.jpg", "x[1].jpg"]),
        (["."], True, ["a.png", "b.JPG", "x1.jpg", "x[1].jpg", "down/c.webp", "down/deep/d.tif"]),  # but for out
        (["down"], False, ["down/c.webp"]),
        (["*.jpg"], False, ["x1.jpg", "x[1].jpg"]),
        (["*"], False, ["a.png", "b.JPG", "x1.jpg", "x[1].jpg"]),
        (["d*/**/*.*"], False, ["down/c.webp", "down/deep/d.tif"]),
        (["x[1].jpg"], False, ["x[1].jpg"]),  # a file of that name comes before the pattern
        (["x[12].jpg"], False, ["x1.jpg"]),
        (["b.JPG", "./b.JPG", "down/../b.JPG", "."], False, ["b.JPG", "a.png", "x1.jpg", "x[1].jpg"]),
        (["notes.txt"], False, ["notes.txt"]),  # named by itself it is tried
    ],
)
def test_files_folders_and_patterns_name_photos(folder: Path, arguments, recursive: bool, found: list[str]) -> None:
    photos, _ = find_photos(arguments, recursive=recursive, out=Path("out"))
    assert list(map(str, photos)) == found


def test_files_left_out_are_counted(folder: Path) -> None:
    (folder / "phone.HEIC").touch()
    assert find_photos(["."], recursive=False, out=Path("out"))[1] == Counter({".txt": 1, ".heic": 1})


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["1.jpg", "02.jpg", "10.jpg", "a1b2.jpg", "a1b10.jpg", "a2b1.jpg", "frame2.jpg", "frame10.jpg"]
    for name in [*names, "s2/1.jpg", "s10/1.jpg"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    for arguments, recursive in ((["*.jpg"], False), (["."], False), (["."], True), (["**/*.jpg"], False)):
        found = [str(photo) for photo in find_photos(arguments, recursive=recursive, out=Path("out"))[0]]
        assert [name for name in found if "/" not in name] == names
        assert [name for name in found if "/" in name] in ([], ["s2/1.jpg", "s10/1.jpg"])


@given(st.lists(st.text(st.sampled_from("a1²٣0."), max_size=5), max_size=8))
def test_any_names_have_one_order(names: list[str]) -> None:
    in_order = sorted(names, key=natural)
    backwards = [*reversed(names)]
    assert in_order == sorted(backwards, key=natural)


def test_a_video_is_named_with_the_way_to_frames(tmp_path: Path) -> None:
    (tmp_path / "film.MP4").touch()
    with pytest.raises(UserError, match=r"film\.MP4: a video; turn it into frames: .*ffmpeg -i .*film/%06d\.jpg"):
        find_photos([str(tmp_path / "film.MP4")], recursive=False, out=tmp_path / "out")


@pytest.mark.parametrize("argument", ["absent.jpg", "*.heic", "empty", "down/deep/*.txt"])
def test_an_argument_without_photos_is_named(folder: Path, argument: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UserError) as error:
        find_photos(["a.png", argument], recursive=False, out=Path("out"))
    assert str(error.value).startswith(f"{argument}: ")


@pytest.mark.parametrize(
    ("photos", "names"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["one/a.jpg", "two/a.jpg", "two/b.jpg"], ["one-a", "two-a", "b"]),
        (["one/a.jpg", "two/A.jpg"], ["one-a", "two-A"]),
        (["one/a.jpg", "one/a.png", "2/one/a.png"], ["one-a", "one-a-2", "one-a-3"]),
        (["one-a.jpg", "one/a.jpg", "two/a.jpg"], ["one-a", "one-a-2", "two-a"]),
        (["legend.jpg", "Legend-2.png"], ["legend-2", "Legend-2-2"]),
    ],
)
def test_names_are_short_where_they_can_be(photos: list[str], names: list[str]) -> None:
    assert output_names([Path(photo) for photo in photos]) == names


@given(st.lists(st.text(st.sampled_from("aAé-2/."), min_size=1, max_size=6), max_size=12))
def test_names_differ_also_where_case_does_not_count(stems: list[str]) -> None:
    names = output_names([Path("folder") / f"{stem}.jpg" for stem in stems])
    assert len({name.casefold() for name in names} | {"legend"}) == len(stems) + 1


def test_a_long_name_is_cut_between_letters() -> None:
    (name,) = output_names([Path("é" * 120 + ".jpg")])
    assert name == "é" * (MAX_NAME_BYTES // 2)
