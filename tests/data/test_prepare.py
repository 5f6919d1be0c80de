"""Every source of data, and one that a user writes, prepares a valid dataset and answers the workflow before that."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ppl.data import check, prepare, source
from ppl.data.dataset import LISTS, Dataset
from ppl.data.lists import write_lists
from ppl.data.masks import write_mask
from ppl.data.settings import SOURCES, Coco, Data, Demo, Folder, Voc
from ppl.data.sources import coco, voc
from ppl.data.sources.download import ARCHIVES
from ppl.jobs import slots
from ppl.jobs.errors import UserError
from ppl.jobs.fields import plain
from ppl.jobs.settings import Hardware


def tiny_demo(folder: Path) -> Data:
    # The check needs every class in the training split.
    return Data(source="demo", demo=Demo(size=32, train=60, val=2, test=1), train_split="train")


def tiny_voc(folder: Path) -> Data:
    """One photo of VOC's train with all classes, one of val and of test, and one more with a mask of SBD."""
    kit, sbd = folder / "VOC2012", folder / "SBD"
    for path in (kit / "JPEGImages", kit / "Annotations", kit / "SegmentationClass", kit / LISTS, sbd / "cls"):
        path.mkdir(parents=True)
    for split, image_id in (("train", "a"), ("val", "b"), ("test", "c")):
        (kit / LISTS / f"{split}.txt").write_text(image_id)
    for split, image_id in (("train", "d"), ("val", "b")):
        (sbd / f"{split}.txt").write_text(image_id)
        savemat(sbd / "cls" / f"{image_id}.mat", {"GTcls": {"Segmentation": np.zeros((6, 8), np.uint8)}})
    objects = "".join(f"<object><name>{name}</name></object>" for name in voc.CLASSES)
    for image_id in "abcd":
        Image.new("RGB", (8, 6)).save(kit / "JPEGImages" / f"{image_id}.jpg")
        (kit / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
        write_mask(kit / "SegmentationClass" / f"{image_id}.png", np.zeros((6, 8), np.uint8))
    return Data(source="voc", voc=Voc(path=str(folder)))


def tiny_coco(folder: Path) -> Data:
    """One photo with one object in each split."""
    (folder / "annotations").mkdir(parents=True)
    box = {"id": 1, "category_id": 7, "segmentation": [[1, 1, 5, 1, 5, 5]], "area": 8, "iscrowd": 0}
    for number, split in enumerate(coco.SPLITS):
        photo = {"id": number, "file_name": f"COCO_{number}.jpg", "height": 6, "width": 8}
        content = {
            "images": [photo],
            "annotations": [box | {"image_id": number}],
            "categories": [{"id": 7, "name": "cat"}],
        }
        (folder / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(content))
        (folder / f"{split}2014").mkdir()
        Image.new("RGB", (8, 6)).save(folder / f"{split}2014" / photo["file_name"])
    return Data(source="coco", coco=Coco(path=str(folder)), train_split="train", test_split="val")


def tiny_folder(folder: Path) -> Data:
    """Two photos with masks and one without."""
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "SegmentationClass").mkdir()
    for image_id in "abc":
        Image.new("RGB", (8, 6)).save(folder / "JPEGImages" / f"{image_id}.png")
    for image_id in "ab":
        write_mask(folder / "SegmentationClass" / f"{image_id}.png", np.zeros((6, 8), np.uint8))
    write_lists(folder, ["cat"], {"a": ["cat"], "b": []}, {"train": ["a"], "val": ["b"], "test": ["c"]})
    return Data(folder=Folder(path=str(folder)), train_split="train")


TINY: dict[str, Callable[[Path], Data]] = {
    "demo": tiny_demo, "voc": tiny_voc, "coco": tiny_coco, "folder": tiny_folder,
}  # fmt: skip


def prepared(data: Data, out: Path, archives: Path | None = None) -> Dataset:
    prepare.main(prepare.Settings(out, data, Hardware(workers=0), archives))
    return Dataset.open(out)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_says_beforehand_what_it_reads_and_has_and_prepares_a_valid_dataset(name, tmp_path):
    data = TINY[name](tmp_path / "source")
    source.check(data)
    assert all(Path(file).is_file() for file in source.inputs(data))
    assert source.archives(data) == ()  # there is a path, or nothing to download
    dataset = prepared(data, tmp_path / "data")
    assert dataset.has_masks == source.has_masks(data)
    image_ids = {image_id for split in source.splits(data) for image_id in dataset.split(split)}
    assert image_ids
    assert all(dataset.photo(image_id).is_file() for image_id in image_ids)
    check.main(check.Settings(dataset.root, **data.splits, out=tmp_path / "check.json", workers=0))


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_imported_and_asked_without_torch_as_the_workflow_does(name, tmp_path):
    code = f"""
        import sys
        from ppl.data import source
        from ppl.data.settings import Data
        from ppl.jobs.fields import read
        data = read(Data, {plain(TINY[name](tmp_path / "source"))}, "", "")
        print(source.check(data), source.inputs(data), source.has_masks(data), source.archives(data))
        print(source.version(data))
        assert not {{"torch", "scipy", "matplotlib"}} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


def test_public_data_are_downloaded_unless_the_user_has_them_and_those_of_test_only_if_they_are_predicted(tmp_path):
    assert source.archives(Data(source="voc")) == (*voc.ARCHIVES, voc.TEST_ARCHIVE)
    assert source.archives(Data(source="voc", test_split="val")) == voc.ARCHIVES
    assert source.archives(Data(source="coco")) == coco.ARCHIVES
    assert {*voc.ARCHIVES, voc.TEST_ARCHIVE, *coco.ARCHIVES} == ARCHIVES.keys()
    tiny_voc(tmp_path / "archives")
    dataset = prepared(Data(source="voc"), tmp_path / "data", archives=tmp_path / "archives")
    assert dataset.split("trainaug") == ["a", "d"]
    with pytest.raises(UserError, match=r"data.voc: source voc needs path; "):
        prepared(Data(source="voc"), tmp_path / "other")


def test_a_folder_is_needed_and_its_lists_rerun_the_preparation(tmp_path):
    asks = (source.check, source.inputs, source.has_masks)
    for ask in (*asks, lambda data: prepared(data, tmp_path / "data")):
        with pytest.raises(UserError, match=r"^data.folder: source folder needs path; [^\n]*$"):
            ask(Data())
    data = tiny_folder(tmp_path / "own")
    names = ["classes.txt", "labels.csv", *(f"{LISTS}/{name}.txt" for name in ("test", "train", "val"))]
    assert source.inputs(data) == [str(tmp_path / "own" / name) for name in names]
    (tmp_path / "own" / "SegmentationClass").rename(tmp_path / "masks")
    assert not source.has_masks(data)


@pytest.mark.parametrize("name", ["voc", "coco", "folder"])
def test_the_data_of_the_user_are_never_replaced(name, tmp_path):
    data = TINY[name](tmp_path / "own" / "source")
    before = sorted(tmp_path.rglob("*"))
    for out in ("own/source", "own", "own/other/../source"):
        with pytest.raises(UserError, match=r"would replace .*; choose another folder"):
            prepared(data, tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before


OWN_SOURCE = """\
from dataclasses import dataclass
from pathlib import Path

from ppl.data.lists import write_lists
from ppl.jobs.fields import Section

@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    photos: str

def prepare(settings, out, *, workers):
    (out / "JPEGImages").mkdir()
    labels = {}
    for photo in sorted(Path(settings.photos).glob("*/*.jpg")):
        image_id = f"{photo.parent.name}_{photo.stem}"
        labels[image_id] = [photo.parent.name]
        (out / "JPEGImages" / f"{image_id}.jpg").symlink_to(photo.resolve())
    val = [image_id for i, image_id in enumerate(labels) if i % 5 == 0]
    train = [image_id for image_id in labels if image_id not in val]
    classes = sorted({name for names in labels.values() for name in names})
    write_lists(out, classes, labels, {"train": train, "val": val})
"""
"""A source of a user: a folder of photos for each class."""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """The example's source with 20 photos of two classes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_photos", raising=False)
    Path("my_photos.py").write_text(OWN_SOURCE)
    for number in range(20):
        photo = Path("animals", ("cat", "dog")[number % 2], f"{number}.jpg")
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number, 0, 0)).save(photo)
    splits = {"train_split": "train", "test_split": "val"}
    return Data(source="own/my_photos", own={"photos": "animals"}, **splits)


def test_a_module_with_nothing_but_prepare_is_a_source(own, tmp_path):
    assert len(OWN_SOURCE.splitlines()) <= 30
    source.check(own)
    assert (source.inputs(own), source.version(own), source.has_masks(own), source.archives(own)) == ([], "", False, ())
    dataset = prepared(own, Path("results/mine/data"))
    assert [len(dataset.split(split)) for split in ("train", "val")] == [16, 4]
    assert dataset.classes == ("cat", "dog")
    check.main(check.Settings(dataset.root, **own.splits, workers=0))


def test_the_command_takes_an_own_source_and_refuses_its_wrong_settings_in_a_line(own, tmp_path):
    def run(settings: dict) -> subprocess.CompletedProcess:
        options = ["--data.source", own.source, "--data.own", json.dumps(settings), "--data.train_split", "train"]
        command = [sys.executable, "-m", "ppl.data.prepare", "--out", "out", *options, "--data.test_split", "val"]
        path = os.pathsep.join([str(Path(prepare.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})

    assert run(own.own).returncode == 0
    assert Dataset.open("out").classes == ("cat", "dog")
    refused = run({"folder": "animals"})
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: own: ")
    assert len(refused.stderr.splitlines()) == 1


def test_an_own_module_may_answer_and_one_without_prepare_is_refused(own, monkeypatch):
    module = slots.load(SOURCES, own.source)
    given = {"inputs": ["labels.csv"], "version": "2", "has_masks": True, "archives": ("train2014.zip",)}
    for name, answer in given.items():
        monkeypatch.setattr(module, name, lambda settings, *splits, answer=answer: answer, raising=False)
    answers = (source.inputs(own), source.version(own), source.has_masks(own), source.archives(own))
    assert answers == (["labels.csv"], "2", True, ())  # only entries of the project download
    monkeypatch.delattr(module, "prepare")
    with pytest.raises(UserError, match=r"data.source: own/my_photos has no function prepare; "):
        source.check(own)


def test_a_source_gets_the_names_of_the_splits_if_it_asks_for_them(own, monkeypatch):
    assert not source.needs_splits(own)
    assert [name for name in SOURCES if source.needs_splits(Data(source=name))] == ["folder"]
    module = slots.load(SOURCES, own.source)
    without, received = module.prepare, []

    def prepare_with(settings, out, *, splits, workers):
        received.extend(splits)
        without(settings, out, workers=workers)

    monkeypatch.setattr(module, "prepare", prepare_with)
    assert source.needs_splits(own)
    prepared(own, Path("data"))
    assert received == ["train", "val"]


def test_a_failed_preparation_leaves_the_former_dataset(own, monkeypatch):
    before = prepared(own, Path("data")).split("train")
    monkeypatch.setattr(slots.load(SOURCES, own.source), "write_lists", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepared(own, Path("data"))
    assert Dataset.open("data").split("train") == before
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_settings_of_an_own_module_are_a_section_as_others_would_ignore_unknown_keys(own):
    file = Path("my_photos.py")
    file.write_text(file.read_text().replace("class Settings(Section)", "class Settings"))
    with pytest.raises(UserError, match=r"own: the class Settings of own/my_photos is not a ppl.jobs.fields.Section; "):
        source.inputs(own)
