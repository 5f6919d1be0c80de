import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import ppl
from ppl.cam import export
from ppl.cam.settings import Cam, Maps
from ppl.classify import build as classifiers
from ppl.data.crops import ResizedImages
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError
from ppl.predict import api


@pytest.fixture
def folder(finish: Callable[[str], Path], tiny: str) -> Path:
    return finish(tiny)


@pytest.fixture
def photo(scenes) -> Path:
    return Dataset.open(scenes.root).photo(scenes.images[0])


def test_the_package_alone_needs_no_torch_and_has_no_other_names() -> None:
    code = "import sys, ppl; assert 'load' in dir(ppl); assert not {'torch', 'numpy', 'PIL'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        ppl.laod  # noqa: B018


@pytest.fixture
def segmenter(folder: Path) -> api.Segmenter:
    return ppl.load(folder / "segmenter.pt", device="cpu")


@pytest.fixture
def classifier(folder: Path) -> api.Classifier:
    return ppl.load(folder / "classifier.pt", device="cpu")


def test_a_path_an_image_and_an_array_are_one_photo(segmenter: api.Segmenter, photo: Path) -> None:
    found = [segmenter.segment(p) for p in (photo, str(photo), Image.open(photo), read_photo(photo))]
    assert all(np.array_equal(found[0].labels, other.labels) for other in found[1:])
    assert found[0].labels.shape == read_photo(photo).shape[:2]
    assert found[0].labels.dtype == np.uint8


def test_an_image_stays_as_the_caller_has_opened_it(folder: Path, tmp_path: Path) -> None:
    Image.effect_noise((400, 300), 90).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert ppl.load(folder / "segmenter.pt", device="cpu", max_side=40).segment(image).labels.shape == (300, 400)
        assert image.size == (400, 300)


@pytest.mark.parametrize(
    "photo", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((0, 5, 3), np.uint8), 7, None], ids=str
)
def test_another_type_or_shape_than_a_photo_is_refused(segmenter: api.Segmenter, photo) -> None:
    with pytest.raises(ValueError, match=r"a photo (is|has)"):
        segmenter.segment(photo)


def test_a_result_is_shown_and_saved_with_the_shares_of_its_pixels(segmenter, photo: Path, tmp_path: Path) -> None:
    found = segmenter.segment(photo)
    expected = {name: (found.labels == i).mean() for i, name in enumerate(found.classes, start=1)}
    assert found.shares == {name: share for name, share in expected.items() if share}
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)
    assert found.shares
    found.save(tmp_path / "new" / "a.png")
    assert np.array_equal(read_mask(tmp_path / "new" / "a.png"), found.labels)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"a.png", "a-overlay.jpg"}
    with Image.open(BytesIO(found._repr_png_())) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(found.overlay()))
    with pytest.raises(UserError, match=r"a\.jpg: the suffix of a mask must be .png"):
        found.save(tmp_path / "a.jpg")


def test_a_large_photo_is_segmented_like_the_shrunk_one(folder: Path) -> None:
    large = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    model = ppl.load(folder / "segmenter.pt", device="cpu", max_side=40, crf=False)
    small = np.array(Image.fromarray(large).resize((40, 30), Image.Resampling.BICUBIC))
    whole, shrunk = model.segment(large), model.segment(small)
    assert np.array_equal(whole.scores, shrunk.scores)
    assert np.array_equal(whole.labels[1::3, 1::3], shrunk.labels)


def test_a_classifier_scores_as_its_validation_does(folder: Path, classifier, photo: Path) -> None:
    scores = classifier.classify(photo)
    network = classifiers.load(folder / "classifier.pt")[0]
    image = ResizedImages([photo], 48, mean=network.backbone.mean, std=network.backbone.std)[0]
    with torch.inference_mode():
        expected = network(image[None]).sum(dim=1)[0].sigmoid().tolist()
    assert scores == pytest.approx(dict(zip(("ball", "cube"), expected, strict=True)), abs=1e-3)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_cams_are_those_of_the_export(classifier: api.Classifier, scenes, photo: Path) -> None:
    dataset, (image, *_) = Dataset.open(scenes.root), scenes.images
    cam = Cam(maps=Maps(scales=(1, 0.5), batch_size=1))
    ((_, expected),) = export.compute(classifier.network, dataset, [image], cam, workers=0)
    names = [dataset.classes[i - 1] for i in expected.classes]
    found = classifier.cam(photo, names)
    assert found.classes == (*names,)
    np.testing.assert_allclose(found.cam.maps, expected.maps, atol=1e-6)
    assert found.maps.shape == (len(names), *read_photo(photo).shape[:2])
    assert found.overlay().size == (read_photo(photo).shape[1] * len(names), read_photo(photo).shape[0])
    assert Image.open(BytesIO(found._repr_png_())).format == "PNG"


def test_cams_are_by_default_of_the_classes_present(classifier, photo: Path, monkeypatch) -> None:
    for scores, classes in (
        ({"cube": 0.9, "ball": 0.6}, ("cube", "ball")),
        ({"cube": 0.9, "ball": 0.4}, ("cube",)),
        ({"ball": 0.3, "cube": 0.1}, ("ball",)),
    ):
        monkeypatch.setattr(classifier, "classify", lambda _, scores=scores: scores)
        assert classifier.cam(photo).classes == classes
    with pytest.raises(ValueError, match="'cat' is not a class"):
        classifier.cam(photo, ["ball", "cat"])
    assert classifier.cam(photo, []).overlay().size == read_photo(photo).shape[1::-1]


@pytest.mark.parametrize("name", ["segmenter.pt", "classifier.pt"])
def test_the_origin_of_settings_is_shown(folder: Path, name: str) -> None:
    settings = folder.parents[1] / "settings.yaml"
    shown = repr(ppl.load(folder / name, device="cpu"))
    assert f"cales 1 {'1.5' if name == 'segmenter.pt' else '0.5'} ({settings})" in shown
    assert f"mirror {'off' if name == 'segmenter.pt' else 'on'} ({settings})" in shown
    assert f"max_side 52 (the training photos in {settings.parent / 'data'} are no larger)" in shown
    settings.rename(folder / "moved.yaml")
    alone = repr(ppl.load(folder / name, device="cpu"))
    assert "(paper defaults: no settings.yaml two directories" in alone
    assert f"max_side {96 if name == 'segmenter.pt' else 64} (the largest part of a photo" in alone
    assert "as requested" not in shown + alone
    named = repr(ppl.load(folder / name, settings=folder / "moved.yaml", max_side=7, device="cpu"))
    assert "max_side 7 (as requested)" in named
    assert "moved.yaml" in named


@pytest.mark.parametrize(("own", "asked", "used"), [(own, a, a if a is not None else own) for own in (True, False)
                                                     for a in (True, False, None)])  # fmt: skip
def test_a_crf_is_used_where_it_is_asked_for_or_else_where_the_experiment_has_one(
    folder: Path, own: bool, asked: bool | None, used: bool
) -> None:
    settings = folder.parents[1] / "settings.yaml"
    content = yaml.safe_load(settings.read_text())
    content["segment"]["prediction"]["crf"] = own
    settings.write_text(yaml.safe_dump(content))
    crf = ppl.load(folder / "segmenter.pt", crf=asked, device="cpu").setting("crf")
    assert (crf is not None) == used
    assert crf is None or (crf.iterations, crf.pairwise.bilateral_sxy) == (2, 20)


def test_load_knows_both_kinds(folder: Path) -> None:
    assert isinstance(ppl.load(folder / "segmenter.pt"), api.Segmenter)
    assert isinstance(ppl.load(str(folder / "classifier.pt")), api.Classifier)
    with pytest.raises(TypeError, match="crf"):
        ppl.load(folder / "classifier.pt", crf=True)
