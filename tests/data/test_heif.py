"""HEIC photos are read where pillow-heif is installed, and where it is not the messages name it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data import check, heif
from ppl.data.lists import write_lists
from ppl.data.photos import read_photo
from ppl.data.settings import Folder
from ppl.data.sources import folder
from ppl.data.windows import Windows
from ppl.jobs.errors import UserError
from ppl.predict.files import find_photos

START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
installed = pytest.mark.skipif(not heif.INSTALLED, reason="pillow-heif is not installed")
missing = pytest.mark.skipif(heif.INSTALLED, reason="pillow-heif is installed")


def photo(path: Path, size: tuple[int, int] = (120, 80), **options) -> Path:
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([2 * x % 256, 3 * y % 256, (x + y) % 256], axis=2).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@missing
def test_messages_name_the_package(tmp_path: Path) -> None:
    (tmp_path / "phone.heic").write_bytes(START)
    with pytest.raises(UserError, match="a HEIC photo, which pillow-heif reads if installed"):
        read_photo(tmp_path / "phone.heic")
    for argument in (str(tmp_path), str(tmp_path / "*.heic")):
        with pytest.raises(UserError, match="HEIC photos alone; install pillow-heif"):
            find_photos([argument], recursive=False, out=tmp_path / "out")


@installed
def test_a_photo_of_a_phone_is_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = photo(tmp_path / "phone.heic", exif=exif.tobytes(), quality=95)
    pixels = read_photo(path)
    assert pixels.shape == (120, 80, 3)
    assert np.array_equal(Windows(path).read(0, 120), pixels)
    photo(tmp_path / "plain.png")
    upright = np.rot90(np.asarray(Image.open(tmp_path / "plain.png")), -1)
    assert np.abs(pixels.astype(int) - upright).mean() < 12
    assert find_photos([str(tmp_path)], recursive=False, out=tmp_path / "out")[0][0] == path


@installed
@pytest.mark.parametrize("max_side", [None, 100, 400])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_folder_holds_jpegs(tmp_path: Path, max_side: int | None, workers: int) -> None:
    """So that trainings read them without pillow-heif."""
    root, out = tmp_path / "mine", tmp_path / "data"
    photo(root / "JPEGImages" / "a.heic")
    photo(root / "JPEGImages" / "b.HEIC", size=(90, 70))
    photo(root / "JPEGImages" / "c.jpg")
    write_lists(root, ["cat"], {i: ["cat"] for i in "abc"}, {"train": ["a"], "val": ["b"], "test": ["c"]})
    out.mkdir()
    settings = Folder(path=str(root), max_side=max_side)
    folder.prepare(settings, out, splits=("train", "val", "test"), workers=workers)
    assert {path.name for path in (out / "JPEGImages").iterdir()} == {"a.jpg", "b.jpg", "c.jpg"}
    with Image.open(out / "JPEGImages" / "a.jpg") as image:
        assert image.size == ((100, 67) if max_side == 100 else (120, 80))
    check.main(check.Settings(out, prepared=True, workers=workers))
    check.main(check.Settings(root, workers=workers, max_side=max_side))
    assert {path.name for path in (root / "JPEGImages").iterdir()} == {"a.heic", "b.HEIC", "c.jpg"}


@installed
def test_a_damaged_photo_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "phone.heic").write_bytes(START)
    with pytest.raises(UserError, match="a damaged HEIC photo"):
        read_photo(tmp_path / "phone.heic")
