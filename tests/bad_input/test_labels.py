"""The readers of classes.txt and labels.csv: any content is read or refused in one line that names the line."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.data import check
from ppl.data.dataset import Dataset
from ppl.data.lists import write_lists
from ppl.jobs.errors import UserError

CLASSES = {
    "empty": b"", "blank": b"\n  \n", "a mark of byte order": b"\xef\xbb\xbf", "twice": b"cat\ndog\ncat\n",
    "twice but for spaces": b"cat\ndog\n cat \n", "too many": b"".join(b"class %d\n" % i for i in range(255)),
    "semicolon": b"cat;dog\n", "null": b"cat\0\ndog\n", "tab": b"cat\tdog\n", "escape": b"\x1b[31mcat\ndog\n",
    "latin-1": "chien\ncaf\u00e9\n".encode("latin-1"), "utf-16": "cat\ndog\n".encode("utf-16"),
    "from right to left": "cat\u202e\ndog\n".encode(),
}  # fmt: skip
CONTRADICTORY = {
    "background": b"background\ncat\ndog\n", "mean": b"cat\ndog\nmean\n",
    "a class without images": b"cat\ndog\nyak\n",
    "numbered": b"1 cat\n2 dog\n", "with ids": b"cat,1\ndog,2\n", "other case": b"Cat\nDog\n", "one too few": b"cat\n",
}  # fmt: skip
HEAD = "image,classes\n"
ROWS = "t2,dog\nv1,cat\ne1,\n"
TABLES = {
    "empty": "", "no head": "t1,cat\n" + ROWS, "semicolons": "image;classes\nt1;cat\n",
    "tabs": "image\tclasses\nt1\tcat\n",
    "one column": "image\nt1\n", "other names": "photo,labels\nt1,cat\n", "capitals": "Image,Classes\nt1,cat\n",
    "a column twice": "image,classes,classes\nt1,cat,dog\n", "open quote": HEAD + 't1,"cat\n' + ROWS,
    "quote inside": HEAD + 't1,"cat"x\n' + ROWS, "quoted head": '"image,classes"\nt1,cat\n', "JSON": '{"t1": ["cat"]}',
    "a huge field": HEAD + "t1," + "cat;" * 50_000 + "\n" + ROWS,
}  # fmt: skip
LINES = {
    "unknown class": "t1,cow", "other case": "t1,Cat", "number": "t1,1", "class of another separator": "t1,cat dog",
    "slash": "t1,cat/dog", "bar": "t1,cat|dog", "list": "t1,\"['cat']\"", "classes in columns": "t1,cat,dog",
    "further text": "t1,cat,,,note", "a column too few": "t1", "no image": ",cat", "image of spaces": "   ,cat",
    "null": "t1,cat\0", "no-break space inside": "t1,cat\u00a0dog", "two lines": 't1,"cat\ndog"',
    "background": "t1,background",
}  # fmt: skip
MISSING = {
    "no line": "", "suffix": "t1.png,cat\n", "path": "JPEGImages/t1,cat\n", "other case": "T1,cat\n",
    "null": "t1\0,cat\n", "quoted twice": '"""t1""",cat\n',
}  # fmt: skip
READ = {
    "further columns": "image,classes,note\nt1,cat,hm\nt2,dog,\nv1,cat,\ne1,,\n",
    "another order": "classes,image\ncat,t1\ndog,t2\ncat,v1\n,e1\n",
    "empty columns at the end": "image,classes\nt1,cat,,\nt2,dog,,\nv1,cat,,\ne1,,,\n",
    "empty lines": "image,classes\n\nt1,cat\n,\n\nt2,dog\nv1,cat\ne1,\n,\n",
    "CRLF": "image,classes\r\nt1,cat\r\nt2,dog\r\nv1,cat\r\ne1,\r\n",
    "CR": "image,classes\rt1,cat\rt2,dog\rv1,cat\re1,\r",
    "a mark of byte order": "\ufeffimage,classes\nt1,cat\nt2,dog\nv1,cat\ne1,\n",
    "quotes": '"image","classes"\n"t1","cat"\n"t2","dog"\n"v1","cat"\n"e1",""\n',
    "many semicolons": "image,classes\nt1,;;cat;;\nt2,dog;\nv1,;cat\ne1,;;\n",
    "spaces": "image,classes\n t1 , cat \nt2,  dog;dog \nv1,cat\n e1, \n",
    "without an end": "image,classes\nt1,cat\nt2,dog\nv1,cat\ne1,",
    "more images than splits": "image,classes\nt1,cat\nt2,dog\nv1,cat\ne1,\nz9,cat;dog\n",
}


def write(root, name: str, content: str | bytes) -> None:
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


BROKEN = {"classes.txt": CLASSES, "labels.csv": TABLES}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in BROKEN for kind in (*BROKEN[name], "absent", "folder", "loop")]
)
def test_a_broken_file_is_refused_and_stops_the_check(root, checking, refused, spoil, name, kind):
    write(root, name, BROKEN[name][kind]) if kind in BROKEN[name] else spoil(root / name, kind)
    refused(Dataset.open, root, f"{root}/{name}", lines=1)
    refused(check.main, checking, f"{root}/{name}", lines=1)


@pytest.mark.parametrize("content", CONTRADICTORY.values(), ids=CONTRADICTORY)
def test_the_check_reports_classes_that_contradict_the_labels(root, checking, refused, content):
    write(root, "classes.txt", content)
    refused(check.main, checking, "classes.txt")


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_faulty_line_is_named_by_its_number(root, checking, refused, line):
    write(root, "labels.csv", f"{HEAD}{line}\n{ROWS}")
    refused(check.main, checking, f"labels.csv, line {2 + line.count(chr(10))}")
    assert re.search(r"labels.csv, line [23]", refused(Dataset.open, root, lines=1))


@pytest.mark.parametrize("line", MISSING.values(), ids=MISSING)
def test_the_check_reports_an_image_without_a_line(root, checking, refused, line):
    write(root, "labels.csv", HEAD + line + ROWS)
    refused(check.main, checking, "photo 't1' of split train: has no line in labels.csv")


@pytest.mark.parametrize("again", ["t1,cat", "t1,dog", "t1,", " t1 ,cat", '"t1",cat'])
def test_the_check_reports_an_image_with_two_lines(root, checking, refused, again):
    write(root, "labels.csv", f"{HEAD}t1,cat\n{ROWS}{again}\n")
    refused(check.main, checking, "labels.csv, line 6: image 't1' appears twice")


@pytest.mark.parametrize("content", [*READ.values()], ids=READ)
def test_a_table_of_any_program_is_read(root, content):
    write(root, "labels.csv", content)
    labels = Dataset.open(root).labels
    assert [labels[image_id] for image_id in ("t1", "t2", "v1", "e1")] == [(1,), (2,), (1,), ()]


@pytest.mark.parametrize("name", ["classes.txt", "labels.csv"])
@given(content=st.one_of(st.binary(max_size=80), st.text("image,classes;\n\r\"'\0\ufeff t12catdog", max_size=120)))
@settings(max_examples=60)
def test_any_content_is_read_or_one_line(tmp_path_factory, one_line, name, content):
    root = tmp_path_factory.mktemp("labels")
    write(root, "classes.txt", "cat\ndog\n")
    write(root, "labels.csv", HEAD)
    write(root, name, content)
    try:
        dataset = Dataset.open(root)
    except UserError as error:
        one_line(error, str(root / name))
    else:
        assert all(0 < number <= len(dataset.classes) for labels in dataset.labels.values() for number in labels)


TEXTS = st.text("ab ,;\"'\u00e9", min_size=1, max_size=5).map(str.strip)


@given(st.lists(st.tuples(TEXTS, st.sets(st.sampled_from("xyz")))))
@settings(max_examples=60)
def test_written_labels_are_read_again(tmp_path_factory, rows):
    classes = ("x", 'a, "b"', "d e")
    named = {image_id: [classes["xyz".index(name)] for name in sorted(names)] for image_id, names in rows if image_id}
    folder = tmp_path_factory.mktemp("labels")
    write_lists(folder, classes, named, {"all": [*named]})
    dataset = Dataset.open(folder)
    assert dataset.classes == classes
    assert {i: [classes[label - 1] for label in labels] for i, labels in dataset.labels.items()} == named
    assert dataset.listed("all") == [*named]
