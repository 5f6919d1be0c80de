"""The check of a dataset: all faults are listed at once, and a valid dataset passes (broken files: tests/bad_input)."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data import check
from ppl.data.checks.labels import label_warnings
from ppl.data.checks.splits import split_faults
from ppl.data.dataset import Dataset
from ppl.data.masks import write_mask
from ppl.jobs.errors import UserError

LABELS = {"t1": "cat", "t2": "dog", "t3": "cat;dog", "v1": "cat", "e1": ""}
SPLITS = {"all": ["t1", "t2", "t3"], "part": ["t1", "t2"], "val": ["v1"], "test": ["e1"]}


def write_list(root: Path, split: str, images: Sequence[str]) -> None:
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{image}\n" for image in images))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A valid dataset: photos of 8x6 (w, h), masks where something is measured."""
    root = tmp_path / "data"
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    for split, images in SPLITS.items():
        write_list(root, split, images)
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "labels.csv").write_text("image,classes\n" + "".join(f"{i},{c}\n" for i, c in LABELS.items()))
    for image in LABELS:
        Image.new("RGB", (8, 6)).save(root / "JPEGImages" / f"{image}.jpg")
    for image in ("t1", "t2", "v1"):
        write_mask(root / "SegmentationClass" / f"{image}.png", np.array([[0, 1, 2, 255] * 2] * 6, dtype=np.uint8))
    return root


def settings(root: Path) -> check.Settings:
    return check.Settings(root, "all", "part", "val", "test", root.with_name("check.json"), workers=1)


def expect_faults(root: Path, *starts: str) -> None:
    """The check reports exactly these faults, named without the folder."""
    with pytest.raises(UserError) as error:
        check.main(settings(root))
    head, *lines = str(error.value).splitlines()
    assert head.startswith(f"{root}: ")
    assert "correct them first" in head
    assert not settings(root).out.exists()
    found = [line.strip().removeprefix(f"{root}/") for line in lines]
    assert len(found) == len(starts)
    for start in starts:
        assert sum(line.startswith(start) for line in found) == 1, (start, found)


def warnings_of(capsys: pytest.CaptureFixture, root: Path) -> str:
    """Warnings of a dataset that passes."""
    check.main(settings(root))
    return "\n".join(line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: "))


def test_a_valid_dataset_passes_with_a_summary(root):
    check.main(settings(root))
    one = {"cat": 1, "dog": 1}
    assert json.loads(settings(root).out.read_text()) == {
        "classes": ["cat", "dog"],
        "images": {"all": 3, "part": 2, "val": 1, "test": 1},
        "images_per_class": {"all": {"cat": 2, "dog": 2}, "part": one, "val": {"cat": 1}, "test": {}},
        "masks": True,
    }
    shutil.rmtree(root / "SegmentationClass")
    check.main(settings(root))
    assert json.loads(settings(root).out.read_text())["masks"] is False


def test_faults_of_labels_and_lists_come_with_those_of_files(root):
    with (root / "labels.csv").open("a") as file:
        file.write("t1,cat\nx1,yak;dog;gnu\n")
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    (root / "JPEGImages" / "t2.jpg").write_bytes(b"no photo")
    expect_faults(
        root,
        "labels.csv, line 7: image 't1' appears twice; keep one line",
        "2 lines of labels.csv are faulty, such as labels.csv, line 8 (class 'gnu' is not in classes.txt) and "
        "labels.csv, line 8 (class 'yak' is not in classes.txt); correct the name, or add it",
        "ImageSets/Segmentation/val.txt: empty or missing",
        "JPEGImages/t2.jpg: not a readable photo",
    )


def test_all_faults_are_listed_at_once(root):
    for split, images in {"all": ["t1", "t2", "t3", "t3", "v1"], "part": ["t1", "t2", "u1"], "test": []}.items():
        write_list(root, split, images)
    (root / "classes.txt").write_text("cat\ndog\nyak\n")
    (root / "labels.csv").write_text("image,classes\nt1,cat\nt2,dog\nv1,cat\n")
    (root / "JPEGImages" / "t2.jpg").write_bytes(b"no photo")
    write_mask(root / "SegmentationClass" / "v1.png", np.zeros((6, 7), dtype=np.uint8))
    write_mask(root / "SegmentationClass" / "t1.png", np.full((6, 8), 4, dtype=np.uint8))
    expect_faults(
        root,
        "ImageSets/Segmentation/all.txt: 't3' is listed 2 times; keep one",
        "ImageSets/Segmentation/test.txt: empty or missing",
        "splits all and val: share 1 images, such as 'v1'",
        "split part: has 1 images outside all, such as 'u1'",
        "photo 't3' of split all: has no line in labels.csv",
        "class 'yak': is on no image of split all",
        "SegmentationClass/t1.png: holds id 4; allowed are 0 to 3 and 255",
        "SegmentationClass/v1.png: shape mismatch: expected 8x6, as the photo, got 7x6",
        "JPEGImages/t2.jpg: not a readable photo",
        "JPEGImages/u1.jpg: no such file",
    )


def test_a_photo_in_two_held_out_splits_is_not_a_fault():
    splits = {"all": ["a"], "val": ["b"]}
    assert list(split_faults(splits, "all", "all", ["val", "val"])) == []


def test_many_faults_of_a_kind_are_one_line_with_three_examples(root):
    write_list(root, "test", [f"m{number:03d}" for number in range(300)])
    examples = "JPEGImages/m000.jpg, JPEGImages/m001.jpg and JPEGImages/m002.jpg"
    expect_faults(root, f"300 photos are missing, such as {examples}; copy")


def test_a_class_drawn_as_255_is_a_fault_unless_masks_show_classes_beside_it(root):
    masks = [root / "SegmentationClass" / f"{image}.png" for image in ("t1", "t2", "v1")]
    for path in masks:
        write_mask(path, np.array([[0, 0, 255, 255] * 2] * 6, dtype=np.uint8))
    expect_faults(root, "masks: hold 0 and 255 alone: 255 is ignored")
    write_mask(masks[-1], np.array([[0, 1, 255, 255] * 2] * 6, dtype=np.uint8))
    check.main(settings(root))


def test_masks_of_some_measured_photos_only_are_a_fault_with_a_remedy(root):
    masks = root / "SegmentationClass"
    for image in ("t1", "v1"):
        (masks / f"{image}.png").unlink()
    expect_faults(root, "2 masks are missing, such as SegmentationClass/t1.png and SegmentationClass/v1.png; draw")
    write_list(root, "part", ["t2"])
    (masks / "v1.png").symlink_to(masks / "t2.png")
    check.main(settings(root))


def test_a_valid_dataset_gets_warnings(root, capsys):
    write_list(root, "all", [*SPLITS["all"], "e1", "copy"])
    write_list(root, "test", ["e1", "v1"])
    with (root / "labels.csv").open("a") as file:
        file.write("copy,cat\n")
    content = (root / "JPEGImages" / "v1.jpg").read_bytes() + b"\0"
    for image in ("copy", "v1"):
        (root / "JPEGImages" / f"{image}.jpg").write_bytes(content)
    found = warnings_of(capsys, root)
    for text in (
        "split test: 1 of its 2 photos are also in split all",
        "2 classes have fewer than 20 training photos, such as class 'cat' (is on 3 training photos) and class 'dog'",
        "photo 'v1': is the same file as 'copy' of split all",
        "6 photos have fewer than 64 pixels on a side",
        "3 masks contradict labels, such as image 't1' (the mask shows dog, which is not labelled)",
    ):
        assert text in found


def test_a_class_on_every_photo_cannot_be_told_from_its_surroundings(root, capsys):
    (root / "labels.csv").write_text("image,classes\nt1,cat;dog\nt2,cat\nt3,cat\nv1,cat\ne1,\n")
    found = warnings_of(capsys, root)
    assert "class 'cat': is on every training photo" in found
    assert "class 'dog': is on every" not in found


def test_rare_classes_and_two_spellings_are_named_and_balanced_classes_get_no_warning():
    def warnings(classes: tuple[str, ...], labels: list[tuple[int, ...]]) -> str:
        labelled = {f"i{number}": ids for number, ids in enumerate(labels)}
        dataset = Dataset(Path("data"), classes, labelled)
        return "\n".join(warning.line for warning in label_warnings(dataset, tuple(labelled)))

    found = warnings(("Red fox", "owl", "red_fox"), [(1, 2)] * 4 + [(1,)] * 86 + [(3,)] * 10)
    assert "class 'Red fox': is on 90 training photos, 'owl' on 4" in found
    assert "classes.txt: 'Red fox' and 'red_fox' look like one class" in found
    assert warnings(("a", "b"), [(1,), (2,)] * 50) == ""


def test_without_an_output_file_the_summary_is_printed(root, capsys):
    check.main(replace(settings(root), out=None))
    shown = capsys.readouterr().out
    assert "5 photos, 2 classes, with masks" in shown
    assert [line.split() for line in shown.splitlines()[1:5]] == [
        ["all", "part", "val", "test"], ["photos", "3", "2", "1", "1"], ["cat", "2", "1", "1", "0"],
        ["dog", "2", "1", "0", "0"],
    ]  # fmt: skip


def test_a_settings_file_names_folder_and_splits(root, capsys, monkeypatch):
    monkeypatch.chdir(root.parent)
    mine = {"data": {"folder": {"path": "data"}, "train_split": "all", "seed_split": "part"}}
    experiments = {"drawn": {"data": {"source": "demo"}}, "mine": mine}
    Path("mine.yaml").write_text(json.dumps({"experiments": experiments}))
    check.main(check.Settings(Path("mine.yaml"), workers=0))
    assert capsys.readouterr().out.splitlines()[-1] == "no faults in the data of mine.yaml"


@pytest.mark.parametrize(
    "text", [None, "", "a", "[1]", "experiments: {}", "experiments: {a: {}}", "experiments: {a: {data: {}}}", "{",
             "experiments: {a: {data: {source: demo}}}", "experiments: {a: {data: {folder: 5}}}", "experiments: {a: 5}",
             "experiments: {a: {data: {path: mine}}}", "experiments: {a: {data: }}"],
)  # fmt: skip
def test_a_settings_file_that_is_missing_or_names_no_folder_is_refused_in_a_line(tmp_path, text):
    if text is not None:
        (tmp_path / "mine.yaml").write_text(text)
    expected = "no[t ] ?[^\n]*; [^\n]*$" if text is not None else "is not there; name a settings file"
    with pytest.raises(UserError, match=f"mine.yaml(: {expected}|, data: [^\n]*; docs/own-data.md shows one$)"):
        check.main(check.Settings(tmp_path / "mine.yaml", workers=0))


def write_masks(root, *rows, images=("t1", "t2", "v1")):
    """Write masks of 8x6 whose rows repeat 8 ids, one mask per photo."""
    for image, row in zip(images, rows, strict=True):
        write_mask(root / "SegmentationClass" / f"{image}.png", np.array([row] * 6, dtype=np.uint8))


BLANK, OBJECT = [0] * 8, [0, 0, 1, 1, 2, 2, 255, 255]


def test_masks_without_any_class_are_a_warning_of_the_split_that_has_them(root, capsys):
    write_masks(root, BLANK, BLANK, BLANK)
    check.main(settings(root))
    assert (
        "warning: 2 splits have no mIoU, such as masks of split part and masks of split val" in capsys.readouterr().out
    )
    write_masks(root, OBJECT, OBJECT, [0, 255] * 4)
    check.main(settings(root))
    assert "warning: masks of split val: hold no class, so that this split has no mIoU" in capsys.readouterr().out


def test_masks_of_one_id_for_all_classes_are_a_fault(root):
    write_masks(root, *[[0, 0, 1, 1] * 2] * 3)  # t2 is labelled dog alone
    expect_faults(root, "masks: hold 1, 'cat', as the only class, also ")


def test_masks_without_background_are_a_warning(root, capsys):
    write_masks(root, *[[1, 1, 2, 2] * 2] * 3)
    check.main(settings(root))
    assert "masks: hold 1 to 2, never 0, which is background; subtract 1" in capsys.readouterr().out


@pytest.mark.parametrize(("mode", "named"), [
    ("RGB", "colours in place of class ids (RGB)"), ("RGBA", "colours in place of class ids (RGBA)"),
    ("1", "1-bit black and white"), ("LA", "greyscale with transparency"), ("I;16", "greyscale of 16 bits"),
])  # fmt: skip
def test_masks_of_another_mode_are_named_in_one_line(root, mode, named):
    for image in ("t1", "t2", "v1"):
        Image.fromarray(np.zeros((6, 8), np.uint8)).convert(mode).save(root / "SegmentationClass" / f"{image}.png")
    expect_faults(root, f"3 masks cannot be read ({named}), such as SegmentationClass/t1.png")


def test_a_jpeg_named_as_a_png_is_named(root):
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "SegmentationClass" / "v1.png", "JPEG")
    expect_faults(
        root, "SegmentationClass/v1.png: a JPEG file, not a PNG; save it as an 8-bit palette or greyscale PNG"
    )


def test_every_broken_photo_is_listed_in_a_file_that_the_next_check_removes(root, capsys):
    broken = [f"b{number:02d}" for number in range(7)]
    write_list(root, "test", broken)
    for name in broken:
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(b"<html>404</html>")
    texts = []
    for workers in (1, 0):
        with pytest.raises(UserError) as error:
            check.main(replace(settings(root), workers=workers))
        texts.append(str(error.value))
    assert texts[0] == texts[1]
    list_file = settings(root).out.with_suffix(".txt")
    assert f"7 faults; correct them first, all are listed in {list_file}:" in texts[0]
    lines = list_file.read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [f"JPEGImages/{name}.jpg" for name in broken]
    assert all("it is a web page" in line for line in lines)
    write_list(root, "test", SPLITS["test"])
    for image, colour in zip(LABELS, range(50, 250, 40), strict=True):
        pixels = np.random.default_rng(colour).integers(0, 255, (80, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{image}.jpg")
    shutil.rmtree(root / "SegmentationClass")
    check.main(settings(root))
    assert not list_file.exists()


def test_warnings_that_the_terminal_only_counts_are_listed_beside_the_dataset(root, capsys):
    check.main(replace(settings(root), out=None))  # all photos are black
    list_file = root.with_name("data.check.txt")
    assert f"all warnings are listed in {list_file}" in capsys.readouterr().out
    assert list_file.read_text().count("has one colour, (0, 0, 0)") == len(LABELS)


@pytest.mark.parametrize("name", ["dtaa", "absent/mine", "DATA", "mine.yaml"])
def test_a_path_that_is_not_there_comes_with_what_is(root, name):
    with pytest.raises(UserError) as error:
        check.main(check.Settings(root.parent / name, workers=0))
    text = str(error.value)
    assert text.startswith(f"{root.parent / name}: is not there")
    assert ("did you mean" in text) == (name in ("dtaa", "DATA"))
    if "/" in name:
        assert f"the nearest that exists is {root.parent}" in text


def test_too_many_classes_are_counted_and_their_file_is_named(root):
    (root / "classes.txt").write_text("".join(f"c{number}\n" for number in range(300)))
    with pytest.raises(UserError, match=r"classes.txt: names 300 classes, where 1 to 254 can be trained; "):
        check.main(settings(root))
    (root / "classes.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(UserError, match=r"classes.txt: names 'cat' 2 times; "):
        check.main(settings(root))
