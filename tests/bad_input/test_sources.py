"""The readers of public datasets: one line for other content, and no partial dataset."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ppl.cam.threshold import THRESHOLD, Threshold, write_threshold
from ppl.data import prepare
from ppl.data.masks import write_mask
from ppl.data.settings import Coco, Data, Voc
from ppl.data.sources import voc
from ppl.jobs.settings import Hardware
from ppl.measure import curves


def instances(number: int) -> dict[str, Any]:
    """A valid annotation file of one photo."""
    box = {"id": 1, "image_id": number, "category_id": 7, "segmentation": [[1, 1, 5, 1, 5, 5]], "area": 8, "iscrowd": 0}
    photo = {"id": number, "file_name": f"COCO_{number}.jpg", "height": 6, "width": 8}
    return {"images": [photo], "annotations": [box], "categories": [{"id": 7, "name": "cat"}]}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """COCO with one photo per split."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for number, split in enumerate(("train", "val")):
        (root / f"{split}2014").mkdir()
        (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(instances(number)))
    return root


def of_coco(root: Path) -> prepare.Settings:
    data = Data(source="coco", coco=Coco(path=str(root)))
    return prepare.Settings(root.with_name("data"), data, Hardware(workers=0))


def changed(part: str, key: str, value: Any) -> Callable[[dict], dict]:
    """Sets a value of the first entry of a list."""
    return lambda content: content | {part: [content[part][0] | {key: value}]}


def without(part: str, key: str) -> Callable[[dict], dict]:
    return lambda content: content | {part: [{k: v for k, v in content[part][0].items() if k != key}]}


ANNOTATIONS: dict[str, Callable[[dict], Any]] = {
    "a list": lambda content: [content], "a number": lambda content: 5, "nothing": lambda content: {},
    "no photos": lambda content: {k: v for k, v in content.items() if k != "images"},
    "photos of text": lambda content: content | {"images": "photos"},
    "annotations of text": lambda content: content | {"annotations": ["text"]},
    "a class of text": lambda content: content | {"categories": ["cat"]},
    "file name is a number": changed("images", "file_name", 5),
    "an unknown class": changed("annotations", "category_id", 8),
    **{f"no {key}": without("annotations", key) for key in ("category_id", "segmentation", "area", "iscrowd")},
    **{f"no {key}": without("images", key) for key in ("file_name", "height")},
    "a class without a name": without("categories", "name"),
}  # fmt: skip
DRAWN = {
    "height of text": changed("images", "height", "six"), "negative width": changed("images", "width", -8),
    **{f"segmentation {value}": changed("annotations", "segmentation", value) for value in (
        "box", None, {"size": [6, 8]}, {"size": [2, 2], "counts": [0, 4]}, [[1, 1, 5]], [["a", "b"] * 3])},
}  # fmt: skip


@pytest.mark.parametrize("kind", [*ANNOTATIONS, *DRAWN])
def test_broken_annotations_are_refused(published, refused, kind):
    path = published / "annotations" / "instances_val2014.json"
    path.write_text(json.dumps((ANNOTATIONS | DRAWN)[kind](json.loads(path.read_text()))))
    where, remedy = (str(path), "unpack the archive again") if kind in ANNOTATIONS else ("COCO_1", "unpack the ann")
    refused(prepare.main, of_coco(published), where, remedy)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1", b"null"])
def test_annotations_that_are_not_json_are_refused(published, refused, content):
    path = published / "annotations" / "instances_train2014.json"
    path.write_bytes(content)
    refused(prepare.main, of_coco(published), str(path), "unpack the archive again")


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
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
    return tmp_path / "voc"


def of_voc(root: Path) -> prepare.Settings:
    return prepare.Settings(root.with_name("data"), Data(source="voc", voc=Voc(path=str(root))), Hardware(workers=0))


def test_the_archives_of_the_fixtures_are_valid(devkit, published):
    prepare.main(of_voc(devkit))
    prepare.main(of_coco(published))


@pytest.mark.parametrize(
    "content", [{"other": 1}, {"GTcls": 5}, {"GTcls": {"Boundaries": 1}},
                *({"GTcls": {"Segmentation": value}} for value in (5, np.zeros((6, 8, 3)), "mask"))],
)  # fmt: skip
def test_a_broken_mask_of_sbd_is_refused(devkit, refused, content):
    savemat(devkit / "SBD" / "cls" / "c.mat", content)
    refused(prepare.main, of_voc(devkit), "c.mat", "unpack the archive again")


YAK, NAMELESS = "<object><name>yak</name></object>", "<object><name/></object>"
XML = ["", "no xml", "<annotation>", f"<a>{YAK}</a>", f"<a>{NAMELESS}</a>", f"<a>{YAK}{NAMELESS}</a>", "\xff"]


@pytest.mark.parametrize("text", [*XML, '<?xml encoding="none"?><a/>'])
def test_a_broken_annotation_of_voc_is_refused(devkit, refused, text):
    (devkit / "VOC2012" / "Annotations" / "c.xml").write_bytes(text.encode("latin-1"))
    refused(prepare.main, of_voc(devkit), "c.xml", "unpack the archive again")


@pytest.mark.parametrize("name", [f"VOC2012/{voc.LISTS}/train.txt", f"VOC2012/{voc.LISTS}/val.txt", "SBD/train.txt"])
@pytest.mark.parametrize("kind", ["folder", "loop", b"\xff\xfe\0"])
def test_a_broken_list_of_voc_is_refused(devkit, refused, spoil, name, kind):
    spoil(devkit / name, kind)
    refused(prepare.main, of_voc(devkit), "; unpack")


SWEEP = "threshold,miou,precision,recall\n"


@pytest.mark.parametrize(
    "content",
    ["", "\n", "a,b\n1,2\n", SWEEP, SWEEP + "0.1,,,\n", SWEEP + "low,1,1,1\n", "\0\0\0", '"open\n', "1,2\n3,4,5\n"],
)
def test_a_broken_sweep_is_not_drawn(tmp_path, refused, content):
    (tmp_path / "sweep.csv").write_text(content)
    write_threshold(tmp_path / THRESHOLD, Threshold(threshold=0.3, rule="fixed"))
    files = (tmp_path / "sweep.csv",), (tmp_path / THRESHOLD,)
    refused(curves.main, curves.Settings(*files, ("a",), tmp_path / "curves.svg"), "sweep.csv")
