"""Tables of labels in the forms that people have them: each says the same."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
}


def is_photo(cell: str) -> bool:
    return cell.strip() in PHOTOS


def write(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder / "labels.csv"


def labels_of(path: Path) -> dict[str, set[str]]:
    return {name.removesuffix(".jpg"): set(names) for name, names in read_table(path, is_photo).labels.items()}


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
    skipped = {"none", "nan", "n/a", "background", "true", "false", "yes", "no", "1.0", "0.0"}
    if any(name.casefold() in skipped or name.isspace() for names in labels.values() for name in names):
        return
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(written.getvalue().encode())
    assert labels_of(path) == labels
