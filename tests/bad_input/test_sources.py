"""Archives of the public datasets that hold something else: one line, and no half of a dataset."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ppl.data.masks import write_mask
from ppl.data.sources import coco, voc
from ppl.measure import curves


def instances(number: int) -> dict[str, Any]:
    """A sound annotation file of one photo."""
    box = {"id": 1, "image_id": number, "category_id": 7, "segmentation": [[1, 1, 5, 1, 5, 5]], "area": 8, "iscrowd": 0}
    photo = {"id": number, "file_name": f"COCO_{number}.jpg", "height": 6, "width": 8}
    return {"images": [photo], "annotations": [box], "categories": [{"id": 7, "name": "cat"}]}


@pytest.fixture
def published(tmp_path: Path) -> coco.Settings:
    """COCO with one photo a split."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for number, split in enumerate(("train", "val")):
        (root / f"{split}2014").mkdir()
        (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(instances(number)))
    return coco.Settings(root, tmp_path / "data", "A", workers=0)


def changed(*keys_and_value: Any) -> Callable[[dict], dict]:
    """A file with one value set below the first entry of a list."""
    part, key, value = keys_and_value

    def change(content: dict) -> dict:
        content[part][0][key] = value
        return content

    return change


def without(part: str, key: str) -> Callable[[dict], dict]:
    def change(content: dict) -> dict:
        del content[part][0][key]
        return content

    return change


ANNOTATIONS: dict[str, Callable[[dict], Any]] = {
    "a list": lambda content: [content],
    "a number": lambda content: 5,
    "nothing": lambda content: {},
    "no photos": lambda content: {k: v for k, v in content.items() if k != "images"},
    "photos of text": lambda content: content | {"images": "photos"},
    "annotations of text": lambda content: content | {"annotations": ["text"]},
    "a class of text": lambda content: content | {"categories": ["cat"]},
    "no name of a file": without("images", "file_name"),
    "a number for a file": changed("images", "file_name", 5),
    "no height": without("images", "height"),
    "an unknown class": changed("annotations", "category_id", 8),
    "no class": without("annotations", "category_id"),
    "no segmentation": without("annotations", "segmentation"),
    "no area": without("annotations", "area"),
    "no word on crowds": without("annotations", "iscrowd"),
    "a class without a name": without("categories", "name"),
}
DRAWN = {
    "height of text": changed("images", "height", "six"),
    "negative width": changed("images", "width", -8),
    "segmentation of text": changed("annotations", "segmentation", "box"),
    "segmentation of nothing": changed("annotations", "segmentation", None),
    "runs without counts": changed("annotations", "segmentation", {"size": [6, 8]}),
    "runs of another photo": changed("annotations", "segmentation", {"size": [2, 2], "counts": [0, 4]}),
    "a point": changed("annotations", "segmentation", [[1, 1]]),
    "points of text": changed("annotations", "segmentation", [["a", "b", "c", "d", "e", "f"]]),
}


@pytest.mark.parametrize("change", ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_foreign_annotations_are_one_line(published, refused, change):
    path = published.root / "annotations" / "instances_val2014.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    refused(coco.main, published, str(path), "unpack the archive again")


@pytest.mark.parametrize("change", DRAWN.values(), ids=DRAWN)
def test_instances_that_cannot_be_drawn_name_their_photo(published, refused, change):
    path = published.root / "annotations" / "instances_val2014.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    refused(coco.main, published, "COCO_1", "unpack the annotations again")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1", b"null"])
def test_what_is_no_json_is_one_line(published, refused, content):
    path = published.root / "annotations" / "instances_train2014.json"
    path.write_bytes(content)
    refused(coco.main, published, str(path), "unpack the archive again")


@pytest.fixture
def devkit(tmp_path: Path) -> voc.Settings:
    """VOC and SBD with one photo each."""
    kit, sbd = tmp_path / "voc" / "VOC2012", tmp_path / "voc" / "SBD"
    for folder in (kit / "JPEGImages", kit / "Annotations", kit / "SegmentationClass", kit / voc.LISTS, sbd / "cls"):
        folder.mkdir(parents=True)
    for split, image in (("train", "a"), ("val", "b")):
        (kit / voc.LISTS / f"{split}.txt").write_text(image)
        (sbd / f"{split}.txt").write_text("c" if split == "train" else "b")
    for image in "abc":
        Image.new("RGB", (8, 6)).save(kit / "JPEGImages" / f"{image}.jpg")
        (kit / "Annotations" / f"{image}.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
        write_mask(kit / "SegmentationClass" / f"{image}.png", np.zeros((6, 8), np.uint8))
    savemat(sbd / "cls" / "c.mat", {"GTcls": {"Segmentation": np.zeros((6, 8), np.uint8)}})
    return voc.Settings(tmp_path / "voc", tmp_path / "data", workers=0)


MATRICES = {
    "no mask": {"other": 1},
    "a number": {"GTcls": 5},
    "no segmentation": {"GTcls": {"Boundaries": 1}},
    "one number": {"GTcls": {"Segmentation": 5}},
    "three axes": {"GTcls": {"Segmentation": np.zeros((6, 8, 3))}},
    "text": {"GTcls": {"Segmentation": "mask"}},
}


def test_the_archives_of_the_cases_are_sound(devkit, published):
    voc.main(devkit)
    coco.main(coco.Settings(published.root, published.out.with_name("other"), "B", workers=0))


@pytest.mark.parametrize("content", MATRICES.values(), ids=MATRICES)
def test_a_foreign_matrix_is_one_line(devkit, refused, content):
    savemat(devkit.root / "SBD" / "cls" / "c.mat", content)
    refused(voc.main, devkit, "c.mat", "unpack the archive again")


YAK, NAMELESS = "<object><name>yak</name></object>", "<object><name/></object>"
XML = ["", "no xml", "<annotation>", f"<a>{YAK}</a>", f"<a>{NAMELESS}</a>", f"<a>{YAK}{NAMELESS}</a>", "\xff"]


@pytest.mark.parametrize("text", [*XML, '<?xml encoding="none"?><a/>'])
def test_a_foreign_annotation_is_one_line(devkit, refused, text):
    (devkit.root / "VOC2012" / "Annotations" / "c.xml").write_bytes(text.encode("latin-1"))
    refused(voc.main, devkit, "c.xml", "unpack the archive again")


@pytest.mark.parametrize("name", [f"VOC2012/{voc.LISTS}/train.txt", f"VOC2012/{voc.LISTS}/val.txt", "SBD/train.txt"])
@pytest.mark.parametrize("kind", ["folder", "no text", "loop"])
def test_a_foreign_list_is_one_line(devkit, refused, name, kind):
    path = devkit.root / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"\xff\xfe\0")
    refused(voc.main, devkit, "; unpack")


SWEEP = "threshold,miou,precision,recall\n"


@pytest.mark.parametrize(
    "content",
    ["", "\n", "a,b\n1,2\n", SWEEP, SWEEP + "0.1,,,\n", SWEEP + "low,1,1,1\n", "\0\0\0", '"open\n', "1,2\n3,4,5\n"],
)
def test_a_foreign_sweep_is_not_drawn(tmp_path, refused, content):
    (tmp_path / "sweep.csv").write_text(content)
    refused(curves.main, curves.Settings((tmp_path / "sweep.csv",), ("a",), 0.3, tmp_path / "curves.svg"), "sweep.csv")
