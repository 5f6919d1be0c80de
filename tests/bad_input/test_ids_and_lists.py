"""The reader of lists and image ids: any text either goes through every step or is refused in one line."""

import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from ppl.cam.store import Cam, open_store, write
from ppl.data import check, prepare
from ppl.data.dataset import MAX_ID_BYTES, Dataset, id_fault
from ppl.data.label_maps import find_maps
from ppl.data.lists import write_lines
from ppl.data.masks import write_mask
from ppl.data.settings import Data, Folder
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.measure import label_maps, sweep
from ppl.refine import reliable
from ppl.refine.settings import Refine, Reliable
from ppl.segment import voc_server

LISTS = "ImageSets/Segmentation"
INVALID = {
    "parent": "..", "here": ".", "upwards": "../../up", "absolute": "/etc/passwd", "folder": "a/b", "backslash": "a\\b",
    "option": "-rf", "long option": "--out", "hidden": ".hidden", "tab": "a\tb", "null": "a\0b", "bell": "a\ab",
    "escape": "a\x1b[31mb", "right to left": "a\u202eb", "no width": "a\u200bb", "long": "a" * (MAX_ID_BYTES + 1),
    "long in bytes": "\u00e9" * (MAX_ID_BYTES // 2 + 1), "longer than file names": "b" * 300,
}  # fmt: skip
VALID = {
    "space": "a b", "spaces": "a  b  c", "dots": "a..b", "suffix": "a.png", "two suffixes": "a.tar.jpg", "dash": "a-b-",
    "umlaut": "\u00e4\u00f6\u00fc", "decomposed": "a\u0308", "chinese": "\u732b", "emoji": "\U0001f431",
    "shell": "$(id)`id`;&|>", "quotes": "it's \"so\"", "glob": "*?[a]", "format": "%s {x} {0}", "comma": "a,b",
    "hash": "#1", "tilde": "~", "number": "0007", "nan": "nan", "long": "a" * MAX_ID_BYTES, "cams": "cams",
}  # fmt: skip
CONTENTS = {
    "empty": (b"", "is empty"), "blank lines": (b"\n\n  \n\t\n", "is empty"),
    "byte order mark": (b"\xef\xbb\xbf", "is empty"),
    "latin-1": ("caf\u00e9\n".encode("latin-1"), "not UTF-8"), "utf-16": ("t1\n".encode("utf-16"), "not UTF-8"),
    "PNG": (b"\x89PNG\r\n", "not UTF-8"), "twice": (b"t1\nt2\nt1\n", "image 't1' is listed 2 times; keep one line"),
    **{name: (f"t1\n{image_id}\n".encode(), "rename the photo") for name, image_id in INVALID.items()},
}  # fmt: skip


@pytest.mark.parametrize("kind", [*CONTENTS, "absent", "folder", "loop"])
def test_a_broken_list_is_refused(root, refused, spoil, kind):
    content, message = CONTENTS.get(kind, (kind, "docs/own-data.md"))
    spoil(root / LISTS / "train.txt", content)
    refused(Dataset.open(root).split, "train", f"{LISTS}/train.txt: ", message, lines=1)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("kind", ["empty", "latin-1", "twice", "upwards", "absent"])
def test_the_check_reports_broken_lists(root, checking, refused, spoil, split, kind):
    spoil(root / LISTS / f"{split}.txt", CONTENTS.get(kind, [kind])[0])
    refused(check.main, checking, f"{LISTS}/{split}.txt")


@pytest.mark.parametrize("content", [b"t1\r\nt2\r\n", b"\xef\xbb\xbft1\nt2\n", b"  t1 \n\n\tt2", b"t1\rt2\r"])
def test_lists_of_any_editor_are_read(root, content):
    (root / LISTS / "train.txt").write_bytes(content)
    assert Dataset.open(root).split("train") == ["t1", "t2"]


@pytest.mark.parametrize(
    ("train", "val", "test", "message"),
    [
        ("t1 t2 v1", "v1", "e1", "splits train and val: share 1 images, such as 'v1'; keep each in one of them"),
        ("t1 t2", "t1 t2", "e1", "splits train and val: share 2 images"),
        ("t1 t2", "v1 w1", "e1", "w1.jpg: no such file"),
        ("t1 t2", "v1", "T1", "T1.jpg: no such file"),
        ("t1 t2", "v1", "t1.png e1", "t1.png.jpg: no such file"),
        ("image t1 t2", "v1", "e1", "image.jpg: no such file"),
        ("t1", "v1", "e1", "class 'dog': is on no image of split train"),
        ("e1", "v1", "t1", "classes are on no image of split train, such as class 'cat'"),
    ],
)
def test_the_check_reports_contradictory_splits(root, checking, refused, train, val, test, message):
    for name, image_ids in (("train", train), ("val", val), ("test", test)):
        write_lines(root / LISTS / f"{name}.txt", image_ids.split())
    refused(check.main, checking, message)


@pytest.mark.parametrize("image_id", VALID.values(), ids=VALID)
def test_a_valid_id_goes_through_check_store_measuring_and_archive(root, checking, tmp_path, image_id):
    for part in ("JPEGImages", "SegmentationClass"):
        (root / part / "t1.png").rename(root / part / f"{image_id}.png")
    quoted = '"' + image_id.replace('"', '""') + '"'
    labels = (root / "labels.csv").read_text().replace("t1,", f"{quoted},")
    (root / "labels.csv").write_text(labels, encoding="utf-8")
    write_lines(root / LISTS / "train.txt", [image_id, "t2"])
    check.main(checking)
    dataset = Dataset.open(root)
    image_ids = dataset.split("train")
    assert image_ids == [image_id, "t2"]
    cams = [(i, Cam(np.ones((1, 2, 2), np.float32), np.array(dataset.labels_of(i)), (6, 8))) for i in image_ids]
    write(tmp_path / "cams.h5", cams, classes=dataset.classes, settings="", checkpoint="")
    with open_store([tmp_path / "cams.h5"], dataset.classes) as store:
        assert all(store.read(i).size == (6, 8) for i in image_ids)
    (tmp_path / "maps").mkdir()
    for i in image_ids:
        write_mask(tmp_path / "maps" / f"{i}.png", np.ones((6, 8), np.uint8))
    assert [path.stem for path in find_maps([tmp_path / "maps"], image_ids)] == image_ids
    label_maps.main(label_maps.Settings(root, "train", (tmp_path / "maps",), "train", tmp_path / "iou.csv"))
    served = tmp_path / "served"
    voc_server.main(voc_server.Settings(root, "train", (tmp_path / "maps",), served, served.with_suffix(".tar")))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(str.strip))
@settings(max_examples=80)
def test_any_text_names_files_and_stores_or_is_refused(tmp_path_factory, image_id):
    assume(image_id)
    if fault := id_fault(image_id):
        assert not any(len(text.splitlines()) > 1 for text in fault)
        return
    folder = tmp_path_factory.mktemp("ids")
    path = folder / f"{image_id}.png"
    path.touch()
    assert list(folder.iterdir()) == [path]
    assert path.stem == image_id
    assert f"{image_id}\n".splitlines() == [image_id]
    with h5py.File(folder.with_suffix(".h5"), "w") as file:
        file.create_group("cams").create_dataset(image_id, data=1)
        assert list(file["cams"]) == [image_id]


@pytest.mark.parametrize("size", [(6, 8), (1, 1), (1, 9), (7, 1), (2, 2000)])
def test_one_image_of_any_size_goes_through_every_step(root, checking, steps, size):
    from ppl.cam import export
    from ppl.classify import train
    from ppl.refine import walk_split
    from ppl.segment import predict_split

    write_lines(root / LISTS / "train.txt", ["t1"])
    (root / "labels.csv").write_text("image,classes\nt1,cat;dog\nv1,cat\ne1,\n")
    Image.effect_noise(size[::-1], 90).convert("RGB").save(root / "JPEGImages" / "t1.png")
    write_mask(root / "SegmentationClass" / "t1.png", np.ones(size, np.uint8))
    check.main(checking)
    training = replace(steps.training.classify.patch_training, batch_size=7)  # larger than the split
    train.main(replace(steps.training, classify=replace(steps.training.classify, patch_training=training)))
    export.main(steps.exporting)
    refine, cams = Refine(reliable=Reliable(iterations=2)), (steps.exporting.out,)
    reliable.main(reliable.Settings(root, "train", cams, root.with_name("sure"), refine, Hardware(workers=0)))
    for walking in steps.walking.values():
        walk_split.main(walking)
    predict_split.main(steps.predicting)
    sweep.main(sweep.Settings(root, "train", cams, root.with_name("sweep.csv"), 0))
    for out in ("sure", "labels-irnet", "labels-affinitynet", "predictions/crf"):
        with Image.open(root.parent / out / "t1.png") as label:
            assert label.size == size[::-1]


def linking(root: Path, out: Path) -> prepare.Settings:
    """Settings of the preparation of a dataset folder of the user."""
    data = Data(folder=Folder(path=str(root)), train_split="train")
    return prepare.Settings(out, data, Hardware(workers=0))


REQUIRED = ("classes.txt", "labels.csv", f"{LISTS}/train.txt", f"{LISTS}/val.txt", "JPEGImages")


@pytest.mark.parametrize(
    ("name", "kind"), [*product(REQUIRED, ["absent", "swapped", "loop"]), ("SegmentationClass", "swapped")]
)
def test_an_incomplete_dataset_folder_is_not_linked(root, tmp_path, refused, spoil, name, kind):
    path = (root / name).rename(tmp_path / "aside")
    swapped = "folder" if path.is_file() else b""
    spoil(root / name, swapped if kind == "swapped" else kind)
    message = "SegmentationClass: not a folder" if name == "SegmentationClass" else name
    refused(prepare.main, linking(root, tmp_path / "out"), str(root), message)


def test_a_loop_is_not_linked_nor_a_dataset_folder_replaced_by_its_link(root, tmp_path, refused, spoil):
    spoil(tmp_path / "loop", "loop")
    refused(prepare.main, linking(tmp_path / "loop", tmp_path / "out"), "loop")
    (tmp_path / "link").symlink_to(root)
    for place in ("data", ".", "data/../data", "link"):
        refused(prepare.main, linking(root, tmp_path / place), "choose another folder")


def test_a_folder_without_permission_is_named(root, checking, monkeypatch):
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", forbidden)  # root may read every folder
        with pytest.raises(UserError, match="JPEGImages: Permission denied; make the folder readable"):
            check.main(checking)


@pytest.mark.parametrize(
    "arguments", [["--data", "absent"], ["--train-split", "absent"], ["--val-split", "train"], ["--test-split", "../x"]]
)
def test_a_command_ends_with_one_line_and_status_1(root, tmp_path, arguments):
    command = [sys.executable, "-m", "ppl.data.check", "--data", root, "--out", tmp_path / "a.json", "--workers", "0"]
    before = sorted(tmp_path.rglob("*"))
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 1
    assert [line for line in ended.stderr.splitlines() if not line.startswith(" ")][-1].startswith("error: ")
    assert "Traceback" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before
