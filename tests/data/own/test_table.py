"""Tables of labels in the forms that people have them: each says the same."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.data.own.cells import ABSENT, NO, SIGNS, YES, clean_name
from ppl.data.own.layout import Choices
from ppl.data.own.table import read_table
from ppl.jobs.errors import UserError

PHOTOS = {"a.jpg", "b.jpg", "c.jpg", "a", "b", "c"}
LABELS = {"a": {"cat"}, "b": {"cat", "Großer Hund"}, "c": set()}
FORMS = {
    "names": "image,classes\na,cat\nb,cat;Großer Hund\nc,\n",
    "names, with suffix": "image,classes\na.jpg,cat\nb.jpg,cat; Großer Hund\nc.jpg,\n",
    "other titles": "Datei,Tiere\na,cat\nb,cat|Großer Hund\nc,\n",
    "commas in quotes": 'image,label\na,cat\nb,"cat, Großer Hund"\nc,""\n',
    "commas without quotes": "image,label\na,cat\nb,cat,Großer Hund\nc,\n",
    "semicolons": "image;classes\na;cat\nb;cat,Großer Hund\nc;\n",
    "tabs": "image\tclasses\na\tcat\nb\tcat;Großer Hund\nc\t\n",
    "Excel's first line": "sep=;\nimage;classes\na;cat\nb;cat,Großer Hund\nc;\n",
    "columns of 0 and 1": "image,cat,Großer Hund\na,1,0\nb,1,1\nc,0,0\n",
    "columns of yes and no": "image;cat;Großer Hund\na;yes;no\nb;Yes;YES\nc;no;no\n",
    "columns of x": "image,cat,Großer Hund\na,x,\nb,x,x\nc,,\n",
    "floats": "image,cat,Großer Hund\na,1.0,0.0\nb,1.0,1.0\nc,0.0,0.0\n",
    "column of background": "image,background,cat,Großer Hund\na,1,1,0\nb,1,1,1\nc,1,0,0\n",
    "a row per class": "image,class\na,cat\nb,cat\nb,Großer Hund\nc,\n",
    "no titles": "a.jpg,cat\nb.jpg,cat,Großer Hund\nc.jpg,\n",
    "no titles, in one cell": "a.jpg;cat\nb.jpg;cat|Großer Hund\nc.jpg;\n",
    "lists": "image,labels\na,['cat']\nb,\"['cat', 'Großer Hund']\"\nc,[]\n",
    "further columns": "width,image,classes,note\n640,a,cat,x y\n640,b,cat;Großer Hund,\n480,c,,\n",
    "further columns beside flags": "image,width,cat,Großer Hund\na,640,1,0\nb,480,1,1\nc,333,0,0\n",
    "empty lines": "\nimage,classes\n\na,cat\n,\nb,cat;Großer Hund\nc,\n\n",
    "said to be none": "image,classes\na,cat\nb,cat;Großer Hund\nc,none\n",
    "said to be NA": "image,classes\na,cat\nb,cat;Großer Hund\nc,NA\n",
    "said to be NULL": "image,classes\na,cat\nb,cat;Großer Hund\nc,NULL\n",
    "NIH": "Image Index,Finding Labels,Follow-up #,Sex\n"
    "a.jpg,cat,0,F\nb.jpg,cat|Großer Hund,1,M\nc.jpg,No Finding,0,M\n",
    "quotes around all": '"image","classes"\n"a","cat"\n"b","cat;Großer Hund"\n"c",""\n',
    "R's row names": '"","image","cat","Großer Hund"\n"1","a",1,0\n"2","b",1,1\n"3","c",0,0\n',
    "pandas' index": ",filename,label\n0,a.jpg,cat\n1,b.jpg,cat;Großer Hund\n2,c.jpg,\n",
    "an unnamed index": "Unnamed: 0,filename,label\n0,a.jpg,cat\n1,b.jpg,cat;Großer Hund\n2,c.jpg,\n",
    "titles without that of photos": "cat,Großer Hund\na.jpg,1,-1\nb.jpg,1,1\nc.jpg,-1,-1\n",
    "-1 and 1": "image,cat,Großer Hund\na,1,-1\nb,1,1\nc,-1,-1\n",
    "numbers of objects": "image,cat,Großer Hund\na,3,0\nb,1,2\nc,0,0\n",
    "two columns of names": "image,class1,class2\na,cat,\nb,cat,Großer Hund\nc,,\n",
    "a confidence of 0": "ImageID,Source,LabelName,Confidence\n"
    "a,v,cat,1\na,v,Großer Hund,0\nb,v,cat,1\nb,v,Großer Hund,1\nc,v,cat,0\nc,v,Großer Hund,0\n",
    "Label Studio": "annotator,choice,id,image\n1,cat,9,/d/?d=x/a.jpg\n"
    '1,"{""choices"":[""cat"",""Großer Hund""]}",8,b.jpg\n1,,7,c.jpg\n',
    "a flag beside unknown titles": "fname,breed,is_valid\na,cat,True\nb,cat,False\nb,Großer Hund,False\nc,,True\n",
    "a split beside unknown titles": "fname,breed,split\na,cat,train\nb,cat,train\nb,Großer Hund,train\nc,,test\n",
    "boxes": "a.jpg,1,2,30,40,cat\nb.jpg,5,6,70,80,cat\nb.jpg,5,6,70,80,Großer Hund\nc.jpg,,,,,\n",
    "boxes and splits": "TRAIN,a.jpg,cat,0.1,0.2\n"
    "TEST,b.jpg,cat,0.1,0.3\nTEST,b.jpg,Großer Hund,0.1,0.3\nTRAIN,c.jpg,,,\n",
    "comments": "# by Ann, 2024\n\nimage,classes\na,cat\nb,cat;Großer Hund\nc,\n",
    "a heading": "Our labels,\nimage,classes\na,cat\nb,cat;Großer Hund\nc,\n",
    "joined files": "image,classes\na,cat\nb,cat;Großer Hund\nimage,classes\nc,\n",
    "addresses": "image,classes\nhttps://x.org/a.jpg,cat\nhttps://x.org/b.jpg,cat;Großer Hund\nhttps://x.org/c.jpg,\n",
    "the end of an old file": "image,classes\na,cat\nb,cat;Großer Hund\nc,\n\0\0",
    "no titles, photos of a larger collection": "z.jpg,cat\na.jpg,cat\nb.jpg,cat;Großer Hund\nc.jpg,\n",
}
DOUBTFUL = {
    "two columns of names": (
        "image,label,category\na,cat,pet\nb,cat,pet\n",
        r"'label', or .*'category'.*--class-column",
    ),
    "names or flags": ("image,breed,indoor\na,cat,1\nb,cat,0\nc,dog,0\n", r"'breed', or .*'indoor'.*--class-column"),
    "a flag of a split": ("image,cat,dog,test\na,1,0,0\nb,0,1,1\n", r"'test' is a class, or .*cat and dog"),
    "counts or not": ("image,cat,age\na,1,0\nb,0,12\n", r"'age' holds numbers: a class.*--class-column"),
    "-1, 0 and 1": ("image,cat,dog\na,1,-1\nb,0,1\n", "0 may mean absent or unknown; --absent=-1"),
    "confidences": ("image,label,confidence\na,cat,0.9\nb,dog,0.1\n", "confidences: .*--class-column"),
    "probabilities": ("image,cat,dog\na,0.9,0.1\nb,0.2,0.7\n", r"cat: 0.9.*0 and 1"),
    "a comma in names": ('image,class\na,"cat, red"\nb,"dog, blue"\n', "'cat, red' may be one class, .*--separator"),
    "two columns of photos": (
        "left,right,label\na.jpg,b.jpg,cat\nb.jpg,c.jpg,dog\n",
        "both name photos; .*--image-column",
    ),
    "two spellings": ("image,label\na,cat\nb,Cat\n", "'Cat' and 'cat' differ in case alone"),
    "flags without a name, and sizes": ("image,label,height\na,1,5\nb,0,7\n", "holds only 0 and 1; name the column"),
    "x and y, without a name": (
        "image,label\na,x\nb,y\n",
        "'label' holds only yes and no, such as 'x'; name the column",
    ),
    "y and n, without a name": ("image,label\na,y\nb,n\n", "that yes stands for, as in image,crack; --class-column"),
    "flags without a name": ("image,label\na,1\nb,0\n", "holds only 0 and 1; name the column after the class"),
}
DECIDED = [
    (DOUBTFUL["two columns of names"][0], Choices(class_columns=("category",)), {"a": {"pet"}, "b": {"pet"}}),
    (DOUBTFUL["two columns of names"][0], Choices(class_columns=("3",)), {"a": {"pet"}, "b": {"pet"}}),
    (DOUBTFUL["names or flags"][0], Choices(class_columns=("Indoor",)), {"a": {"indoor"}, "b": set(), "c": set()}),
    (DOUBTFUL["a flag of a split"][0], Choices(class_columns=("cat", "dog")), {"a": {"cat"}, "b": {"dog"}}),
    (DOUBTFUL["counts or not"][0], Choices(class_columns=("cat",)), {"a": {"cat"}, "b": set()}),
    (DOUBTFUL["counts or not"][0], Choices(class_columns=("cat", "age")), {"a": {"cat"}, "b": {"age"}}),
    (DOUBTFUL["-1, 0 and 1"][0], Choices(absent=("-1",)), {"a": {"cat"}, "b": {"dog"}}),
    (DOUBTFUL["confidences"][0], Choices(class_columns=("label",)), {"a": {"cat"}, "b": {"dog"}}),
    (DOUBTFUL["x and y, without a name"][0], Choices(class_columns=("label",)), {"a": {"x"}, "b": {"y"}}),
    (DOUBTFUL["a comma in names"][0], Choices(separator=";"), {"a": {"cat, red"}, "b": {"dog, blue"}}),
    (DOUBTFUL["a comma in names"][0], Choices(separator=","), {"a": {"cat", "red"}, "b": {"dog", "blue"}}),
    (DOUBTFUL["two columns of photos"][0], Choices(image_column="right"), {"b": {"cat"}, "c": {"dog"}}),
    (DOUBTFUL["two columns of photos"][0], Choices(image_column="1"), {"a": {"cat"}, "b": {"dog"}}),
    ("image,is_cat,is_dog\na,1,0\nb,1,1\n", None, {"a": {"is_cat"}, "b": {"is_cat", "is_dog"}}),
    ("image,label_x,label_z\na,1,0\nb,1,1\n", None, {"a": {"label_x"}, "b": {"label_x", "label_z"}}),
    ("image,label\na,cat\nb,healthy\n", Choices(absent=("Healthy",)), {"a": {"cat"}, "b": set()}),
]


def is_photo(cell: str) -> bool:
    return cell.strip().rpartition("/")[2] in PHOTOS


def write(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder / "labels.csv"


def labels_of(path: Path, choices: Choices | None = None) -> dict[str, set[str]]:
    labels = read_table(path, is_photo, choices).labels
    names = {photo.rpartition("/")[2].removesuffix(".jpg"): set(classes) for photo, classes in labels.items()}
    return {name: classes for name, classes in names.items() if name in PHOTOS}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_form_says_the_same(tmp_path, text, encoding, end):
    (tmp_path / "labels.csv").write_bytes(text.replace("\n", end).encode(encoding))
    assert labels_of(tmp_path / "labels.csv") == LABELS


@pytest.mark.parametrize(
    ("text", "classes", "ignored"),
    [
        ("image,classes\na,yak;cat\nb,Bee\n", ("Bee", "cat", "yak"), ()),
        ("image,yak,Bee,cat,never\na,1,0,1,0\nb,0,1,0,0\n", ("yak", "Bee", "cat"), None),
        (FORMS["further columns beside flags"], ("cat", "Großer Hund"), ("width",)),
    ],
)  # fmt: skip
def test_classes_come_by_the_alphabet_or_as_their_columns_and_other_columns_are_named(tmp_path, text, classes, ignored):
    table = read_table(write(tmp_path, text), is_photo)
    assert table.classes == classes
    assert ignored in (None, table.ignored)


@pytest.mark.parametrize(("text", "message"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_table_with_two_readings_is_refused_with_both_and_the_option_that_decides(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as error:
        read_table(write(tmp_path, text), is_photo)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "choices", "labels"), DECIDED)
def test_an_option_decides_between_readings(tmp_path, text, choices, labels):
    assert labels_of(write(tmp_path, text), choices) == labels


@pytest.mark.parametrize("choices", [Choices(image_column="nowhere"), Choices(class_columns=("nowhere",))])
def test_an_option_names_a_column_that_exists(tmp_path, choices):
    with pytest.raises(UserError, match="no column 'nowhere'; choose one of image, classes"):
        read_table(write(tmp_path, FORMS["names"]), is_photo, choices)


def test_numbers_of_rows_are_no_photos(tmp_path):
    """Photos 0.jpg, 1.jpg, ... in another order than the rows, whose numbers would name them too."""
    photos = {name for number in range(4) for name in (f"{number}.jpg", f"{number}")}
    table = write(tmp_path, ",filename,label\n0,3.jpg,cat\n1,2.jpg,dog\n2,1.jpg,dog\n3,0.jpg,cat\n")
    labels = read_table(table, photos.__contains__).labels
    assert labels == {"3.jpg": {"cat"}, "2.jpg": {"dog"}, "1.jpg": {"dog"}, "0.jpg": {"cat"}}


def test_more_classes_than_masks_can_hold_are_counted(tmp_path):
    rows = "".join(f"a,class{number}x\n" for number in range(300))
    with pytest.raises(UserError, match="300 classes, more than 254"):
        read_table(write(tmp_path, "image,class\n" + rows), is_photo)


def test_words_that_were_read_as_no_class_are_named(tmp_path):
    table = read_table(write(tmp_path, "image,classes\na,cat\nb,No Finding\nc,NA\n"), is_photo)
    assert table.absent == (("NA", 1), ("No Finding", 1))


def test_the_column_of_photos_is_recognised(tmp_path):
    numbers = write(tmp_path, "cat,image\n1,0\n0,1\n1,2\n1,3\n")  # photos whose names are numbers beside flags
    table = read_table(numbers, {"0", "1", "2", "3"}.__contains__)
    assert table.labels == {"0": {"cat"}, "1": set(), "2": {"cat"}, "3": {"cat"}}
    rows = [f"absent{number},dog\n" for number in range(1000)]
    rows[777] = "a,cat\n"  # the only row with a photo
    assert labels_of(write(tmp_path, "image,classes\n" + "".join(rows)))["a"] == {"cat"}


def test_quotation_marks_need_to_be_right_for_the_delimiter_alone(tmp_path):
    table = write(tmp_path, 'image,classes\na,"00;""x"\n')
    assert labels_of(table) == {"a": {"00", '"x'}}
    for wrong in ('image,classes\na,"x;y\n', 'image,classes\na,"cat\nb,dog\n'):
        with pytest.raises(UserError, match="unmatched quotation mark"):
            read_table(write(tmp_path, wrong), is_photo)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters=";|,[]"), min_size=2)


@given(
    st.dictionaries(st.sampled_from("abc"), st.sets(NAMES, min_size=1, max_size=3), min_size=1), st.sampled_from(";|")
)
def test_any_names_of_classes_are_read(tmp_path_factory, labels, sign):
    written, rows = io.StringIO(), [[image, sign.join(names)] for image, names in labels.items()]
    csv.writer(written).writerows([["image", "classes"], *rows])
    names = set().union(*labels.values())
    if any(name.casefold() in ABSENT | YES | NO | SIGNS or name.isspace() or name[0] == "{" for name in names):
        return
    if len({clean_name(name).casefold() for name in names}) < len(names):
        return
    labels = {image: {clean_name(name) for name in names} for image, names in labels.items()}
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(written.getvalue().encode())
    assert labels_of(path) == labels


@pytest.mark.parametrize(
    ("yes", "no"), [("x", ""), ("X", "-"), ("WAHR", "FALSCH"), ("ja", "nein"), ("VRAI", "FAUX"), ("✓", ""), ("✓", "✗")]
)
def test_columns_of_classes_hold_yes_and_no_of_any_language(tmp_path, yes, no):
    rows = [f"{image};{yes};{no if image == 'a' else yes}\n" for image in "ab"]
    labels = labels_of(write(tmp_path, "Foto;cat;dog\n" + "".join(rows)))
    assert labels == {"a": {"cat"}, "b": {"cat", "dog"}}


def test_lines_within_a_cell_are_classes(tmp_path):
    assert labels_of(write(tmp_path, 'image,classes\na,"cat\ndog"\nb,dog\n')) == {"a": {"cat", "dog"}, "b": {"dog"}}


SPELLED = {
    "cp1252": "Kätzchen;bœuf;créée;smørrebrød;à côté;pingüino;jää;Straße",
    "utf-16-le": "кот;Kätzchen;猫咪",
    "utf-16-be": "кот;Kätzchen;猫咪",
}
GARBLED = [("кот", "cp1251"), ("γάτα", "cp1253"), ("猫咪", "gbk"), ("ネコ", "shift_jis"), ("żaba", "cp1250"),
           ("Kätzchen", "mac_roman"), ("Müll;Köln", "cp850"), ("smørrebrød", "mac_roman")]  # fmt: skip


@pytest.mark.parametrize("encoding", SPELLED)
def test_names_are_read_in_the_encodings_of_excel(tmp_path, encoding):
    names = SPELLED[encoding]
    (tmp_path / "labels.csv").write_bytes(f"image,classes\na,{names}\nb,cat\n".encode(encoding))
    assert labels_of(tmp_path / "labels.csv")["a"] == set(names.split(";"))


@pytest.mark.parametrize(("names", "encoding"), GARBLED)
def test_names_in_an_unknown_encoding_are_refused(tmp_path, names, encoding):
    (tmp_path / "labels.csv").write_bytes(f"image,classes\na,{names}\nb,cat\n".encode(encoding))
    with pytest.raises(UserError, match=r"labels.csv: (in an unknown encoding|not a text file).*UTF-8"):
        labels_of(tmp_path / "labels.csv")


def test_damaged_utf_8_is_not_read_as_another_encoding(tmp_path):
    (tmp_path / "labels.csv").write_bytes("image,classes\na,Kätzchen\nb,Kä".encode()[:-1])
    with pytest.raises(UserError, match="in an unknown encoding"):
        labels_of(tmp_path / "labels.csv")


def test_a_first_row_shorter_than_others_is_no_reason_to_fail(tmp_path):
    with pytest.raises(UserError, match=r"columns 'a.jpg' \(.*\) and 'number 3' \(.*\) both name photos"):
        read_table(write(tmp_path, "a.jpg,cat\na.jpg,cat,c.jpg\nb.jpg,cat,b.jpg\nc.jpg,dog,a.jpg\n"), is_photo)


def test_the_column_of_photos_is_none_of_classes(tmp_path):
    path = write(tmp_path, "image,class\na.jpg,cat\nb.jpg,dog\n")
    with pytest.raises(UserError, match=r"--class-column: column 'image' of .* names photos; name a column of classes"):
        read_table(path, is_photo, Choices(class_columns=("image",)))


def test_classes_of_photos_that_are_not_here_do_not_matter(tmp_path):
    others = "".join(f"elsewhere{number}.jpg,class {number}\n" for number in range(300))
    path = write(tmp_path, f"image,class\na,cat\nb,dog\nelsewhere.jpg,Cat\n{others}")
    assert read_table(path, is_photo).classes == ("cat", "dog")
