"""The reader of CAM files: damaged, foreign and inconsistent ones are refused in one line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.cam.store import Cam, open_store, write
from ppl.cam.threshold import THRESHOLD, Threshold, write_threshold
from ppl.jobs.settings import Hardware
from ppl.measure import sweep
from ppl.refine import crf_seeds, reliable
from ppl.refine.settings import Refine, Reliable

CLASSES = ("cat", "dog")
AGAIN = "export the CAMs again"
Change = Callable[[h5py.File], Any]


def stored(path: Path, image_ids: tuple[str, ...] = ("t1", "t2")) -> Path:
    """A valid file for photos of 8x6."""
    maps = np.random.default_rng(0).random((1, 2, 2), dtype=np.float32)
    cams = [(image_id, Cam(maps, np.array([1]), (6, 8))) for image_id in image_ids]
    write(path, cams, classes=CLASSES, settings="{}", checkpoint="")
    return path


def attribute(name: str, key: str, value: object = None) -> Change:
    """Sets an attribute; without a value deletes it."""
    return lambda file: file[name].attrs.pop(key) if value is None else file[name].attrs.__setitem__(key, value)


def put(name: str, value: object) -> Change:
    """Replaces an entry; without a value deletes it."""

    def change(file: h5py.File) -> None:
        before = dict(file[name].attrs)
        del file[name]
        if value is not None:
            file[name] = value
            if isinstance(file.get(name), h5py.Dataset):
                file[name].attrs.update(before)

    return change


def both(*changes: Change) -> Change:
    return lambda file: [change(file) for change in changes]


SOUND = np.full((1, 2, 2), 0.5, np.float16)
OF_FILE = {
    "no format": attribute("/", "format"), "another format": attribute("/", "format", 1),
    "several formats": attribute("/", "format", [2, 2]), "format is a text": attribute("/", "format", "new"),
    "no classes": attribute("/", "classes"), "number of classes": attribute("/", "classes", 2),
    "no group": put("cams", None), "an array for the group": put("cams", np.zeros(3)),
    "group in another file": put("cams", h5py.ExternalLink("absent.h5", "/cams")),
    **{f"classes {c}": attribute("/", "classes", c) for c in
       (["cat", "cow"], ["dog", "cat"], ["cat"], ["cat", "dog", "yak"], [1, 2])},
}  # fmt: skip
OF_IMAGE = {
    "no size": attribute("cams/t1", "size"), "no classes": attribute("cams/t1", "classes"),
    **{f"size {s}": attribute("cams/t1", "size", s) for s in ([6], [6, 8, 3], ["six", "8"], [0, 8], [-6, 8], [60, 8])},
    **{f"classes {c}": attribute("cams/t1", "classes", c) for c in ([0], [3], [255], [-1], [1, 2], ["cat"], 1)},
    "a class twice": both(put("cams/t1", SOUND.repeat(2, 0)), attribute("cams/t1", "classes", [1, 1])),
    "NaN": put("cams/t1", SOUND * np.nan), "infinity": put("cams/t1", SOUND * np.inf),
    "above 1": put("cams/t1", SOUND * 4),
    "negative": put("cams/t1", -SOUND), "bytes": put("cams/t1", (SOUND * 255).astype(np.uint8)),
    "text": put("cams/t1", "maps"), "a number": put("cams/t1", 0.5), "two axes": put("cams/t1", SOUND[0]),
    "four axes": put("cams/t1", SOUND[None]), "wider": put("cams/t1", SOUND.repeat(2, 2)),
    "no pixels": put("cams/t1", SOUND[:, :0]), "more maps": put("cams/t1", SOUND.repeat(3, 0)),
    "a group": both(put("cams/t1", None), lambda file: file.create_group("cams/t1")),
    "a dangling link": put("cams/t1", h5py.SoftLink("/nowhere")), "no CAM": put("cams/t1", None),
}  # fmt: skip
OF_BYTES = {
    "empty": lambda content: b"", "text": lambda content: b"no HDF5", "signature": lambda content: content[:8],
    "half": lambda content: content[: len(content) // 2], "one byte short": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)), "no start": lambda content: content[64:],
}  # fmt: skip


WIDER_PHOTO = both(put("cams/t1", SOUND.repeat(2, 2)), attribute("cams/t1", "size", [6, 16]))


def edit(path: Path, change: Change) -> None:
    with h5py.File(path, "a") as file:
        change(file)


def read_all(*paths: Path) -> list[Cam]:
    with open_store(paths, CLASSES) as store:
        return [store.read(image_id) for image_id in ("t1", "t2")]


@pytest.fixture
def cams(tmp_path: Path) -> Path:
    return stored(tmp_path / "cams.h5")


@pytest.mark.parametrize("step", ["sweep", "reliable", "seeds"])
def test_sound_cams_are_read_and_broken_ones_stop_every_step(root, tmp_path, refused, cams, step):
    data = {"data": root, "split": "train", "cams": (cams,), "out": tmp_path / "out"}
    refining = {"refine": Refine(reliable=Reliable(iterations=2)), "hardware": Hardware(workers=0)}
    write_threshold(tmp_path / THRESHOLD, Threshold(threshold=0.15, rule="fixed"))
    main, sound = {
        "sweep": (sweep.main, sweep.Settings(**data, workers=0)),
        "reliable": (reliable.main, reliable.Settings(**data, **refining)),
        "seeds": (crf_seeds.main, crf_seeds.Settings(**data, **refining, threshold=tmp_path / THRESHOLD)),
    }[step]
    for change, *named in (
        (OF_IMAGE["NaN"], str(cams), AGAIN), (OF_FILE["no format"], str(cams), AGAIN), (WIDER_PHOTO, "t1.png"),
    ):  # fmt: skip
        edit(cams, change)
        refused(main, sound, *named)
        stored(cams)
    main(sound)
    assert sound.out.exists()


@pytest.mark.parametrize("change", [*OF_FILE.values(), *OF_IMAGE.values()], ids=[*OF_FILE, *OF_IMAGE])
def test_an_inconsistent_file_is_refused(cams, refused, change):
    edit(cams, change)
    refused(read_all, cams, str(cams), "; export the", *(["'t1'"] if change in OF_IMAGE.values() else []))


@pytest.mark.parametrize("kind", [*OF_BYTES, "absent", "folder", "loop"])
def test_a_damaged_file_is_refused(cams, refused, spoil, kind):
    spoil(cams, OF_BYTES[kind](cams.read_bytes()) if kind in OF_BYTES else kind)
    refused(read_all, cams, str(cams), AGAIN)


def test_cams_of_another_split_are_refused(root, tmp_path, refused):
    cams = stored(tmp_path / "cams.h5", ("v1",))
    refused(sweep.main, sweep.Settings(root, "train", (cams,), tmp_path / "out", 0), "image 't1'", "export the split")


def test_an_image_in_two_files_is_refused(tmp_path, refused):
    paths = [stored(tmp_path / "1.h5"), stored(tmp_path / "2.h5", ("t2", "t3"))]
    refused(lambda _: read_all(*paths), None, *map(str, paths), "twice")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_are_not_stored(tmp_path, value, refused):
    maps = [("a", np.full((1, 2, 2), 0.5, np.float32)), ("b", np.full((1, 2, 2), value, np.float32))]
    cams = [(name, Cam(m, np.array([1]), (6, 8))) for name, m in maps]
    storing = partial(write, cams=cams, classes=CLASSES, settings="", checkpoint="")
    refused(storing, tmp_path / "cams.h5", "cams.h5", "'b'", "32-true")


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=40)
def test_arbitrary_bytes_are_refused(valid_or_one_line, content, signed):
    assert valid_or_one_line(read_all, b"\x89HDF\r\n\x1a\n" * signed + content) is None


@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
@settings(max_examples=80)
def test_a_file_with_changed_bytes_gives_valid_cams_or_one_line(tmp_path_factory, valid_or_one_line, changes):
    sound = tmp_path_factory.getbasetemp() / "sound.h5"
    content = bytearray((sound if sound.exists() else stored(sound)).read_bytes())
    for place, value in changes:
        place %= len(content)
        content[place : place + len(value)] = value
    for cam in valid_or_one_line(read_all, content) or ():
        assert cam.maps.shape == (len(cam.classes), 2, 2)
        assert np.isfinite(cam.maps).all()
