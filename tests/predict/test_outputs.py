import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from ppl.data.masks import VOC_COLOURS, read_mask
from ppl.data.resize import upsample
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.predict import __main__ as predict
from ppl.predict.__main__ import Settings
from ppl.predict.api import Segmenter
from ppl.predict.outputs import FORMATS, folder_names
from ppl.predict.streams import PngStream

ON_CPU = Hardware(gpu=0, workers=0, precision="32-true")
FRAMES = ("frame1", "frame2", "frame10", "frame11")


@pytest.fixture
def settings(finish: Callable[[str], Path], tiny: str, tmp_path: Path) -> Settings:
    (tmp_path / "frames").mkdir()
    for i, name in enumerate(FRAMES):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        photo = Image.fromarray(pixels).resize((80 + 4 * i, 60), Image.Resampling.NEAREST)
        photo.save(tmp_path / "frames" / f"{name}.png")
    return Settings(
        photos=(str(tmp_path / "frames"),), weights=finish(tiny) / "segmenter.pt",
        folder=tmp_path / "out", hardware=ON_CPU, formats=FORMATS,
    )  # fmt: skip


def test_all_formats_hold_the_label_map(settings: Settings) -> None:
    predict.main(settings)
    coco = {name: COCO(settings.folder / f"{name}.json") for name in ("coco", "coco-polygons")}
    labelled = set()
    for image_id, name in enumerate(FRAMES, start=1):
        labels = read_mask(settings.folder / f"{name}.png")
        labelled |= {*np.unique(labels).tolist()}
        for class_id, class_name in enumerate(("ball", "cube"), start=1):
            with Image.open(settings.folder / "class-masks" / class_name / f"{name}.png") as mask:
                assert np.array_equal(np.asarray(mask), (labels == class_id) * np.uint8(255))
        for file in coco.values():
            assert file.imgs[image_id]["file_name"] == f"{name}.png"  # in the order of numbers
            found = np.zeros_like(labels)
            for annotation in file.loadAnns(file.getAnnIds(imgIds=image_id)):
                found[file.annToMask(annotation).astype(bool)] = annotation["category_id"]
            assert np.array_equal(found, labels)
    assert labelled == {0, 1, 2}


def test_probabilities_are_those_of_the_python_interface(settings: Settings) -> None:
    predict.main(replace(settings, no_crf=True, formats=("probabilities",)))
    segmenter = Segmenter(settings.weights, device="cpu", crf=False)
    for name in FRAMES:
        expected = segmenter.segment(Path(settings.photos[0]) / f"{name}.png")
        with h5py.File(settings.folder / f"{name}.h5") as file:
            assert [text.decode() for text in file.attrs["classes"]] == ["background", "ball", "cube"]
            assert tuple(file.attrs["size"]) == expected.labels.shape
            stored = file["probabilities"][()]
        assert stored.dtype == np.float16
        assert stored.shape == (3, *(-(-side // 4) for side in expected.input_size))
        assert np.allclose(stored.astype(np.float32).sum(axis=0), 1, atol=2e-3)
        full = upsample(stored, expected.labels.shape)
        assert np.abs(full - expected.probabilities).mean() < 0.05
    assert {path.suffix for path in settings.folder.iterdir()} == {".h5", ".csv", ".png"}
    assert not (settings.folder / "frame1.png").exists()


def test_worker_processes_write_the_same_files(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(predict, "FEW", 0)
    predict.main(settings)
    pooled = replace(settings, folder=tmp_path / "pooled", hardware=replace(ON_CPU, workers=2))
    predict.main(pooled)
    names = {str(path.relative_to(settings.folder)) for path in settings.folder.rglob("*") if path.is_file()}
    assert len(names) == 4 * (2 + 2 + 1) + 2 + 2
    for name in names - {f"{frame}.h5" for frame in FRAMES}:  # HDF5 holds times
        assert (settings.folder / name).read_bytes() == (pooled.folder / name).read_bytes()


def test_a_second_run_replaces_every_file(settings: Settings, tmp_path: Path) -> None:
    """Also the mask of a class that occurs no more."""
    photo = replace(settings, photos=(str(tmp_path / "frames" / "frame2.png"),), formats=("class-masks", "coco"))
    predict.main(photo)
    Image.new("RGB", (20, 10)).save(tmp_path / "frames" / "frame2.png")
    predict.main(photo)
    for name in ("ball", "cube"):
        assert Image.open(settings.folder / "class-masks" / name / "frame2.png").size == (20, 10)
    assert json.loads((settings.folder / "coco.json").read_text())["images"][0]["width"] == 20


def test_no_format_and_a_photo_in_the_way_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--formats: no format is named"):
        replace(settings, formats=())
    photo = tmp_path / "out" / "class-masks" / "ball" / "a.png"
    photo.parent.mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(photo)
    with pytest.raises(UserError, match="a result would replace this photo"):
        predict.main(replace(settings, photos=(str(photo),), formats=("class-masks",)))


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["hot dog", "naïve"], ["hot dog", "naïve"]),
        (["a/b", "..", "c:d", "."], ["1-a_b", "2-__", "3-c_d", "4-_"]),
        (["Cat", "cat"], ["1-Cat", "2-cat"]),
        (["end."], ["1-end_"]),
    ],
)
def test_every_class_has_a_folder(classes: list[str], names: list[str]) -> None:
    assert folder_names(classes) == names


@pytest.mark.parametrize("palette", [None, VOC_COLOURS])
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_a_png_written_in_parts_is_that_of_the_whole(tmp_path: Path, palette: np.ndarray | None, rows: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 33), dtype=np.uint8)
    with (tmp_path / "a.png").open("wb") as file:
        stream = PngStream(file, values.shape, palette)
        for top in range(0, 40, rows):
            stream.write(values[top : top + rows])
        stream.finish()
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == ("L" if palette is None else "P")
        assert np.array_equal(np.asarray(image), values)
        assert palette is None or bytes(image.getpalette()) == palette.tobytes()
