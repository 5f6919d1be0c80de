from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from ppl.cam import store
from ppl.cam.store import Cam, open_store
from ppl.jobs.errors import UserError

RNG = np.random.default_rng(0)
NAMES = ("cat", "dog", "potted plant", "naïve T-shirt")


def _cam(classes: Sequence[int], h: int, w: int) -> Cam:
    maps = RNG.random((len(classes), -(-h // 4), -(-w // 4)), dtype=np.float32)
    return Cam(maps, np.array(classes, dtype=np.int64), (h, w))


CAMS = {"2007_000032": _cam([1, 4], 50, 37), "b.1": _cam([2], 7, 9), "unlabelled": _cam([], 12, 20)}


def _write(path: Path, cams: dict[str, Cam] = CAMS) -> Path:
    count = store.write(path, cams.items(), classes=NAMES, settings='{"a": 1}', checkpoint="abc")
    assert count == len(cams)
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    with open_store([_write(tmp_path / "cams.h5")]) as cams:
        assert cams.images == sorted(CAMS)
        assert cams.class_names == NAMES
        for image, cam in CAMS.items():
            read = cams.read(image)
            assert read.maps.dtype == np.float32
            assert read.maps.shape == cam.maps.shape
            np.testing.assert_allclose(read.maps, cam.maps, rtol=2**-11, atol=2**-25)  # float16
            np.testing.assert_array_equal(read.classes, cam.classes)
            assert read.size == cam.size


def test_the_documented_layout_is_readable_with_h5py_alone(tmp_path: Path) -> None:
    with h5py.File(_write(tmp_path / "cams.h5"), "r") as file:
        assert list(file) == ["cams"]
        assert [name.decode() for name in file.attrs["classes"]] == list(NAMES)
        assert file.attrs["settings"].decode() == '{"a": 1}'
        assert file.attrs["checkpoint"].decode() == "abc"
        assert file.attrs["format"] == 2
        assert sorted(file["cams"]) == sorted(CAMS)
        for image, cam in CAMS.items():
            stored = file["cams"][image]
            assert stored.dtype == np.float16
            np.testing.assert_array_equal(stored[...], cam.maps.astype(np.float16))
            assert stored.attrs["classes"].tolist() == cam.classes.tolist()
            assert stored.attrs["size"].tolist() == list(cam.size)


def test_shards_are_one_store_and_a_missing_image_is_named(tmp_path: Path) -> None:
    shards = [_write(tmp_path / f"{image}.h5", {image: cam}) for image, cam in CAMS.items()]
    with open_store(shards) as cams:
        assert cams.images == sorted(CAMS)
        assert cams.read("b.1").size == (7, 9)
        with pytest.raises(UserError, match=f"{shards[0]}, .*: no CAM of image 'c'"):
            cams.read("c")


def test_a_failed_export_leaves_no_file(tmp_path: Path) -> None:
    def broken():
        yield "a", CAMS["b.1"]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write(tmp_path / "cams.h5", broken(), classes=NAMES, settings="", checkpoint="")
    assert not list(tmp_path.iterdir())
