"""Labels as annotation tools write them: every format says the same, and doubt is refused with what decides it."""

import inspect
import json
import pickle
import re
import sys
from collections import OrderedDict
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from ppl.data import new
from ppl.data.own.formats import LABELS, read_labels
from ppl.data.own.layout import Choices
from ppl.data.own.mask_formats import MASKS
from ppl.data.own.names import Names
from ppl.data.own.photos import PhotoIndex
from ppl.data.own.source import Source
from ppl.jobs.errors import UserError
from ppl.jobs.slots import load

WANT = {"a.jpg": {"cat"}, "b.jpg": {"cat", "Großer Hund"}, "c.jpg": set()}
CLASSES = ("cat", "Großer Hund")
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
STEMS = {name.removesuffix(".jpg"): sorted(classes) for name, classes in WANT.items()}
VECTORS = {stem: np.array([name in classes for name in CLASSES], np.float32) for stem, classes in STEMS.items()}


def coco(names=WANT, **changes) -> dict:
    numbers = {name: number for number, name in enumerate(CLASSES, start=3)}
    annotations = [
        {"id": 1, "image_id": image, "category_id": numbers[name], "bbox": [1, 1, 2, 2], "iscrowd": 0}
        for image, classes in enumerate(names.values())
        for name in [*classes, *classes]
    ]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories} | changes


def voc(classes, filename="") -> str:
    objects = "".join(f"<object><name>{c}</name><part><name>head</name></part>{BOX}</object>" for c in classes)
    return f"<?xml version='1.0' encoding='utf-8'?><annotation><filename>{filename}</filename>{objects}</annotation>"


def cvat(rows=WANT) -> str:
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("never", *CLASSES))
    shapes = ('<box label="{}" xtl="1"/>', '<polygon label="{}" points="1,1;2,2"/>', '<tag label="{}"/>')
    images = "".join(
        f'<image id="{n}" name="{name}" width="9">{"".join(s.format(c) for s in shapes for c in classes)}</image>'
        for n, (name, classes) in enumerate(rows.items())
    )
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f"<?xml version='1.0' encoding='utf-8'?><annotations><version>1.1</version>{meta}{images}</annotations>"


def labelme(classes, **changes) -> str:
    shapes = [{"label": name, "points": [[1, 1], [2, 2]], "shape_type": "rectangle"} for name in classes]
    return json.dumps({"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "x\\other.jpg"} | changes)


def task(name: str, classes) -> dict:
    result = [{"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": [each]}} for each in classes]
    result += [{"type": "choices", "value": {"choices": list(classes)}}]
    return {
        "id": 1,
        "data": {"title": "x", "image": f"/data/upload/1/0123abcd-{name}"},
        "annotations": [{"result": result}],
    }


def yolo(classes) -> str:
    return "".join(f"{CLASSES.index(name)} 0.5 0.5 0.2 0.25\n" for name in classes)


def dumped(content, *, lines: bool = False) -> str:
    return "\n".join(json.dumps(each, ensure_ascii=False) for each in content) if lines else json.dumps(content)


RECORDS = [{"file_name": name, "labels": sorted(classes)} for name, classes in WANT.items()]
FLAGS = {name: {each: each in classes for each in CLASSES} for name, classes in WANT.items()}
PER_PHOTO = {
    "voc": {f"Annotations/{stem}.xml": voc(classes, f"{stem}.jpg") for stem, classes in STEMS.items()},
    "labelme": {f"{stem}.json": labelme(classes) for stem, classes in STEMS.items()},
    "labelme flags": {f"{stem}.json": labelme((), flags=FLAGS[f"{stem}.jpg"]) for stem in STEMS},
    "yolo": {f"train/{stem}.txt": yolo(classes) for stem, classes in STEMS.items()}
    | {"data.yaml": "names: [cat, Großer Hund]\nnc: 2\n", "README.txt": "by Ann\n"},
    "yolo, names by number": {f"{stem}.txt": yolo(classes) for stem, classes in STEMS.items()}
    | {"data.yaml": "names:\n  0: cat\n  1: Großer Hund\n"},
    "yolo of CVAT": {f"obj_train_data/{stem}.txt": yolo(classes) for stem, classes in STEMS.items()}
    | {"obj.names": "cat\nGroßer Hund\n", "obj.data": "classes = 2\n", "train.txt": "data/obj_train_data/a.jpg\n"},
    "folders": {"cat/a.jpg": "a", "cat/b.jpg": "b", "Großer Hund/b.jpg": "b", "No_Class/c.jpg": "c"},
    "folders of splits": {
        "train/cat/a.jpg": "a",
        "val/cat/b.jpg": "b",
        "val/Großer Hund/b.jpg": "b",
        "val/none/c.jpg": "c",
    },
}
FILES = {
    "coco": ("instances.json", dumped(coco())),
    "panoptic": ("panoptic.json", dumped(coco(annotations=[
        {"image_id": 0, "segments_info": [{"category_id": 3}]},
        {"image_id": 1, "segments_info": [{"category_id": 3}, {"category_id": 4}]},
    ]))),
    "cvat": ("annotations.xml", cvat()),
    "Datumaro of CVAT": ("default.json", dumped({
        "categories": {"label": {"labels": [{"name": name, "parent": ""} for name in CLASSES]}},
        "items": [
            {"id": name[0], "image": {"path": name}, "annotations": [{"label_id": CLASSES.index(c)} for c in classes]}
            for name, classes in WANT.items()
        ],
    })),
    "Label Studio": ("tasks.json", dumped([task(name, classes) for name, classes in WANT.items()])),
    "JSON-MIN": ("min.json", dumped([
        {"image": "/data/upload/1/0123abcd-a.jpg", "id": 1, "choice": "cat", "annotator": 1},
        {"image": "/data/upload/1/0123abcd-b.jpg", "id": 2, "choice": {"choices": list(CLASSES)}, "annotator": 1},
        {"image": "/data/upload/1/0123abcd-c.jpg", "id": 3, "annotator": 1},
    ])),
    "Label Studio CSV of boxes": ("boxes.csv", "id,image,label\n"
        '1,/data/upload/1/0123abcd-a.jpg,"[{""x"":1,""rectanglelabels"":[""cat""]}]"\n'
        '2,b.jpg,"[{""rectanglelabels"":[""cat""]},{""rectanglelabels"":[""Großer Hund""]}]"\n3,c.jpg,\n'),
    "photo to names": ("labels.json", dumped({name: sorted(classes) for name, classes in WANT.items()})),
    "photo to text": ("labels.json", dumped({"a.jpg": "cat", "b.jpg": "cat;Großer Hund", "c.jpg": None})),
    "photo to yes and no": ("labels.json", dumped(FLAGS)),
    "photo to record": ("labels.json", dumped({n: {"labels": sorted(c), "size": len(c)} for n, c in WANT.items()})),
    "class to photos": ("labels.json", dumped({"cat": ["a.jpg", "b.jpg"], "Großer Hund": ["b.jpg"], "none": ["c"]})),
    "records": ("labels.json", dumped(RECORDS)),
    "photo to names in an object": ("labels.json", dumped({"by": {"name": "Ann"}, "labels": {
        name: sorted(classes) for name, classes in WANT.items()
    }})),
    "records in an object": ("labels.json", dumped({"info": {"by": "Ann"}, "items": RECORDS})),
    "Create ML": ("labels.json", dumped([
        {"image": name, "annotations": [{"label": c, "coordinates": {"x": 1, "y": 2}} for c in sorted(classes)]}
        for name, classes in WANT.items()
    ])),
    "pandas' columns": ("labels.json", dumped({
        "file_name": {str(n): r["file_name"] for n, r in enumerate(RECORDS)},
        "labels": {str(n): r["labels"] for n, r in enumerate(RECORDS)},
    })),
    "columns": ("labels.json", dumped({key: [r[key] for r in RECORDS] for key in ("file_name", "labels")})),
    "pairs": ("dataset.json", dumped({"labels": [
        ["a.jpg", "cat"], ["b.jpg", "cat"], ["b.jpg", "Großer Hund"], ["c.jpg", None]
    ]})),
    "lines": ("metadata.jsonl", dumped(RECORDS, lines=True)),
    "lines, named otherwise": ("labels.txt", dumped(RECORDS, lines=True)),
    "lines of objects": ("metadata.jsonl", dumped([
        {"file_name": r["file_name"], "objects": {"bbox": [[1, 2, 3, 4]], "categories": r["labels"]}} for r in RECORDS
    ], lines=True)),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def source_of(
    path: Path, photos=tuple(WANT), *, root: Path | None = None, classes: tuple[str, ...] = (), **choices
) -> Source:
    index = PhotoIndex(tuple(map(PurePosixPath, photos)))
    return Source(path, Names(root or path.parent / "photos", index), Choices(**choices), classes)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def labels_in(source: Source, name: str = "auto") -> dict[str, set[str]]:
    """Return the labels by photo."""
    table, labels = read_labels(source, name), {}
    for written, classes in table.labels.items():
        for photo in table.photos[written] if written in table.photos else source.names.find(written):
            labels[str(photo)] = labels.get(str(photo), set()) | classes
    return labels


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_file_says_the_same(folder, name, encoding):
    file, text = FILES[name]
    (folder / file).write_bytes(text.encode(encoding))
    assert labels_in(source_of(folder / file)) == WANT


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_one_file_of_labels_says_the_same(folder, name):
    """As of an export with its photos, which need not be named apart."""
    file, text = FILES[name]
    if Path(file).suffix in (".txt", ".csv") or file in ("min.json", "dataset.json"):
        return
    write(folder / "export", {file: text, "images/a.jpg": "", "images/b.jpg": "", "images/c.jpg": ""})
    assert labels_in(source_of(folder / "export")) == WANT


@pytest.mark.parametrize("name", PER_PHOTO)
def test_every_folder_says_the_same(folder, name):
    write(folder / "labels", PER_PHOTO[name])
    source = source_of(folder / "labels")
    assert labels_in(source) == WANT
    assert set(read_labels(source).classes) == set(CLASSES)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_dictionaries_of_arrays_are_named_by_the_classes(folder, protocol, kind):
    content = kind(VECTORS)
    (folder / "labels.pkl").write_bytes(pickle.dumps(content, protocol))
    np.save(folder / "cls_labels.npy", content, allow_pickle=True)
    for name in ("labels.pkl", "cls_labels.npy"):
        assert labels_in(source_of(folder / name, classes=CLASSES)) == WANT
    numbered = read_labels(source_of(folder / "cls_labels.npy"))
    assert numbered.classes == ("class 1", "class 2")
    assert "--classes FILE names them" in numbered.form
    with pytest.raises(UserError, match=r"^--classes: 3 classes, where the vectors of .* have 2 numbers; "):
        read_labels(source_of(folder / "cls_labels.npy", classes=("a", "b", "c")))


def test_photos_are_found_by_the_numbers_in_their_names(folder):
    """IRNet stores 2007_000032 as 2007000032, and COCO 139 for 000000000139."""
    np.save(folder / "cls_labels.npy", {2007000032: [1, 0], 139: [0, 1]}, allow_pickle=True)
    photos = ("2007_000032.jpg", "000000000139.jpg")
    labels = labels_in(source_of(folder / "cls_labels.npy", photos, classes=CLASSES))
    assert labels == {"2007_000032.jpg": {"cat"}, "000000000139.jpg": {"Großer Hund"}}


class Attack:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('attacked').touch()",)


class Class:
    pass


@pytest.mark.parametrize("content", [{"a": Attack()}, Attack(), {"a": Class}, np.array([Attack()], object)])
def test_no_code_of_a_pickle_runs(folder, monkeypatch, content):
    monkeypatch.chdir(folder)
    (folder / "cls_labels.pkl").write_bytes(pickle.dumps(content))
    np.save("cls_labels.npy", np.array(content, object), allow_pickle=True)
    for name in ("cls_labels.pkl", "cls_labels.npy"):
        with pytest.raises(UserError, match=r"a pickle that may run code .* not loaded"):
            read_labels(source_of(folder / name))
    assert not Path("attacked").exists()


def test_entities_of_xml_are_refused(folder):
    laughs = '<!ENTITY l "lol"><!ENTITY x "&l;&l;&l;">'
    secret = '<!ENTITY x SYSTEM "file:///etc/passwd">'
    for entities in (laughs, secret):
        write(folder / "xml", {"a.xml": f"<!DOCTYPE a [{entities}]>{voc(['&x;']).partition('?>')[2]}"})
        with pytest.raises(UserError, match=r"a.xml: declares XML entities"):
            read_labels(source_of(folder / "xml"))


SPOILT = {
    "broken JSON": ({"x/a.json": '{"shapes": ['}, r"a.json: not valid JSON \(.*line 1, column"),
    "broken XML": ({"x/a.xml": "<annotation><object>"}, r"a.xml: not valid XML"),
    "a broken line": ({"x/a.jsonl": '{"image": "a.jpg", "label": "cat"}\n{"image"'}, r"a.jsonl, line 2: not valid"),
    "a foreign line": ({"x/a.txt": "0 0.5 0.5 0.2 0.2\ncat 1 2 3 4\n"}, r"a.txt, line 2: 'cat 1 2 3 4' is not a class"),
    "a damaged number": ({"x/a.txt": "9999999999999 0.5 0.5 0.2 0.2\n"}, r"a.txt, line 1: class number 9999999999999"),
    "too few names": ({"x/a.txt": "7 0.5 0.5 0.2 0.2\n", "x/classes.txt": "cat\n"}, "names 1 classes, .* number 7"),
    "two lists of names": (
        {"x/a.txt": "0 0.5 0.5 0.2 0.2\n", "x/classes.txt": "cat\ndog\n", "x/data.yaml": "names: [dog, cat]"},
        "classes.txt and .*data.yaml name different classes; choose by --classes",
    ),
    "an unknown category": ({"x/a.json": json.dumps(coco(categories=[]))}, "an object of category 3, which .* lack"),
    "captions": ({"x/a.json": '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{}]}'}, "as in captions"),
    "a video": ({"x/a.xml": '<annotations><track id="0" label="cat"/></annotations>'}, "tracks of a video"),
    "an object without name": ({"x/a.xml": voc([" "])}, "a.xml: an object without name"),
    "another JSON among them": ({"x/a.json": labelme(["cat"]), "x/b.json": "{}"}, "b.json: not labelme JSON"),
    "another XML among them": ({"x/a.xml": voc(["cat"]), "x/b.xml": "<kml/>"}, "b.xml: not Pascal VOC XML but <kml>"),
    "an empty XML among them": ({"x/a.xml": voc(["cat"]), "x/b.xml": ""}, "b.xml: not valid XML"),
    "an empty JSON among them": ({"x/a.json": labelme(["cat"]), "x/b.json": ""}, "b.json: not valid JSON"),
    "a shape without label": ({"x/a.json": labelme([None])}, "a.json: a shape without label"),
    "a category of two names": (
        {"x/a.json": json.dumps(coco(categories=[{"id": 3, "name": name} for name in "ab"]))},
        "a.json: 'a' and 'b' are both category 3",
    ),
    "a category without name": (
        {"x/a.json": json.dumps(coco(categories=[{"id": 3, "name": None}]))}, "a.json: category 3 has no name"
    ),
    "an id of two images": (
        {"x/a.json": json.dumps(coco(images=[{"id": 0, "file_name": f"{name}.jpg"} for name in "ab"]))},
        "a.json: a.jpg and b.jpg have the same id 0",
    ),
    "an image without name": ({"x/a.json": json.dumps(coco(images=[{"id": 0}]))}, "a.json: image 0 has no file_name"),
    "ids of images as text": (
        {"x/a.json": json.dumps(coco(annotations=[{"image_id": "0", "category_id": 3}]))},
        "none of its objects is of one of its images: image_id '0', but images have ids such as 0",
    ),
    "a label that Datumaro does not list": (
        {"x/a.json": json.dumps({"categories": {"label": {"labels": []}}, "items": [
            {"id": "a", "annotations": [{"label_id": 0}]}
        ]})},
        "a.json: label_id 0, where 0 labels are listed",
    ),
    "masks alone": ({"x/SegmentationClass/a.png": "", "x/labelmap.txt": "cat:1,2,3::"}, "masks alone, without labels"),
    "nothing known": ({"x/a.mat": "", "x/b.mat": ""}, r"no labels of a known format in it, but 2 .mat; name the"),
    "an empty folder": ({"x/.hidden": ""}, "but no file"),
    "photos of elsewhere": ({"x/z.xml": voc(["cat"], "y.jpg")}, "it names .*z.xml, photos are called a.jpg"),
    "no class at all": ({"x/a.xml": voc([])}, "no class names"),
    "two spellings": ({"x/a.xml": voc(["cat"]), "x/b.xml": voc(["Cat"])}, "'Cat' and 'cat' differ in case alone"),
    "an array": ({"x/a.json": "[1, 2, 3]", "x/annotations.xml": "<html/>"}, "no labels of a known format"),
    "one folder": ({"x/photos/a.jpg": "", "x/photos/b.jpg": ""}, "no labels of a known format"),
    "folders of splits alone": ({"x/train/a.jpg": "", "x/val/b.jpg": ""}, "no labels of a known format"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_fault_is_one_line_that_names_the_file(folder, name):
    files, message = SPOILT[name]
    write(folder, files)
    with pytest.raises(UserError, match=message) as error:
        read_labels(source_of(folder / "x"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4 word/a.xml, xl/workbook.xml, and more than a hundred bytes" + bytes(100), "save its sheet as CSV"),
        (b"PK\3\4 annotations.xml, images/a.jpg, and more than a hundred bytes" + bytes(100), "unpack it, and name"),
        (b"\x1f\x8b archive", "unpack it|save its sheet"),
        (b"\x93NUMPY\1\0", "cannot be read"),
        (b"<html></html>", "XML or HTML|no labels of a known format"),
        (b'{"images": 1}', "names none of the photos"),
    ],
)
def test_other_files_are_called_what_they_are(folder, content, message):
    for name in ("labels", "labels.csv", "labels.npy", "labels.json", "labels.xml"):
        (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{message}|no labels of a known format") as error:
            read_labels(source_of(folder / name))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["labels.json", "labels.xml", "labels.npy"])
def test_an_empty_file_is_called_empty(folder, name):
    (folder / name).write_bytes(b"\n")
    with pytest.raises(UserError, match=f"{name}: an empty file"):
        read_labels(source_of(folder / name))


@pytest.mark.parametrize("vectors", [[[0.3, 0.9], [0.0, 1.0]], [[0.0, 1.0], [1.0]]])
def test_scores_and_vectors_of_two_lengths_are_no_names(folder, vectors):
    content = {f"{photo}.jpg": np.array(vector) for photo, vector in zip("ab", vectors, strict=True)}
    np.save(folder / "cls_labels.npy", content, allow_pickle=True)
    (folder / "labels.json").write_text(json.dumps({photo: vector.tolist() for photo, vector in content.items()}))
    for name in ("cls_labels.npy", "labels.json"):
        with pytest.raises(UserError, match=f"{name}: a vector that is not of 0 and 1, or shorter than others"):
            read_labels(source_of(folder / name))


def test_a_pickle_that_ends_early_is_called_damaged(folder):
    content = pickle.dumps({"a": [0, 1], "b": [1, 0]})
    (folder / "labels.pkl").write_bytes(content[:-6])
    with pytest.raises(UserError, match=r"labels.pkl: cannot be read \("):
        read_labels(source_of(folder / "labels.pkl"))


def test_one_class_has_one_spelling_of_accents_and_blanks(folder):
    names = ("Ka\u0308tzchen", "K\u00e4tzchen ", "wild  cat", " wild\ncat", "wild\u00a0cat")
    content = {name: [each] for name, each in zip(("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"), names, strict=True)}
    (folder / "labels.json").write_text(json.dumps(content))
    assert read_labels(source_of(folder / "labels.json", tuple(content))).classes == ("K\u00e4tzchen", "wild cat")


def test_numbers_name_photos_with_zeros_in_front(folder):
    """Excel reads 007 as a number; where a name fits as it is, numbers beside it are those of rows."""
    photos = tuple(f"{number:03d}.jpg" for number in range(1, 5))
    write(folder, {"l.csv": 'image;classes\n1;cat\n2;dog\n3;"cat;dog"\n4;\n'})
    source = source_of(folder / "l.csv", photos)
    assert labels_in(source) == dict(zip(photos, ({"cat"}, {"dog"}, {"cat", "dog"}, set()), strict=True))
    assert "photos by their numbers (1 is 001.jpg)" in read_labels(source).form
    write(folder, {"l.csv": ",image,label\n1,004,cat\n2,003,dog\n3,002,dog\n4,001,cat\n"})
    assert labels_in(source_of(folder / "l.csv", photos))["004.jpg"] == {"cat"}
    write(folder, {"l.csv": "image;classes\n7;cat\n"})
    source = source_of(folder / "l.csv", ("007.jpg", "0007.jpg"))
    assert len(read_labels(source).photos["7"]) == 2  # ppl.data.new refuses a name of two photos


@pytest.mark.parametrize("titles", ["image,class", "Bild,Klasse", "image_id,image_width,class", ""])
def test_numbers_name_photos_in_several_rows(folder, titles):
    photos = {f"{number:03d}.jpg": {"cat", "dog", f"only {number}"} for number in range(1, 7)}
    width = "640," if "width" in titles else ""
    rows = [f"{int(photo[:3])},{width}{name}" for photo, classes in photos.items() for name in sorted(classes)]
    write(folder, {"l.csv": "\n".join([titles, *rows])})
    assert labels_in(source_of(folder / "l.csv", tuple(photos))) == photos


def test_numbers_name_photos_of_a_larger_collection(folder):
    photos = tuple(f"{number:03d}.jpg" for number in range(1, 7))
    rows = "".join(f"{number},{'dog' if number % 2 else 'cat'}\n" for number in range(1, 30))
    write(folder, {"l.csv": f"image,class\n{rows}"})
    labels = labels_in(source_of(folder / "l.csv", photos))
    assert labels == {photo: {"dog" if int(photo[:3]) % 2 else "cat"} for photo in photos}


@pytest.mark.parametrize("table", [",image,class\n1,IMG_1,cat\n2,IMG_2,dog\n", "1,IMG_1.jpg,cat\n2,IMG_2.jpg,dog\n"])
def test_numbers_beside_names_of_other_photos_are_those_of_rows(folder, table):
    write(folder, {"l.csv": table})
    with pytest.raises(UserError, match="no column names any of the photos"):
        read_labels(source_of(folder / "l.csv", ("001.jpg", "002.jpg")))


@pytest.mark.parametrize("number", [1.0, True, "1", -1, 2, [1]])
def test_datumaro_numbers_labels_by_integers(folder, number):
    labels = {"label": {"labels": [{"name": name} for name in CLASSES]}}
    items = [{"id": "a", "annotations": [{"label_id": 0}, {"label_id": number}]}]
    write(folder, {"l.json": json.dumps({"categories": labels, "items": items})})
    with pytest.raises(UserError, match=re.escape(f"label_id {number!r}, where 2 labels are listed")):
        read_labels(source_of(folder / "l.json"))


def test_numbers_that_recur_are_no_photos(folder):
    rows = "".join(f"IMG_{number},640,{number % 2},cat\n" for number in range(9))
    write(folder, {"l.csv": f"image,width,flag,class\n{rows}"})
    with pytest.raises(UserError, match="no column names any of the photos"):
        read_labels(source_of(folder / "l.csv", ("0001.jpg", "0640.jpg")))


@pytest.mark.parametrize("name", ["01.05.2024", "5/1/2024", "2.024E+18", "7"])
def test_names_that_excel_has_changed_are_said_to_be(folder, name):
    write(folder, {"l.csv": f"image;classes\n{name};cat\n"})
    with pytest.raises(UserError, match=r"photos, which are called as a.jpg; .*Excel changes names"):
        read_labels(source_of(folder / "l.csv"))


def test_an_array_without_names_is_called_what_it_is(folder):
    np.save(folder / "labels.npy", np.zeros((3, 20)))
    with pytest.raises(UserError, match=r"no dictionary from photos to classes but an array of shape \(3, 20\)"):
        read_labels(source_of(folder / "labels.npy"))


def test_data_yaml_of_yolo_stands_for_its_folder(folder):
    write(folder, PER_PHOTO["yolo"])
    assert labels_in(source_of(folder / "data.yaml")) == WANT


def test_folders_of_images_and_masks_are_no_classes(folder):
    files = {f"{name}/{stem}.png": stem for name in ("JPEGImages", "SegmentationClass") for stem in "abc"}
    write(folder, files | {f"Annotations/{stem}.xml": voc(STEMS[stem]) for stem in "abc"})
    assert labels_in(source_of(folder, root=folder / "JPEGImages")) == WANT


def test_names_that_label_studio_has_changed_are_found(folder):
    photos = ("day 1/my cat (2).jpg", "ünder.jpg", "50%25.jpg")
    written = ("/data/upload/9/0123abcd-my_cat_2.jpg", "/data/local-files/?d=photos/%C3%BCnder.jpg", "s3://x/50%25.jpg")
    write(folder, {"l.csv": "image,choice\n" + "".join(f"{name},cat\n" for name in written)})
    assert labels_in(source_of(folder / "l.csv", photos)) == {photo: {"cat"} for photo in photos}


def test_photos_of_a_tool_in_folders_of_their_own_have_its_labels(folder):
    photos = [f"images/task {number}/{stem}.jpg" for number, stem in enumerate("abc")]
    write(folder, {photo: photo for photo in photos} | {"annotations.xml": cvat()})
    assert sorted(map(sorted, labels_in(source_of(folder, photos, root=folder)).values())) == sorted(STEMS.values())
    (folder / "annotations.xml").rename(folder / "nothing.else")
    write(folder, {"labels.csv": "image,class\na.jpg,cat\n"})
    with pytest.raises(UserError, match=r"a table of labels \(labels.csv\), or as a folder for each class"):
        read_labels(source_of(folder, photos, root=folder))


@pytest.mark.parametrize("name", ["class-descriptions.csv", "oidv7-class-descriptions-boxable.csv"])
def test_open_images_names_classes_in_a_file_beside_the_table(folder, name):
    table = "ImageID,Source,LabelName,Confidence,XMin,IsOccluded,IsGroupOf\na,v,/m/01,1,0.5,1,0\nb,v,/m/02,1,0.1,-1,0\n"
    table += "b,v,/m/01,1,0.2,0,0\nc,v,/m/02,0,0.2,0,0\n"
    write(folder, {"boxes.csv": table})
    assert labels_in(source_of(folder / "boxes.csv"))["a.jpg"] == {"/m/01"}
    write(folder, {name: "LabelName,DisplayName\n/m/01,cat\n/m/02,Großer Hund\n/m/03,Zebra\n"})
    assert labels_in(source_of(folder / "boxes.csv")) == WANT


def test_two_formats_in_a_folder_are_refused_with_both_and_the_option_decides(folder):
    write(folder / "x", {"labels.csv": "image,class\na.jpg,cat\n", "a.xml": voc(["dog"]), "b.xml": voc(["cat"])})
    source = source_of(folder / "x")
    readings = r"two ways: as a table of labels \(labels.csv\), or as Pascal VOC XML \(2 files such as a.xml\)"
    with pytest.raises(UserError, match=rf"{readings}; choose by --label-format table or voc"):
        read_labels(source)
    assert labels_in(source, "table") == {"a.jpg": {"cat"}}
    assert labels_in(source, "voc") == {"a.jpg": {"dog"}, "b.jpg": {"cat"}}
    with pytest.raises(UserError, match="x: not COCO JSON; name the labels"):
        read_labels(source, "coco")


def test_a_table_in_a_folder_is_read_if_it_is_the_only_one_of_photos(folder):
    write(folder, {"train.csv": "id,label\na,cat\nb,dog\n", "prices.csv": "item,label\nx,1\n"})
    assert labels_in(source_of(folder)) == {"a.jpg": {"cat"}, "b.jpg": {"dog"}}
    write(folder, {"sample_submission.csv": "id,label\nc,dog\n"})
    with pytest.raises(UserError, match=r"no labels of a known format in it, but 3 .csv; name the labels by --labels"):
        read_labels(source_of(folder))
    write(folder, {"labels.csv": "id,label\na,dog\n"})
    assert labels_in(source_of(folder)) == {"a.jpg": {"dog"}}


def test_nested_folders_are_refused_with_both_readings_and_an_option_decides(folder):
    photos = {"cat/day1/a.jpg": "1", "cat/day2/b.jpg": "2", "dog/day1/c.jpg": "3"}
    write(folder, photos)
    with pytest.raises(UserError, match=r"cat/day1 can .* class 'cat', or of 'day1'; choose by --class-folder first"):
        read_labels(source_of(folder, photos, root=folder))
    for level, classes in (("first", ["cat", "cat", "dog"]), ("last", ["day1", "day2", "day1"])):
        labels = labels_in(source_of(folder, photos, root=folder, class_folder=level))
        assert list(labels.values()) == [{each} for each in classes]


def test_a_photo_copied_into_two_folders_has_both_classes(folder):
    photos = {"cat/a.jpg": "both", "dog/a.jpg": "both", "dog/b.jpg": "dog"}
    write(folder, photos)
    table = read_labels(source_of(folder, photos, root=folder))
    assert labels_in(source_of(folder, photos, root=folder)) == {
        "cat/a.jpg": {"cat", "dog"}, "dog/a.jpg": {"cat", "dog"}, "dog/b.jpg": {"dog"}
    }  # fmt: skip
    assert "1 photos lie in folders of several classes, and have all of them" in table.form


def test_splits_with_the_same_names_of_photos_stay_apart(folder):
    """As of Roboflow: `train` and `valid`, each with photos and labels."""
    photos = ("train/images/1.jpg", "valid/images/1.jpg")
    write(
        folder,
        {
            "train/labels/1.txt": yolo(["cat"]),
            "valid/labels/1.txt": yolo(CLASSES),
            "data.yaml": "names: [cat, d]\nnc: 2",
        },
    )
    want = {"train/images/1.jpg": {"cat"}, "valid/images/1.jpg": {"cat", "d"}}
    assert labels_in(source_of(folder, photos, root=folder)) == want
    assert labels_in(source_of(folder, ["1.jpg"], root=folder / "train" / "images")) == {"1.jpg": {"cat"}}
    for name in ("train", "valid"):
        (folder / name / "labels" / "1.txt").unlink()
    photos = ("train/1.jpg", "valid/1.jpg")
    for name, classes in (("train", ["cat"]), ("valid", CLASSES)):
        write(folder, {f"{name}/_annotations.coco.json": json.dumps(coco({"1.jpg": classes}))})
    want = {"train/1.jpg": {"cat"}, "valid/1.jpg": set(CLASSES)}
    assert labels_in(source_of(folder, photos, root=folder)) == want
    for name in ("train", "valid"):
        (folder / name / "_annotations.coco.json").unlink()
    for name, flag in (("train", 0), ("valid", 1)):
        write(folder, {f"{name}/_classes.csv": f"filename, cat, Großer Hund\n1.jpg, 1, {flag}\n"})
    assert labels_in(source_of(folder, photos, root=folder)) == want


def test_the_name_of_a_file_goes_before_the_name_in_it(folder):
    write(folder / "x", {"a.xml": voc(["cat"], "b.jpg"), "z.xml": voc(["dog"], "b.jpg")})
    table = read_labels(source_of(folder / "x"))
    assert labels_in(source_of(folder / "x")) == {"a.jpg": {"cat"}, "b.jpg": {"dog"}}
    assert "inside 1 files, such as a.xml" in table.left_out[0]


def test_objects_of_images_that_are_not_listed_and_tasks_without_annotation_are_counted(folder):
    content = coco()
    content["annotations"].append({"image_id": 99, "category_id": 3})
    write(folder, {"a.json": json.dumps(content)})
    assert read_labels(source_of(folder / "a.json")).left_out == ("1 objects of images that the file does not list",)
    tasks = [task("a.jpg", ["cat"]), task("b.jpg", ["dog"]) | {"annotations": []}]
    write(folder, {"b.json": json.dumps(tasks)})
    assert labels_in(source_of(folder / "b.json")) == {"a.jpg": {"cat"}}
    assert read_labels(source_of(folder / "b.json")).left_out == ("1 tasks without a submitted annotation",)


@pytest.mark.parametrize("name", LABELS)
def test_every_format_has_a_name_and_reads_files_that_it_recognises(name):
    module = load(LABELS, name)
    assert isinstance(module.NAME, str)
    assert callable(module.files)
    assert callable(module.read)


def test_a_format_of_ones_own_is_read_by_its_module(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", [*sys.path])
    module = """
from ppl.data.own.table import annotated

NAME = "tags"


def files(source):
    return source.with_suffix(".tags")


def read(source, files):
    return annotated(source, [(f.stem, source.names.find(f.stem), f.read_text().split()) for f in files], NAME)
"""
    write(folder, {"my_tags.py": module, "x/a.tags": "cat", "x/b.tags": "cat dog", "x/c.tags": ""})
    labels = labels_in(source_of(folder / "x"), "own/my_tags")
    assert labels == {"a.jpg": {"cat"}, "b.jpg": {"cat", "dog"}, "c.jpg": set()}


def test_the_help_lists_every_format():
    source = inspect.getsource(new.Settings)
    for option, entries in (("label_format", LABELS), ("mask_format", MASKS)):
        text = source.partition(f"{option}: str")[2].split('"""')[1]
        assert {*re.findall(r"[a-z]+", text.partition(":")[2])} - {"or"} == {*entries, "own"}


@pytest.mark.parametrize("option", ["label_format", "mask_format"])
def test_a_format_is_recognised_or_named_or_of_a_module_of_the_user(option):
    for name in ("auto", "coco", "own/my_format"):
        assert getattr(new.Settings(Path("photos"), **{option: name}), option) == name
    with pytest.raises(UserError, match=rf"^--{option.replace('_', '-')}: unknown name 'xlsx'; choose one of auto, "):
        new.Settings(Path("photos"), **{option: "xlsx"})


def test_numbers_of_yolo_are_those_of_names_that_may_have_gaps(tmp_path):
    files = {"x/a.txt": "2 0.5 0.5 0.2 0.2\n", "x/data.yaml": "names: {0: cat, 2: dog}\n"}
    assert labels_in(source_of(write(tmp_path, files) / "x"))["a.jpg"] == {"dog"}
    write(tmp_path, {"x/data.yaml": "names: [cat, dog]\n"})
    with pytest.raises(UserError, match=r"names 2 classes, where the labels of .* have number 2, counted from 0"):
        labels_in(source_of(tmp_path / "x"))
