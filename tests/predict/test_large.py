"""A photo in tiles gets what it gets as a whole, in all formats."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.data.resize import upsample
from ppl.data.windows import Windows
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.predict import __main__ as predict
from ppl.predict import large
from ppl.predict.__main__ import Settings
from ppl.predict.outputs import FORMATS, Outputs

ON_CPU = Hardware(gpu=0, workers=0, precision="32-true")
CELL = 4


def local_network(_: str, tiles: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A network of stride 4 whose border effect is 8 pixels, the margin of tiles of 128."""
    for tile in tiles:
        h, w = tile.shape[0] // CELL, tile.shape[1] // CELL
        cells = tile.reshape(h, CELL, w, CELL, 3).mean(axis=(1, 3)) / 20
        padded = np.pad(cells, ((1, 1), (1, 1), (0, 0)))  # with 0, as convolutions do
        scores = sum(padded[y : y + h, x : x + w] for y in range(3) for x in range(3)).transpose(2, 0, 1) / 9
        likely = np.exp(upsample(scores, tile.shape[:2]))
        yield scores, likely / likely.sum(axis=0)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo with smooth areas of the three colours."""
    noise = np.random.default_rng(0).integers(0, 256, (15, 21, 3), dtype=np.uint8)
    path = tmp_path / "photos" / "large.tif"
    path.parent.mkdir()
    Image.fromarray(noise).resize((420, 300), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("batch_size", [1, 3])
def test_tiles_have_no_seams(photo: Path, batch_size: int) -> None:
    """A network whose border effect is within the margin predicts the same for tiles as for the whole photo."""
    ((_, expected),) = local_network("", read_photo(photo)[None])
    windows = Windows(photo)
    parts = large.blocks(
        windows, "large", 128, local_network, None,
        classes=3, with_probabilities=True, batch_size=batch_size, workers=0,
    )  # fmt: skip
    probabilities, labels = np.zeros_like(expected), np.full(windows.size, 255, np.uint8)
    for part in parts:
        place = np.s_[part.top : part.top + part.labels.shape[0], part.left : part.left + part.labels.shape[1]]
        probabilities[:, *place], labels[place] = part.probabilities, part.labels
    assert np.abs(probabilities - expected).max() < 1e-5
    first, second = np.sort(expected, axis=0)[[-1, -2]]
    assert np.array_equal(labels[first - second > 1e-4], expected.argmax(axis=0)[first - second > 1e-4])
    assert len(np.unique(labels)) == 3


@pytest.fixture
def settings(finish: Callable[[str], Path], tiny: str, tmp_path: Path, photo: Path) -> Settings:
    return Settings(
        photos=(str(photo),), weights=finish(tiny) / "segmenter.pt", folder=tmp_path / "tiled",
        hardware=ON_CPU, tile=True, formats=FORMATS, no_crf=True,
    )  # fmt: skip


def test_one_tile_is_the_photo_as_a_whole(settings: Settings, tmp_path: Path) -> None:
    for photo in (None, tmp_path / "small.png"):
        side = 512
        if photo is not None:
            Image.effect_noise((120, 90), 90).convert("RGB").save(photo)
            settings, side = replace(settings, photos=(str(photo),)), 128
        for crf in (False, True):
            options = {"max_side": side, "no_crf": not crf, "crf": crf, "formats": ("mask", "overlay", "coco")}
            predict.main(replace(settings, **options))
            predict.main(replace(settings, **options, folder=tmp_path / "whole", tile=False))
            tiled, whole = (
                {p.name: p.read_bytes() for p in f.iterdir()} for f in (tmp_path / "tiled", tmp_path / "whole")
            )
            assert tiled == whole


def test_tiles_of_a_network_agree_with_the_whole_photo(settings: Settings, tmp_path: Path) -> None:
    """But for the border effects of a network that looks further than the margin of a tile."""
    for crf in (False, True):
        both = replace(settings, no_crf=not crf, crf=crf, formats=("mask",))
        predict.main(replace(both, max_side=128))
        predict.main(replace(both, max_side=512, tile=False, folder=tmp_path / "whole"))
        tiled, whole = (read_mask(folder / "large.png") for folder in (settings.folder, tmp_path / "whole"))
        assert tiled.shape == whole.shape == (300, 420)
        assert (tiled == whole).mean() > 0.8
        assert len(np.unique(whole)) > 1


def test_all_formats_of_a_photo_in_tiles_hold_one_label_map(settings: Settings) -> None:
    predict.main(settings)
    labels = read_mask(settings.folder / "large.png")
    assert labels.shape == (300, 420)
    assert len(np.unique(labels)) > 1
    for class_id, name in enumerate(("ball", "cube"), start=1):
        with Image.open(settings.folder / "class-masks" / name / "large.png") as mask:
            assert mask.mode == "L"
            assert np.array_equal(np.asarray(mask), (labels == class_id) * np.uint8(255))
    annotations = json.loads((settings.folder / "coco.json").read_text())["annotations"]
    assert {a["category_id"]: a["area"] for a in annotations} == {
        int(i): int((labels == i).sum()) for i in np.unique(labels) if i
    }
    with h5py.File(settings.folder / "large.h5") as file:
        stored = file["probabilities"][()]
    assert stored.shape == (3, 75, 105)
    assert np.allclose(stored.astype(np.float32).sum(axis=0), 1, atol=2e-3)
    assert (stored.argmax(axis=0) == labels[2::4, 2::4]).mean() > 0.95
    with Image.open(settings.folder / "large-overlay.jpg") as picture:
        assert picture.width == 480


def test_the_overlay_shows_the_labels_at_every_nth_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of tiles begin anywhere between the pixels that are shown."""
    Image.effect_noise((140, 3000), 90).convert("RGB").save(tmp_path / "long.tif")
    windows, shown = Windows(tmp_path / "long.tif"), []
    labels = np.random.default_rng(0).integers(0, 3, windows.size, dtype=np.uint8)
    monkeypatch.setattr(large, "draw_overlay", lambda _, drawn, legend: shown.append(drawn) or Image.new("RGB", (1, 1)))
    tops = [0, 1, 2, 9, 1000, 2999, 3000]
    parts = (large.Block(a, 0, labels[a:b], None) for a, b in pairwise(tops))
    large.write_large(Outputs(tmp_path, ("overlay",), ("a", "b")), "long", windows, parts)
    factor = large.reduction(windows.size)
    assert factor > 1
    assert np.array_equal(shown[0], labels[::factor, ::factor])


def test_worker_processes_change_nothing(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, no_crf=False, crf=True)
    predict.main(settings)
    predict.main(replace(settings, folder=tmp_path / "pooled", hardware=replace(ON_CPU, workers=2)))
    names = [p.name for p in settings.folder.iterdir() if p.suffix in (".png", ".jpg", ".json")]
    assert len(names) == 5
    for name in names:
        assert (settings.folder / name).read_bytes() == (tmp_path / "pooled" / name).read_bytes()


def test_a_photo_that_breaks_off_leaves_no_files(settings: Settings, photo: Path, tmp_path: Path) -> None:
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    good = tmp_path / "good.png"
    Image.effect_noise((300, 200), 90).convert("RGB").save(good)
    content = good.read_bytes()
    good.write_bytes(content)
    bad = tmp_path / "bad.tif"
    Image.effect_noise((300, 300), 90).convert("RGB").save(bad, compression="tiff_lzw")
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2 - 1000) + whole[-1000:])
    with pytest.raises(UserError, match="2 of 3 photos could not be read"):
        predict.main(replace(settings, photos=(str(photo), str(bad), str(good)), formats=("mask", "overlay")))
    assert {p.name for p in settings.folder.iterdir()} == {
        *("good.png", "good-overlay.jpg", "legend.png", "legend.csv")
    }


def test_memory_does_not_hold_the_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No window is higher than a tile, for the network and for the overlay."""
    path, heights = tmp_path / "long.tif", []
    Image.effect_noise((140, 3000), 90).convert("RGB").save(path)
    windows = Windows(path)
    read = windows.read
    monkeypatch.setattr(windows, "read", lambda top, bottom: heights.append(bottom - top) or read(top, bottom))
    parts = large.blocks(
        windows, "long", 128, local_network, None, classes=3, with_probabilities=False, batch_size=1, workers=0
    )
    outputs = Outputs(tmp_path / "out", ("mask", "overlay", "class-masks"), ("a", "b"))
    written = large.write_large(outputs, "long", windows, parts)
    assert written.size == (3000, 140)
    assert max(heights) <= 256 < 3000
    assert sum(written.shares.values()) <= 1
    assert read_mask(tmp_path / "out" / "long.png").shape == (3000, 140)


def test_a_photo_that_is_too_large_as_a_whole_is_refused_with_the_way_to_tiles(
    settings: Settings, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppl.predict.segmentation.MAX_STORED", 420 * 300 - 1)
    with pytest.raises(UserError, match=r"420x300 has more than 125,999 pixels; segment it in tiles .*--tile"):
        predict.main(replace(settings, tile=False))
    predict.main(replace(settings, formats=("mask",)))
    assert read_mask(settings.folder / "large.png").shape == (300, 420)
