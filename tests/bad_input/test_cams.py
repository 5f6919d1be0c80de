"""CAM files that are truncated, foreign, of another dataset or spoilt: refused by what opens them, before it writes."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.cam.store import Cam, open_store, write
from ppl.crf.dense import IRNET
from ppl.data.dataset import Dataset
from ppl.jobs.errors import UserError
from ppl.measure import sweep
from ppl.refine import crf_seeds
from ppl.refine import reliable as confident

CLASSES = ("cat", "dog")


def stored(path: Path, images: tuple[str, ...] = ("t1", "t2"), classes: tuple[str, ...] = CLASSES) -> Path:
    """A sound file for photos of 8x6."""
    maps = np.random.default_rng(0).random((1, 2, 2), dtype=np.float32)
    write(path, [(i, Cam(maps, np.array([1]), (6, 8))) for i in images], classes=classes, settings="{}", checkpoint="")
    return path


def replaced(file: h5py.File, maps: object, **attributes: object) -> None:
    """Stores something else in the place of the CAM of t1."""
    before = dict(file["cams/t1"].attrs)
    del file["cams/t1"]
    file["cams/t1"] = maps
    file["cams/t1"].attrs.update({**before, **attributes})


def without(name: str, attribute: str) -> Callable[[h5py.File], None]:
    return lambda file: file[name].attrs.__delitem__(attribute)


def with_attribute(name: str, attribute: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file[name].attrs.__setitem__(attribute, value)


def with_maps(maps: object, **attributes: object) -> Callable[[h5py.File], None]:
    return lambda file: replaced(file, maps, **attributes)


def regrouped(file: h5py.File) -> None:
    del file["cams/t1"]
    file.create_group("cams/t1")


def not_grouped(file: h5py.File) -> None:
    del file["cams"]
    file["cams"] = np.zeros(3)


def linked_nowhere(file: h5py.File) -> None:
    del file["cams/t1"]
    file["cams/t1"] = h5py.SoftLink("/nowhere")


def linked_outside(file: h5py.File) -> None:
    del file["cams"]
    file["cams"] = h5py.ExternalLink("absent.h5", "/cams")


FINE = np.full((1, 2, 2), 0.5, np.float16)
SPOILT = np.array([[[0.1, 0.2], [0.3, np.nan]]], np.float16)
OF_FILE = {
    "no format": without("/", "format"),
    "another format": with_attribute("/", "format", 1),
    "several formats": with_attribute("/", "format", [2, 2]),
    "format as text": with_attribute("/", "format", "new"),
    "no classes": without("/", "classes"),
    "a number of classes": with_attribute("/", "classes", 2),
    "no group": lambda file: file.__delitem__("cams"),
    "an array for the group": not_grouped,
    "a group elsewhere": linked_outside,
    "other classes": with_attribute("/", "classes", ["cat", "cow"]),
    "classes in another order": with_attribute("/", "classes", ["dog", "cat"]),
    "fewer classes": with_attribute("/", "classes", ["cat"]),
    "more classes": with_attribute("/", "classes", ["cat", "dog", "yak"]),
    "class numbers": with_attribute("/", "classes", [1, 2]),
}
OF_IMAGE = {
    "no size": without("cams/t1", "size"),
    "no classes": without("cams/t1", "classes"),
    "one side": with_attribute("cams/t1", "size", [6]),
    "three sides": with_attribute("cams/t1", "size", [6, 8, 3]),
    "side as text": with_attribute("cams/t1", "size", ["six", "8"]),
    "no side": with_attribute("cams/t1", "size", [0, 8]),
    "negative side": with_attribute("cams/t1", "size", [-6, 8]),
    "turned": with_attribute("cams/t1", "size", [60, 8]),
    "class 0": with_attribute("cams/t1", "classes", np.array([0], np.uint8)),
    "class 3 of 2": with_attribute("cams/t1", "classes", np.array([3], np.uint8)),
    "class 255": with_attribute("cams/t1", "classes", np.array([255], np.uint8)),
    "negative class": with_attribute("cams/t1", "classes", [-1]),
    "two classes of one map": with_attribute("cams/t1", "classes", np.array([1, 2], np.uint8)),
    "a class as text": with_attribute("cams/t1", "classes", ["cat"]),
    "a class without a list": with_attribute("cams/t1", "classes", 1),
    "a class twice": with_maps(np.concatenate([FINE, FINE]), classes=np.array([1, 1], np.uint8)),
    "NaN": with_maps(SPOILT),
    "infinity": with_maps(np.where(np.isnan(SPOILT), np.inf, FINE)),
    "above 1": with_maps(FINE * 4),
    "negative": with_maps(-FINE),
    "bytes": with_maps((FINE * 255).astype(np.uint8)),
    "text": with_maps("maps"),
    "one number": with_maps(0.5),
    "a plane": with_maps(FINE[0]),
    "four axes": with_maps(FINE[None]),
    "wider": with_maps(np.repeat(FINE, 2, axis=2)),
    "no pixels": with_maps(FINE[:, :0]),
    "more planes": with_maps(np.repeat(FINE, 3, axis=0)),
    "a group": regrouped,
    "a link": linked_nowhere,
    "no image": lambda file: file.__delitem__("cams/t1"),
}
OF_BYTES = {
    "empty": lambda content: b"",
    "text": lambda content: b"no HDF5",
    "signature": lambda content: content[:8],
    "half": lambda content: content[: len(content) // 2],
    "short of a byte": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "no start": lambda content: content[64:],
}


def harm(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "a") as file:
        change(file)


@pytest.fixture
def cams(tmp_path: Path) -> Path:
    return stored(tmp_path / "cams.h5")


@pytest.fixture
def entry_points(root: Path, tmp_path: Path, cams: Path) -> list[tuple]:
    """What opens CAMs without torch, with settings that are sound."""
    sure = confident.Reliable("constant", 0.3, 0.05, 0.7, 2)
    return [
        (sweep.main, sweep.Settings(root, "train", (cams,), tmp_path / "sweep.csv", 0)),
        (confident.main, confident.Settings(root, "train", (cams,), tmp_path / "sure", sure, IRNET, 0)),
        (crf_seeds.main, crf_seeds.Settings(root, "train", (cams,), tmp_path / "seeds", 0.3, 0.7, 2, IRNET, 0)),
    ]


def test_sound_cams_are_read(entry_points):
    for main, sound in entry_points:
        main(sound)
        assert sound.out.exists()


@pytest.mark.parametrize("change", OF_FILE.values(), ids=OF_FILE)
@pytest.mark.parametrize("step", range(3), ids=["sweep", "confident", "seeds"])
def test_a_foreign_file_stops_what_opens_it(entry_points, refused, cams, step, change):
    harm(cams, change)
    refused(*entry_points[step], str(cams), "export the CAMs again")


@pytest.mark.parametrize("change", OF_IMAGE.values(), ids=OF_IMAGE)
@pytest.mark.parametrize("step", range(2), ids=["sweep", "confident"])
def test_a_spoilt_cam_stops_what_reads_it(entry_points, refused, cams, step, change):
    harm(cams, change)
    refused(*entry_points[step], str(cams), "'t1'", "; export the")


@pytest.mark.parametrize("change", OF_BYTES.values(), ids=OF_BYTES)
def test_a_damaged_file_stops_what_opens_it(entry_points, refused, cams, change):
    cams.write_bytes(change(cams.read_bytes()))
    refused(*entry_points[0], str(cams), "export the CAMs again")


@pytest.mark.parametrize("kind", ["absent", "folder", "loop"])
def test_what_is_no_file_stops_what_opens_it(entry_points, refused, cams, kind):
    cams.unlink()
    if kind == "folder":
        cams.mkdir()
    elif kind == "loop":
        cams.symlink_to(cams)
    refused(*entry_points[0], str(cams), "export the CAMs again")


def test_a_photo_of_another_size_stops_the_labels(root, entry_points, refused, cams):
    harm(cams, with_maps(np.repeat(FINE, 2, axis=2), size=[6, 16]))
    for main, sound in entry_points:
        refused(main, sound, "t1.png")


def test_an_image_in_two_files_is_ambiguous(tmp_path, one_line):
    paths = [stored(tmp_path / "1.h5"), stored(tmp_path / "2.h5", ("t2", "t3"))]
    with pytest.raises(UserError) as error, open_store(paths):
        pass
    one_line(error.value, *map(str, paths), "twice")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_are_not_stored(tmp_path, value, one_line):
    cams = [("a", Cam(np.full((1, 2, 2), 0.5, np.float32), np.array([1]), (6, 8)))]
    cams.append(("b", Cam(np.full((1, 2, 2), value, np.float32), np.array([1]), (6, 8))))
    with pytest.raises(UserError) as error:
        write(tmp_path / "cams.h5", cams, classes=CLASSES, settings="", checkpoint="")
    one_line(error.value, "cams.h5", "'b'", "precision 32-true")
    assert not list(tmp_path.iterdir())


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=40)
def test_any_bytes_are_refused_in_a_line(tmp_path_factory, one_line, content, signed):
    path = tmp_path_factory.getbasetemp() / "any.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" * signed + content)
    with pytest.raises(UserError) as error, open_store([path]):
        pass
    one_line(error.value, str(path))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
@settings(max_examples=80)
def test_a_spoilt_file_gives_cams_or_a_line(tmp_path_factory, one_line, changes):
    folder = tmp_path_factory.getbasetemp()
    sound = folder / "sound.h5"
    content = bytearray((sound if sound.exists() else stored(sound)).read_bytes())
    for place, value in changes:
        place %= len(content)
        content[place : place + len(value)] = value
    path = folder / "spoilt.h5"
    path.write_bytes(content)
    try:
        with open_store([path], CLASSES) as store:
            cams = [store.read(image) for image in store.images]
    except UserError as error:
        one_line(error, str(path))
    else:
        assert all(cam.maps.shape == (len(cam.classes), 2, 2) and np.isfinite(cam.maps).all() for cam in cams)


def test_cams_of_another_split_name_what_is_missing(root, tmp_path, refused, entry_points, cams):
    stored(cams, ("v1",))
    refused(*entry_points[0], "no CAM of image 't1'", "export the split")
    assert Dataset.open(root).split("train") == ["t1", "t2"]
