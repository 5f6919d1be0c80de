"""Ids of any text and lists of any content: through every step, or refused in a line before anything is written."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from ppl.cam.store import Cam, open_store, write
from ppl.data import check
from ppl.data.dataset import MAX_ID_BYTES, Dataset, id_fault
from ppl.data.label_maps import find_maps
from ppl.data.masks import write_mask
from ppl.data.sources import folder
from ppl.jobs.errors import UserError
from ppl.measure import label_maps as evaluate
from ppl.measure import sweep
from ppl.segment import voc_server as server

LISTS = "ImageSets/Segmentation"
IMPOSSIBLE = {
    "parent": "..", "here": ".", "upwards": "../../up", "absolute": "/etc/passwd", "folder": "a/b", "backslash": "a\\b",
    "option": "-rf", "long option": "--out", "hidden": ".hidden", "tab": "a\tb", "null": "a\0b", "bell": "a\ab",
    "escape": "a\x1b[31mb", "from right to left": "a\u202eb", "no width": "a\u200bb", "long": "a" * (MAX_ID_BYTES + 1),
    "long in bytes": "\u00e9" * (MAX_ID_BYTES // 2 + 1), "longer than a name may be": "b" * 300,
}  # fmt: skip
POSSIBLE = {
    "space": "a b", "spaces": "a  b  c", "dots": "a..b", "suffix": "a.png", "two suffixes": "a.tar.jpg", "dash": "a-b-",
    "umlaut": "\u00e4\u00f6\u00fc", "decomposed": "a\u0308", "chinese": "\u732b", "emoji": "\U0001f431",
    "shell": "$(id)`id`;&|>", "quotes": "it's \"so\"", "glob": "*?[a]", "format": "%s {x} {0}", "comma": "a,b",
    "hash": "#1", "tilde": "~", "number": "0007", "nan": "nan", "long": "a" * MAX_ID_BYTES, "cams": "cams",
    "percent": "100%",
}  # fmt: skip


def renamed(root: Path, image: str, split: str = "train") -> None:
    """Calls the photo t1 otherwise, in all files."""
    for part in ("JPEGImages", "SegmentationClass"):
        (root / part / "t1.png").rename(root / part / f"{image}.png")
    quoted = '"' + image.replace('"', '""') + '"'
    labels = (root / "labels.csv").read_text().replace("t1,", f"{quoted},")
    (root / "labels.csv").write_text(labels, encoding="utf-8")
    path = root / LISTS / f"{split}.txt"
    path.write_text(path.read_text().replace("t1", image), encoding="utf-8")


@pytest.mark.parametrize("image", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_impossible_id_is_a_fault_of_the_check(root, checking, refused, image, split):
    with (root / LISTS / f"{split}.txt").open("a", encoding="utf-8") as file:
        file.write(f"{image}\n")
    refused(check.main, checking, f"{LISTS}/{split}.txt", "rename the photo")


@pytest.mark.parametrize("image", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_id_stops_a_step_that_is_called_without_the_check(root, tmp_path, refused, image):
    (root / LISTS / "val.txt").write_text(f"v1\n{image}\n", encoding="utf-8")
    (tmp_path / "maps").mkdir()
    shutil.copy(root / "SegmentationClass" / "v1.png", tmp_path / "maps")
    serving = server.Settings(root, "val", (tmp_path / "maps",), tmp_path / "served", tmp_path / "served.tar")
    refused(server.main, serving, f"{LISTS}/val.txt", "rename the photo")


@pytest.mark.parametrize("image", POSSIBLE.values(), ids=POSSIBLE)
def test_a_possible_id_goes_through_check_store_measuring_and_archive(root, checking, tmp_path, image):
    renamed(root, image)
    check.main(checking)
    dataset = Dataset.open(root)
    images = dataset.split("train")
    assert image in images
    cams = [(i, Cam(np.ones((1, 2, 2), np.float32), np.array(dataset.labels_of(i)), (6, 8))) for i in images]
    write(tmp_path / "cams.h5", cams, classes=dataset.classes, settings="", checkpoint="")
    with open_store([tmp_path / "cams.h5"], dataset.classes) as store:
        assert store.images == sorted(images)
    (tmp_path / "maps").mkdir()
    for i in images:
        write_mask(tmp_path / "maps" / f"{i}.png", np.ones((6, 8), np.uint8))
    assert [path.stem for path in find_maps([tmp_path / "maps"], images)] == images
    evaluate.main(evaluate.Settings(root, "train", (tmp_path / "maps",), "train", tmp_path / "iou.csv"))
    server.main(server.Settings(root, "train", (tmp_path / "maps",), tmp_path / "served", tmp_path / "served.tar"))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(str.strip))
@settings(max_examples=80)
def test_any_text_is_an_id_of_files_and_stores_or_refused(tmp_path_factory, one_line, image):
    assume(image)
    if fault := id_fault(image):
        assert len(fault.splitlines()) == 1
        assert "; " in fault
        return
    folder = tmp_path_factory.mktemp("ids")
    path = folder / f"{image}.png"
    path.touch()
    assert list(folder.iterdir()) == [path]
    assert path.stem == image
    assert f"{image}\n".splitlines() == [image]
    with h5py.File(folder.with_suffix(".h5"), "w") as file:
        file.create_group("cams").create_dataset(image, data=1)
        assert list(file["cams"]) == [image]


EMPTY = {"nothing": b"", "blank lines": b"\n\n  \n\t\n", "a mark of byte order": b"\xef\xbb\xbf"}
UNREADABLE = {"latin-1": "caf\u00e9\n".encode("latin-1"), "utf-16": "t1\n".encode("utf-16"), "a PNG": b"\x89PNG\r\n"}


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("content", [*EMPTY.values(), None], ids=[*EMPTY, "no file"])
def test_an_empty_split_is_a_fault_of_the_check(root, checking, refused, split, content):
    path = root / LISTS / f"{split}.txt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    refused(check.main, checking, f"{LISTS}/{split}.txt", "list one image id a line")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_list_in_another_encoding_is_named(root, checking, refused, split, content):
    (root / LISTS / f"{split}.txt").write_bytes(content)
    refused(check.main, checking, f"{LISTS}/{split}.txt", "not UTF-8")


@pytest.mark.parametrize("content", [b"t1\r\nt2\r\n", b"\xef\xbb\xbft1\nt2\n", b"  t1 \n\n\tt2", b"t1\rt2\r"])
def test_lists_of_other_editors_are_read(root, checking, content):
    (root / LISTS / "train.txt").write_bytes(content)
    check.main(checking)
    assert Dataset.open(root).split("train") == ["t1", "t2"]


@pytest.mark.parametrize(
    ("train", "val", "test", "message"),
    [
        ("t1 t2 t1", "v1", "e1", "'t1' is listed 2 times; keep one"),
        ("t1 t2 v1", "v1", "e1", "splits train and val: share 1 images, the first is 'v1'; keep it in one"),
        ("t1 t2", "t1 t2", "e1", "splits train and val: share 2 images"),
        ("t1 t2", "v1 w1", "e1", "w1.jpg: is not there"),
        ("t1 t2", "v1", "T1", "T1.jpg: is not there"),
        ("t1 t2", "v1", "t1.png e1", "t1.png.jpg: is not there"),
        ("t1", "v1", "e1", "class 'dog': is on no image of split train"),
        ("e1", "v1", "t1", "classes are on no image of split train, such as class 'cat'"),
        ("image t1 t2", "v1", "e1", "image.jpg: is not there"),
    ],
)
def test_a_split_that_cannot_be_is_a_fault_of_the_check(root, checking, refused, train, val, test, message):
    for name, images in (("train", train), ("val", val), ("test", test)):
        (root / LISTS / f"{name}.txt").write_text("".join(f"{image}\n" for image in images.split()))
    refused(check.main, checking, message)


def test_one_image_is_enough_to_train_and_to_predict(root, checking, steps):
    from ppl.cam import export
    from ppl.classify import train
    from ppl.refine import walk_affinitynet, walk_irnet
    from ppl.segment import predict_split

    (root / LISTS / "train.txt").write_text("t1\n")
    (root / "labels.csv").write_text("image,classes\nt1,cat;dog\nv1,cat\ne1,\n")
    check.main(checking)
    batch = dataclasses.replace(steps.training.training, batch_size=7)  # larger than the split
    train.main(dataclasses.replace(steps.training, training=batch))
    export.main(steps.exporting)
    for walk, walking in zip((walk_irnet, walk_affinitynet), steps.walking.values(), strict=True):
        walk.main(walking)
        assert [path.name for path in walking.out.iterdir()] == ["t1.png"]
    predict_split.main(steps.predicting)
    assert (steps.predicting.out / "crf" / "t1.png").exists()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 2000)])
def test_the_smallest_photos_go_through_every_step(root, checking, steps, size):
    from ppl.cam import export
    from ppl.classify import train
    from ppl.crf.dense import IRNET
    from ppl.refine import reliable as confident
    from ppl.refine import walk_affinitynet, walk_irnet
    from ppl.segment import predict_split

    Image.effect_noise(size[::-1], 90).convert("RGB").save(root / "JPEGImages" / "t1.png")
    write_mask(root / "SegmentationClass" / "t1.png", np.ones(size, np.uint8))
    check.main(checking)
    train.main(steps.training)
    export.main(steps.exporting)
    sure = confident.Reliable("constant", 0.3, 0.05, 0.7, 2)
    labelling = confident.Settings(root, "train", (steps.exporting.out,), root.with_name("sure"), sure, IRNET, 0)
    confident.main(labelling)
    for walk, walking in zip((walk_irnet, walk_affinitynet), steps.walking.values(), strict=True):
        walk.main(walking)
    predict_split.main(steps.predicting)
    sweep.main(sweep.Settings(root, "train", (steps.exporting.out,), root.with_name("sweep.csv"), 0))
    for out in (labelling.out, *(w.out for w in steps.walking.values()), steps.predicting.out / "crf"):
        with Image.open(out / "t1.png") as label:
            assert label.size == size[::-1]


@pytest.mark.parametrize("name", ["classes.txt", "labels.csv", f"{LISTS}/train.txt", f"{LISTS}/val.txt", "JPEGImages"])
@pytest.mark.parametrize("kind", ["absent", "swapped", "loop"])
def test_a_folder_with_a_part_of_another_kind_is_not_linked(root, tmp_path, refused, name, kind):
    path = root / name
    was_file = path.is_file()
    path.rename(tmp_path / "aside")
    if kind == "loop":
        path.symlink_to(path)
    elif kind == "swapped":
        path.mkdir() if was_file else path.touch()
    refused(folder.main, folder.Settings(root, ("train", "val", "test"), tmp_path / "out"), str(root), name)


def test_a_folder_that_may_not_be_read_is_named(root, checking, monkeypatch):
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", forbidden)  # whoever tests as root may read everything
        with pytest.raises(UserError, match="JPEGImages: Permission denied; make the folder readable"):
            check.main(checking)
        with pytest.raises(UserError, match="JPEGImages: Permission denied; make the folder readable"):
            Dataset.open(root).photo("t1")


@pytest.mark.parametrize("place", ["data", ".", "data/../data", "link"])
def test_a_dataset_folder_is_not_replaced_by_its_link(root, tmp_path, refused, place):
    (tmp_path / "link").symlink_to(root)
    refused(folder.main, folder.Settings(root, ("train", "val", "test"), tmp_path / place), "keep the two apart")


def test_a_loop_is_no_dataset_folder(tmp_path, refused):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(folder.main, folder.Settings(tmp_path / "loop", ("train",), tmp_path / "out"), "loop")


def test_a_file_in_the_place_of_the_masks_is_not_overlooked(root, tmp_path, refused):
    (root / "SegmentationClass").rename(tmp_path / "aside")
    (root / "SegmentationClass").touch()
    refused(
        folder.main, folder.Settings(root, ("train", "val", "test"), tmp_path / "out"), "SegmentationClass: is a file"
    )


@pytest.mark.parametrize(
    "arguments", [["--data", "absent"], ["--train-split", "absent"], ["--val-split", "train"], ["--test-split", "../x"]]
)
def test_a_command_ends_in_one_line_and_status_1(root, tmp_path, arguments):
    command = [
        sys.executable,
        "-m",
        "ppl.data.check",
        "--data",
        root,
        "--train-split",
        "train",
        "--seed-split",
        "train",
    ]
    command += ["--val-split", "val", "--test-split", "test", "--out", tmp_path / "check.json", "--workers", "0"]
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    last = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert last[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
