"""A dataset of a folder of photos and a table: complete, linked, the same every time, and no photo ever touched."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppl.cam.settings import Cam
from ppl.classify.settings import Classify
from ppl.data import check, example, new
from ppl.data.dataset import MAX_ID_BYTES, Dataset, id_fault
from ppl.data.masks import write_mask
from ppl.data.own import settings_file
from ppl.data.own.divide import held_out
from ppl.data.own.photos import PhotoIndex, copies, ids_of, list_photos
from ppl.data.photos import read_photo
from ppl.data.settings import Data
from ppl.jobs.errors import UserError
from ppl.jobs.fields import plain, read
from ppl.jobs.settings import Hardware
from ppl.refine.settings import Refine
from ppl.segment.settings import Segment

COUNT = 40
SECTIONS = {"data": Data, "hardware": Hardware, "classify": Classify, "cam": Cam, "refine": Refine, "segment": Segment}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> new.Settings:
    """Photos in two folders, the last four without labels, a hidden file, a film, and rows without photos."""
    monkeypatch.chdir(tmp_path)
    rng, rows = np.random.default_rng(0), ["file;cat;Hündin", "deleted.jpg;1;0"]
    for number in range(COUNT):
        photo = Path("photos", name_of(number))
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(f"{photo}.JPG", "JPEG")
        if number < COUNT - 4:
            rows.append(f"{photo.parent.name}\\{photo.name}.jpg;{number % 2};{int(number % 3 == 0)}")
    for other in (".DS_Store", "._IMG 0.JPG", "film.mov", "more.heic"):
        Path("photos", "first day", other).write_bytes(b"no photo")
    Path("labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return new.Settings(Path("photos"), Path("labels.csv"), device="cpu")


def name_of(number: int) -> str:
    return f"{('first day', 'zweiter Täg')[number % 2]}/IMG {number // 2}"


def with_masks(own: new.Settings, folder: str, *names: str) -> new.Settings:
    for name in names:
        Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        write_mask(Path(folder, f"{name}.png"), np.zeros((70, 90), np.uint8))
    Path("classes.txt").write_text("Hündin\ncat\n", encoding="utf-8")
    return replace(own, masks=Path(folder), classes=Path("classes.txt"))


def experiment(*, gpu: bool, photos: int = 100) -> dict:
    """The experiment in a settings file for that many photos."""
    return yaml.safe_load(settings_file.settings_text("mine", gpu=gpu, photos=photos, workers=2))["experiments"]["mine"]


def small() -> dict:
    return yaml.safe_load(settings_file.shipped_settings("small"))["defaults"]


def leaves(values: dict, *above: str) -> dict[str, object]:
    """The values of nested sections by key."""
    found = {}
    for key, value in values.items():
        found |= leaves(value, *above, key) if isinstance(value, dict) else {".".join((*above, key)): value}
    return found


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_dataset_has_every_photo_and_passes_the_check_and_a_second_run_changes_nothing(own, capsys):
    before = files(own.photos)
    new.main(own)
    shown = capsys.readouterr().out
    dataset = Dataset.open("mine")
    assert dataset.classes == ("cat", "Hündin")
    train, val, test = (dataset.split(name) for name in ("train", "val", "test"))
    assert dataset.split("seed") == train
    assert len(test) == len(set(test)) == COUNT
    assert len(val) == round(0.1 * (COUNT - 4))
    assert sorted(train + val) == sorted(dataset.labels)
    for photo in map(dataset.photo, test):
        assert photo.is_symlink()
        assert read_photo(photo).shape == (70, 90, 3)
    assert dataset.labels["zweiter Täg__IMG 1"] == (1, 2)  # the photo of number 3
    for text in ("40 photos", "no labels: 4 photos", "no photo: 1 names in the labels, deleted.jpg", "1 .heic"):
        assert text in shown
    check.main(check.Settings(Path("mine.yaml"), workers=0))
    assert "no faults" in capsys.readouterr().out
    Path("mine.yaml").write_text("# mine\n")
    written = files(Path("mine"))
    new.main(own)
    assert files(Path("mine")) == written
    assert Path("mine.yaml").read_text() == "# mine\n"  # changed settings stay
    assert files(own.photos) == before


@pytest.mark.parametrize("settings", [experiment(gpu=False), experiment(gpu=True), small()])
def test_the_settings_are_valid_and_all_of_them_differ_from_the_defaults(settings):
    assert settings.keys() <= {"main", "compare", *SECTIONS}
    for name, section in SECTIONS.items():
        if name in settings:
            chosen = read(section, settings[name], name, "")
            defaults, values = leaves(plain(section())), leaves(plain(chosen))
            written = leaves(settings[name])
            assert {key: values[key] for key in written} == written
            kept = {key for key in written if values[key] == defaults[key]}
            assert kept <= {"workers"}  # that number is this computer's


def test_the_small_example_of_the_repository_is_that_of_the_package():
    example = Path(__file__).parents[2] / "config" / "small.yaml"
    assert yaml.safe_load(example.read_text(encoding="utf-8"))["defaults"] == small()


def test_the_settings_without_a_gpu_are_those_of_the_small_example_with_more_epochs_for_few_photos(own):
    new.main(own)
    mine, example = yaml.safe_load(Path("mine.yaml").read_text())["experiments"]["mine"], small()
    data = read(Data, mine.pop("data"), "data", "")
    assert data.folder.path == "mine"
    assert tuple(data.splits.values()) == ("train", "seed", "val", "test")
    assert mine["hardware"].pop("workers") >= 1
    example["hardware"].pop("workers")
    few, many = ((m["classify"]["training"], m["refine"]["irnet"]["training"]) for m in (mine, example))
    assert [training.pop("epochs") for training in few] == [settings_file.MAX_EPOCHS] * 2
    assert [training.pop("epochs") for training in many] == [4, 2]
    assert mine == example


@pytest.mark.parametrize(
    ("photos", "epochs"), [(1, 12), (100, 12), (334, 12), (400, 10), (999, 5), (1000, 4), (10**6, 4)]
)
def test_few_photos_get_more_epochs(photos, epochs):
    assert settings_file.epochs(4, 1000, photos) == epochs


def test_the_settings_for_a_gpu_are_the_papers_but_for_thresholds_that_were_tuned_on_its_masks():
    mine = experiment(gpu=True, photos=10_582)
    without_masks = {
        "cam": {"threshold": "auto"},
        "refine": {
            "keep_classes": True,
            "reliable": {"scores": "margins"},
            "irnet": {"walk": {"background": "seed"}},
        },
    }
    for name in ("classify", "cam", "refine", "segment"):
        expected = read(SECTIONS[name], without_masks.get(name, {}), name, "")
        assert read(SECTIONS[name], mine.get(name, {}), name, "") == expected


def test_masks_of_some_photos_decide_what_is_held_out_and_measured(own):
    new.main(with_masks(own, "masks", *map(name_of, range(12))))
    dataset = Dataset.open("mine")
    assert dataset.classes == ("Hündin", "cat")
    measured = {*dataset.split("val"), *dataset.split("seed")}
    assert len(measured) == 12
    assert all(dataset.mask(image).is_file() for image in measured)
    assert set(dataset.split("seed")) < set(dataset.split("train"))
    check.main(check.Settings(Path("mine.yaml"), workers=0))


def test_a_mask_that_matches_two_photos_is_refused(own):
    both = "matches first day/IMG 0.JPG and zweiter Täg/IMG 0.JPG; put masks into"
    with pytest.raises(UserError, match=f"IMG 0.png: {both}"):
        new.main(with_masks(own, "masks", "IMG 0"))
    assert not Path("mine").exists()


def test_masks_among_the_photos_are_not_photos(own):
    new.main(with_masks(own, "photos/masks", *map(name_of, (2, 4, 6))))
    assert len(Dataset.open("mine").split("test")) == COUNT
    assert len(list(Path("mine", "SegmentationClass").iterdir())) == 3


def test_photos_in_linked_folders_are_listed_once(tmp_path):
    for name in ("photos/day1/a.jpg", "elsewhere/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    for link, target in (("day2", "../elsewhere"), ("again", "day1"), ("around", ".")):
        (tmp_path / "photos" / link).symlink_to(target)
    assert [str(photo) for photo in list_photos(tmp_path / "photos").photos] == ["day1/a.jpg", "day2/b.jpg"]


def test_files_of_systems_and_folders_above_are_not_listed_and_loops_end(tmp_path):
    names = ("photos/a.JPG", "photos/@eaDir/a.JPG/SYNOPHOTO_THUMB_XL.jpg", "photos/__MACOSX/._a.jpg", "photos/._a.JPG",
             "photos/Thumbs.db", "photos/.thumbnails/a.jpg", "photos/$RECYCLE.BIN/b.jpg", "private/c.jpg")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for link, target in (("up", ".."), ("this", "../photos"), ("x", "y"), ("y", "x"), ("loop.jpg", "loop.jpg")):
        (tmp_path / "photos" / link).symlink_to(target)
    assert [str(photo) for photo in list_photos(tmp_path / "photos").photos] == ["a.JPG", "loop.jpg"]


@pytest.mark.parametrize("argument", ["photos", "labels", "masks", "classes"])
def test_an_argument_that_names_nothing_comes_with_a_similar_name(own, argument):
    own = with_masks(own, "masks", name_of(1))
    path = getattr(own, argument)
    wrong = path.with_name(f"{path.name}s" if argument != "photos" else "photo")
    with pytest.raises(UserError) as error:
        new.main(replace(own, **{argument: wrong}))
    assert str(error.value).startswith(f"{wrong}: is not there in {Path.cwd()}; --{argument}: name the ")
    assert f"did you mean {path}?" in str(error.value)
    assert not Path("mine").exists()
    Path("x").symlink_to("x")
    with pytest.raises(UserError, match=r"^x: is not there"):
        new.main(replace(own, photos=Path("x")))


@pytest.mark.parametrize("argument", ["photos", "masks"])
def test_a_file_in_place_of_a_folder_comes_with_the_argument(own, argument):
    own = with_masks(own, "masks", name_of(1))
    with pytest.raises(UserError, match=rf"^labels.csv: not a folder; --{argument}: name the folder of "):
        new.main(replace(own, **{argument: Path("labels.csv")}))


def test_a_folder_without_masks_is_one_line(own):
    own = with_masks(own, "masks", name_of(1))
    Path("empty").mkdir()
    with pytest.raises(UserError, match=r"^empty: no file in it; name the folder of masks, or remove --masks$"):
        new.main(replace(own, masks=Path("empty")))


CLASS_LISTS = {
    "Hündin\ncat\nHündin\n": "names 'Hündin' 2 times",
    "Cat\nHündin\n": "names 'Cat', the labels 'cat'",
    "cat\nbackground\nHündin\n": "names 'background' among the classes",
    "\n": "names no class",
}


@pytest.mark.parametrize(("text", "message"), CLASS_LISTS.items())
def test_the_error_of_a_class_list_names_the_file_of_the_user(own, text, message):
    Path("list.txt").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"^list.txt: {message}"):
        new.main(replace(own, classes=Path("list.txt")))
    assert not Path("mine").exists()


@pytest.mark.parametrize("first", ["background\n", "_background_\n", "__ignore__\n_background_\n", ""])
def test_background_at_the_start_of_a_class_list_is_number_0(own, first):
    Path("list.txt").write_text(f"{first}Hündin\ncat\n", encoding="utf-16")
    new.main(replace(own, classes=Path("list.txt")))
    assert Path("mine/classes.txt").read_text(encoding="utf-8").split() == ["Hündin", "cat"]


def test_classes_are_those_of_the_photos_not_of_a_larger_table(own):
    with Path("labels.csv").open("a", encoding="utf-8") as table:
        table.write("\nabsent.jpg;1;0")
    text = Path("labels.csv").read_text(encoding="utf-8").splitlines()
    Path("labels.csv").write_text("\n".join(f"{line};{'zebra' if not i else int('absent' in line)}"
                                            for i, line in enumerate(text)), encoding="utf-8")  # fmt: skip
    new.main(own)
    assert Path("mine/classes.txt").read_text(encoding="utf-8").split() == ["cat", "Hündin"]


def test_the_next_commands_name_the_python_that_ran_this_one(own, monkeypatch, capsys):
    """Neither `python` nor `snakemake` need be on PATH, nor the folder be that of the repository."""
    monkeypatch.setattr(sys, "orig_argv", ["my env/bin/python3", "-m", "ppl.data.new"])
    new.main(own)
    check, run = capsys.readouterr().out.partition("next:\n")[2].splitlines()
    assert check.strip() == "'my env/bin/python3' -m ppl.data.check --data mine.yaml"
    assert run.strip().startswith("'my env/bin/python3' -m ppl.run --cores ")


def test_the_example_goes_through_the_commands_of_the_docs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example.main(example.Settings(photos=24, size=96))
    photos, labels, masks = Path("my_photos"), Path("my_photos", "labels.csv"), Path("my_masks")
    new.main(new.Settings(photos, labels, device="cpu"))
    new.main(new.Settings(photos, labels, "measured", masks, masks / "classes.txt", device="cpu"))
    capsys.readouterr()
    for name in ("mine", "measured"):
        check.main(check.Settings(Path(f"{name}.yaml"), workers=0))
        assert "contradict" not in capsys.readouterr().out
        dataset = Dataset.open(name)
        assert dataset.has_masks == (name == "measured")
        assert set(dataset.classes) <= set(example.CLASSES)
        assert (len(dataset.split("test")), len(dataset.labels)) == (24, 20)


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60)
PATHS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3)


@given(st.sets(PATHS.map(lambda parts: PurePosixPath(*parts[:-1], f"x{parts[-1]}.jpg"))))
def test_any_paths_get_different_ids_that_every_step_takes_or_are_refused(paths):
    try:
        ids = ids_of(sorted(paths))
    except UserError:  # two would share one, as the ids a_b and a\\b
        return
    assert len({image.casefold() for image in ids.values()}) == len(paths)
    assert [fault for image in ids.values() if (fault := id_fault(image))] == []
    assert all(len(image.encode()) <= MAX_ID_BYTES and image == image.strip() for image in ids.values())


def test_photos_that_differ_in_their_suffix_keep_it():
    photos = list(map(PurePosixPath, ("a.jpg", "a.png", "b.jpg", "x/b.jpg", "B.jpeg")))
    assert list(ids_of(photos).values()) == ["a.jpg", "a.png", "b.jpg", "x__b", "B.jpeg"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x/a.jpg", ["x/a.jpg"]), ("x/a", ["x/a.jpg"]), ("X\\A.JPG", ["x/a.jpg"]), ("a", ["x/a.jpg", "y/a.jpg"]),
        ("/home/me/photos/y/a.jpg", ["y/a.jpg"]), ("q/a.jpg", []), ("b", ["y/z/b.png"]), ("z/b.jpg", ["y/z/b.png"]),
        ("./c.jpg", ["c.jpg"]), ("C:\\photos\\c.jpg", ["c.jpg"]), ("\u00fc", ["u\u0308.jpg"]), ("n.1", ["n.1.jpg"]),
        ("n.1.jpg", ["n.1.jpg"]), ("n", []), ("", []), ("/", []), (" c ", ["c.jpg"]), ("c.txt", []),
    ],
)  # fmt: skip
def test_a_name_matches_the_photo_that_people_mean(name, found):
    photos = map(PurePosixPath, ("x/a.jpg", "y/a.jpg", "y/z/b.png", "c.jpg", "u\u0308.jpg", "n.1.jpg"))
    assert [str(photo) for photo in PhotoIndex(tuple(photos)).find(name)] == found


def test_copies_have_equal_content(tmp_path):
    for name, content in {"a": b"12", "b": b"12", "c": b"21", "d": b"1", "e": b"21"}.items():
        (tmp_path / name).write_bytes(content)
    assert sorted(copies({name: tmp_path / name for name in "abcde"})) == [["a", "b"], ["c", "e"]]


LABELS = st.dictionaries(st.integers(0, 60).map(str), st.sets(st.sampled_from("xyz")), min_size=2)


@given(LABELS, st.integers(1, 30), st.data())
def test_every_class_keeps_a_photo_and_copies_stay_together(labels, count, data):
    images = sorted(labels)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(images)))) | {0, len(images)})
    groups = [images[a:b] for a, b in pairwise(cuts) if b - a > 1]
    try:
        chosen = set(held_out(labels, groups, labels.keys(), count))
    except UserError:
        return
    assert 0 < len(chosen) <= count
    assert set().union(*labels.values()) == set().union(*(labels[image] for image in labels.keys() - chosen))
    assert all(len(chosen & set(group)) in (0, len(group)) for group in groups)


def test_adding_a_photo_moves_few_others():
    labels = {f"photo {number}": {"cat"} for number in range(200)}
    before = set(held_out(labels, [], labels.keys(), 20))
    after = set(held_out(labels | {"another": {"cat"}}, [], labels.keys() | {"another"}, 20))
    assert len(before ^ after) <= 2
