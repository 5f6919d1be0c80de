import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.crf.settings import Pairwise
from ppl.data import label_maps
from ppl.data.dataset import Dataset
from ppl.data.lists import write_lists
from ppl.data.masks import VOC_COLOURS, read_mask
from ppl.data.photos import read_photo
from ppl.data.resize import enlarge
from ppl.data.settings import Folder
from ppl.data.sources import folder
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.predict import __main__ as predict
from ppl.predict.__main__ import Settings, in_batches, read_ahead
from ppl.predict.segmentation import PreparedPhoto
from ppl.segment import predict_split, voc_server
from ppl.segment.settings import Prediction, Segment

ON_CPU = Hardware(gpu=0, workers=0, precision="32-true")


@pytest.fixture
def settings(finish: Callable[[str], Path], tiny: str, tmp_path: Path, scenes) -> Settings:
    return Settings(
        photos=(str(scenes.root / "JPEGImages"),), weights=finish(tiny) / "segmenter.pt",
        folder=tmp_path / "predictions", batch_size=1, hardware=ON_CPU,
    )  # fmt: skip


def _masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in folder.glob("*.png") if path.stem != "legend"}


def _photo(path: Path, size: tuple[int, int], **options) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.effect_noise(size, 90).convert("RGB").save(path, **options)
    return path


def _predict_in_the_workflow(weights: Path, data: Path, out: Path) -> None:
    pairwise = Pairwise(gaussian_sxy=1, bilateral_sxy=20, bilateral_srgb=6, bilateral_compat=12)
    prediction = Prediction(photo_scales=(1, 1.5), batch_size=1, iterations=2, pairwise=pairwise)
    predicting = predict_split.Settings(
        data=data, split="all", checkpoint=weights, out=out, segment=Segment(prediction=prediction), hardware=ON_CPU
    )
    predict_split.main(predicting)


@pytest.mark.parametrize("kind", ["raw", "crf"])
def test_a_photo_of_the_dataset_gets_the_mask_of_the_workflow(
    settings: Settings, scenes, tmp_path: Path, kind: str
) -> None:
    predict.main(replace(settings, no_crf=kind == "raw"))
    _predict_in_the_workflow(settings.weights, scenes.root, tmp_path / "split")
    own, split = _masks(settings.folder), _masks(tmp_path / "split" / kind)
    assert own.keys() == split.keys() == {*scenes.images}
    assert all(np.array_equal(own[image], split[image]) for image in own)
    assert len(np.unique(np.concatenate([mask.ravel() for mask in own.values()]))) > 1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (257, 91), (52, 40), (2100, 2100)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_mask_has_the_size_of_its_photo_and_the_colours_of_voc(
    settings: Settings, tmp_path: Path, size: tuple[int, int], mode: str
) -> None:
    Image.effect_noise(size, 90).convert(mode).save(tmp_path / "a.png")
    predict.main(replace(settings, photos=(str(tmp_path / "a.png"),)))
    with Image.open(settings.folder / "a.png") as mask:
        assert (mask.mode, mask.size) == ("P", size)
        assert np.array(mask).max() <= 2
        assert bytes(mask.getpalette()) == VOC_COLOURS.tobytes()
    with Image.open(settings.folder / "a-overlay.jpg") as picture:
        assert max(picture.size) <= 1700  # a screen, and the legend


def test_a_turned_photo_has_the_mask_of_the_upright_one(settings: Settings, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.effect_noise((60, 32), 90).convert("RGB")
    stored.save(tmp_path / "turned.png", exif=exif)
    stored.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    predict.main(replace(settings, photos=(str(tmp_path / "turned.png"), str(tmp_path / "upright.png"))))
    masks = _masks(settings.folder)
    assert masks["turned"].shape == (60, 32)
    assert np.array_equal(masks["turned"], masks["upright"])


def test_worker_processes_change_nothing(settings: Settings, tmp_path: Path) -> None:
    photos = [str(_photo(tmp_path / f"{i}.jpg", (200 + i % 2, 130))) for i in range(predict.FEW + 1)]
    predict.main(replace(settings, photos=(*photos,)))
    pooled = replace(settings, photos=(*photos,), folder=tmp_path / "pooled", hardware=replace(ON_CPU, workers=2))
    predict.main(pooled)
    alone, together = ({p.name: p.read_bytes() for p in f.iterdir()} for f in (settings.folder, pooled.folder))
    assert alone == together
    assert len(alone) == 2 * len(photos) + 2


def test_a_second_run_replaces_its_results_only(settings: Settings, tmp_path: Path) -> None:
    photo = _photo(tmp_path / "a.jpg", (40, 30))
    settings = replace(settings, photos=(str(photo),))
    settings.folder.mkdir()
    (settings.folder / "a.png").write_text("old")
    (settings.folder / "other.png").write_text("other")
    predict.main(settings)
    assert read_mask(settings.folder / "a.png").shape == (30, 40)
    assert (settings.folder / "other.png").read_text() == "other"
    assert {p.name for p in settings.folder.iterdir()} == {
        *("a.png", "a-overlay.jpg", "legend.png", "legend.csv", "other.png"),
    }


def test_broken_photos_are_listed_when_the_others_are_done(settings: Settings, tmp_path: Path, capsys) -> None:
    photos = [_photo(tmp_path / f"{name}.jpg", (40, 30)) for name in "abcd"]
    photos[0].write_text("no photo")
    photos[2].write_bytes(photos[3].read_bytes()[:300])
    with pytest.raises(UserError) as error:
        predict.main(replace(settings, photos=tuple(map(str, photos))))
    head, *lines = str(error.value).splitlines()
    assert "predictions: 2 of 4 photos" in head
    assert [line.split(":")[0].strip() for line in lines] == [str(photos[0]), str(photos[2])]
    assert _masks(settings.folder).keys() == {"b", "d"}
    assert not [path for path in settings.folder.iterdir() if path.name.startswith(".")]
    told = capsys.readouterr().out
    assert f"{photos[1]}: " in told
    assert f"-> {settings.folder / 'd.png'}" in told


def test_photos_of_one_name_get_masks_of_their_own(settings: Settings, tmp_path: Path) -> None:
    first, second = _photo(tmp_path / "one" / "a.jpg", (40, 30)), _photo(tmp_path / "two" / "a.jpg", (50, 20))
    predict.main(replace(settings, photos=(str(first), str(second), str(first))))
    assert {name: mask.shape for name, mask in _masks(settings.folder).items()} == {
        "one-a": (30, 40),
        "two-a": (20, 50),
    }


def test_the_legend_names_every_id(settings: Settings) -> None:
    predict.main(settings)
    assert (settings.folder / "legend.csv").read_text().splitlines() == [
        *("id,class,colour", "0,background,#000000", "1,ball,#800000", "2,cube,#008000"),
    ]
    with Image.open(settings.folder / "legend.png") as legend:
        colours = {colour for _, colour in legend.convert("RGB").getcolors(1 << 20)}
    assert colours >= {tuple(VOC_COLOURS[i].tolist()) for i in range(3)}


def test_settings_are_printed_with_their_origin(settings: Settings, capsys) -> None:
    predict.main(replace(settings, photo_scales=(2.0,), mirror=True, crf=True))
    told = capsys.readouterr().out
    assert "photo_scales 2 (as requested)" in told
    assert "mirror on (as requested)" in told
    assert f"crf of 2 iterations ({settings.weights.parents[2] / 'settings.yaml'})" in told
    assert "max_side 52 (the training photos in" in told


def test_no_more_photos_are_read_than_there_are_threads_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    monkeypatch.setattr(predict, "prepare", lambda photo, *_: begun.append(photo))
    views = read_ahead({str(i): Path(str(i)) for i in range(20)}, 8, None, [], threads=2)
    for number in range(20):
        assert next(views)[0] == str(number)  # in their order
        assert len(begun) <= number + 3
    assert list(views) == []
    assert len(begun) == 20


def test_a_batch_holds_neighbours_of_one_size() -> None:
    def of(width: int) -> PreparedPhoto:
        return PreparedPhoto(np.zeros((4, width, 3), np.uint8), np.zeros((4, width, 3), np.uint8), (4, width))

    widths = [3, 3, 3, 5, 3, 3]
    batches = list(in_batches(((str(i), of(width)) for i, width in enumerate(widths)), 2))
    assert [[name for name, _ in batch] for batch in batches] == [["0", "1"], ["2"], ["3"], ["4", "5"]]


@pytest.mark.parametrize("out", ["photos", "."])
def test_a_result_never_replaces_a_photo(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    photo = _photo(tmp_path / "photos" / "a.png", (40, 30))
    monkeypatch.chdir(photo.parent)
    before = photo.read_bytes()
    for named in ("a.png", "."):
        with pytest.raises(UserError, match="--out"):
            predict.main(replace(settings, photos=(named,), folder=tmp_path / "photos" if out != "." else Path(".")))
    assert photo.read_bytes() == before
    assert [path.name for path in photo.parent.iterdir()] == ["a.png"]


def test_the_command_ends_with_1_after_a_broken_photo(finish: Callable[[str], Path], tmp_path: Path) -> None:
    weights = finish("efficientnet_lite0") / "segmenter.pt"
    name = os.fsdecode(b"a\xff.jpg")  # no text in UTF-8
    try:
        _photo(tmp_path / name, (64, 48))
    except OSError:
        name = "a.jpg"  # this disk takes text alone
        _photo(tmp_path / name, (64, 48))
    (tmp_path / "b.jpg").touch()
    done = subprocess.run(
        [sys.executable, "-m", "ppl.predict", "*.jpg", "--weights", weights, "--no-crf"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "1 of 2 photos" in done.stderr
    assert "Traceback" not in done.stderr
    assert "crf off (as requested)" in done.stdout
    assert len(_masks(tmp_path / "predictions")) == 1


def test_labels_are_the_most_probable_classes(settings: Settings, scenes) -> None:
    segmenter = predict.Segmenter(settings.weights, device="cpu", crf=False)
    for image in scenes.images:
        photo = read_photo(Dataset.open(scenes.root).photo(image))
        found = segmenter.segment(photo)
        assert torch.from_numpy(found.probabilities.sum(axis=0)).allclose(torch.ones(()))
        assert (found.probabilities.argmax(axis=0) == found.labels).mean() > 0.999  # upsampled by torch and by Pillow


def test_a_photo_that_a_dataset_shrinks_gets_the_submitted_mask(settings: Settings, tmp_path: Path) -> None:
    """Equal in all that is enlarged, and on the original but for the loss of the shrunk copy's JPEG."""
    own, side = tmp_path / "own", 52
    (own / "JPEGImages").mkdir(parents=True)
    _photo(own / "JPEGImages" / "a.jpg", (6, 4)).with_suffix("")
    photo = Image.open(own / "JPEGImages" / "a.jpg").resize((150, 100), Image.Resampling.BICUBIC)
    photo.save(own / "JPEGImages" / "a.jpg", quality=95)
    write_lists(own, ["ball", "cube"], {"a": []}, {"all": ["a"]})
    folder.prepare(Folder(path=str(own), max_side=side), tmp_path / "data", splits=("all",), workers=0)
    _predict_in_the_workflow(settings.weights, tmp_path / "data", tmp_path / "split")
    maps = (tmp_path / "split" / "crf",)
    voc_server.main(voc_server.Settings(tmp_path / "data", "all", maps, tmp_path / "submit", tmp_path / "submit.tar"))
    submitted = read_mask(tmp_path / "submit" / label_maps.SERVER_FOLDER / "a.png")
    segmenter = predict.Segmenter(settings.weights, device="cpu", max_side=side)
    shrunk = segmenter.segment(tmp_path / "data" / "JPEGImages" / "a.jpg").labels
    original = segmenter.segment(own / "JPEGImages" / "a.jpg").labels
    assert np.array_equal(enlarge(shrunk, (100, 150)), submitted)
    assert len(np.unique(submitted)) > 1
    assert (original == submitted).mean() > 0.97
