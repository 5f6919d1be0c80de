import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import ppl
from ppl.cam.maps import maps_of
from ppl.cam.settings import Cam, Maps
from ppl.classify.network import PatchClassifier
from ppl.classify.variants import Grid
from ppl.data.masks import VOC_COLOURS
from ppl.jobs.errors import UserError
from ppl.networks import backbones
from ppl.predict import export
from ppl.predict.export import Settings
from ppl.predict.exportable import ClassifierFromPhoto, SegmenterFromPhoto, exportable, scaled
from ppl.segment import build as segmenters
from ppl.segment.inference import predict_batch
from ppl.segment.logits import resize
from ppl.segment.settings import DeepLabV2, Segment, Smp, Training

PHOTO = next(export.photos_of([(57, 90)]))  # sides that no stride divides


@pytest.fixture
def folder(finish: Callable[[str], Path], tiny: str) -> Path:
    """Finished networks of one scale, as tracing each takes seconds."""
    folder = finish(tiny)
    settings = folder.parents[1] / "settings.yaml"
    stored = yaml.safe_load(settings.read_text())
    stored["cam"]["maps"]["scales"], stored["segment"]["prediction"]["photo_scales"] = [1], [1]
    settings.write_text(yaml.safe_dump(stored))
    return folder


@pytest.mark.parametrize("name", ["segmenter", "classifier"])
def test_an_onnx_computes_what_the_network_does(folder: Path, tmp_path: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    weights, path = folder / f"{name}.pt", tmp_path / "new" / "model.onnx"
    export.main(Settings(weights, path))
    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    outputs = [output.name for output in session.get_outputs()]
    photos = np.stack([PHOTO, PHOTO[::-1]])  # a batch, of another size than those compared
    results = session.run(outputs, {"photo": photos})
    for i, photo in enumerate(photos):
        expected = export.original(ppl.load(weights, device="cpu"), photo)
        for output, result, value in zip(outputs, results, expected, strict=True):
            assert result[i].shape == value.shape
            np.testing.assert_allclose(result[i], value, atol=2e-2 if output == "scores" else 1e-4)
    classes = ["ball", "cube"]
    if name == "segmenter":
        assert outputs == ["labels", "probabilities"]
        assert len(np.unique(results[0])) > 1
        assert json.loads(metadata["classes"]) == ["background", *classes]
        assert json.loads(metadata["palette"]) == VOC_COLOURS[:3].tolist()
    else:
        assert outputs == ["scores", "maps"]
        assert json.loads(metadata["classes"]) == classes
        applied = json.loads(metadata["settings"])
        assert (applied["scales"], applied["mirror"]) == ([1], True)
    assert metadata["kind"] == name
    assert metadata["max_side"] == "52"


def test_a_pt2_computes_what_the_network_does(folder: Path, tmp_path: Path) -> None:
    weights, path = folder / "segmenter.pt", tmp_path / "model.pt2"
    export.main(Settings(weights, path, photo_scales=(0.75,), mirror=True))
    extra = {export.METADATA: ""}
    module = torch.export.load(path, extra_files=extra).module(check_guards=False)
    assert json.loads(extra[export.METADATA])["kind"] == "segmenter"
    expected = export.original(ppl.load(weights, device="cpu", photo_scales=(0.75,), mirror=True), PHOTO)
    for result, value in zip(module(torch.from_numpy(PHOTO[None])), expected, strict=True):
        np.testing.assert_allclose(result[0].numpy(), value, atol=1e-4)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("network", ["deeplab_v2", "smp/FPN", "smp/PAN", "smp/Unet"])
def test_from_photo_to_labels_equals_inference(network: str, mirror: bool) -> None:
    torch.manual_seed(0)
    deeplab = DeepLabV2(backbone="efficientnet_lite0", rates=(1, 2), scales=(1, 0.75), aspp_std=1)
    training = Training(weights="none")
    built = segmenters.build(
        Segment(network=network, deeplab_v2=deeplab, smp=Smp(encoder="resnet18"), training=training), 3
    ).eval()
    (expected,) = predict_batch(built, ["a"], PHOTO[None], (0.5, 1.25), mirror=mirror)
    with torch.inference_mode():
        labels, probabilities = SegmenterFromPhoto(built, (0.5, 1.25), mirror=mirror)(torch.from_numpy(PHOTO[None]))
    assert (labels[0].numpy() != expected.labels).mean() < 1e-3  # of 5,130
    likely = resize(torch.from_numpy(expected.scores)[None], PHOTO.shape[:2]).softmax(dim=1)
    torch.testing.assert_close(probabilities, likely, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "efficientnet_lite0", "timm/regnetx_002", "timm/resnetv2_18"])
def test_exportable_backbones_have_the_features_of_the_original(name: str) -> None:
    torch.manual_seed(0)
    backbone = backbones.build(name, output_stride=16).eval()
    backbones.fold_batchnorm(backbone)
    copied, x = exportable(backbone), torch.randn(1, 3, 49, 70)
    with torch.inference_mode():
        torch.testing.assert_close(copied(x), backbone(x))
        for height, width in ((48, 71), (50, 33)):
            assert copied(x[:, :, :height, :width]).shape == backbone(x[:, :, :height, :width]).shape


@pytest.mark.parametrize(
    ("fusion", "rim", "exponent", "mirror"), [("mean", 0, 1, True), ("sum", 1, 0.5, True), ("sum", 0, 1, False)]
)
@pytest.mark.parametrize("global_branch", [True, False])
def test_exportable_maps_are_those_of_the_steps(
    tiny: str, fusion: str, rim: int, exponent: float, mirror: bool, global_branch: bool
) -> None:
    torch.manual_seed(0)
    backbone = backbones.build(tiny, output_stride=16)
    grids = (Grid(2, 2), Grid(3, 4), Grid(4, 3))
    network = PatchClassifier(backbone, 3, grids=grids, global_branch=global_branch).eval()
    maps = Maps(scales=(1, 0.5, 1.5), mirror=mirror, fusion=fusion, rim=rim, cam_exponent=exponent)
    (expected,) = maps_of(network, PHOTO[None], [[1, 2, 3]], Cam(maps=maps))
    with torch.inference_mode():
        _, found = ClassifierFromPhoto(network, 64, maps)(torch.from_numpy(PHOTO[None]))
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(57, 90), (30, 20), (1, 40), (200, 301)])
def test_exportable_scores_are_those_of_the_classifier(folder: Path, size: tuple[int, int]) -> None:
    classifier = ppl.load(folder / "classifier.pt", device="cpu")
    photo = next(export.photos_of([size]))
    with torch.inference_mode():
        found = ClassifierFromPhoto(classifier.network, 48, Maps()).scores(torch.from_numpy(photo[None]))[0]
    scores = classifier.classify(photo)
    np.testing.assert_allclose(found.numpy(), [scores["ball"], scores["cube"]], atol=1e-2)


def test_sides_are_rounded_as_python_rounds_them() -> None:
    for scale in (0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2):
        assert [scaled(side, scale) for side in range(1, 600)] == [round(side * scale) for side in range(1, 600)]
    assert all(abs(scaled(side, 0.7) - side * 0.7) <= 0.5 + 1e-9 for side in range(1, 600))


class _Constant(nn.Module):
    def forward(self, photo: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        likely = torch.zeros(3).softmax(0)[None, :, None, None].expand(photo.shape[0], 3, *photo.shape[1:3])
        return photo[..., 0] % 2, likely + 0.0


def test_a_model_that_computes_something_else_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "from_photo", lambda trained: (_Constant(), ("labels", "probabilities")))
    path = tmp_path / "model.pt2"
    path.write_text("earlier")
    with pytest.raises(UserError, match=r"computes \d+ of 49152 labels otherwise for a photo of 256x192; nothing was"):
        export.main(Settings(folder / "segmenter.pt", path))
    assert path.read_text() == "earlier"
    assert {file.name for file in tmp_path.glob("*model*")} == {"model.pt2"}


def test_a_network_that_branches_on_values_is_refused_in_one_line(folder: Path, tmp_path: Path, monkeypatch) -> None:
    class Branching(_Constant):
        def forward(self, photo: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return super().forward(photo if photo.float().mean() > 3 else photo + 1)

    monkeypatch.setattr(export, "from_photo", lambda trained: (Branching(), ("labels", "probabilities")))
    with pytest.raises(UserError, match=r"segmenter\.pt: torch\.export cannot trace this network"):
        export.main(Settings(folder / "segmenter.pt", tmp_path / "model.pt2"))
    assert not (tmp_path / "model.pt2").exists()


def test_what_cannot_be_exported_is_said_before_the_work(folder: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"model\.pth: the format is chosen by the suffix \.onnx or \.pt2"):
        Settings(folder / "segmenter.pt", tmp_path / "model.pth")
    with pytest.raises(UserError, match="--mirror, --no-mirror: mutually exclusive"):
        Settings(folder / "segmenter.pt", tmp_path / "a.pt2", mirror=True, no_mirror=True)
    of_classifier = Settings(folder / "classifier.pt", tmp_path / "a.pt2")
    with pytest.raises(UserError, match="--photo-scales and --mirror belong to a segmenter"):
        export.main(replace(of_classifier, mirror=True))
    settings = folder.parents[1] / "settings.yaml"
    settings.write_text(settings.read_text().replace("method: cam\n", "method: gradcam_plus_plus\n"))
    with pytest.raises(UserError, match=r"cam\.method gradcam_plus_plus needs gradients"):
        export.main(of_classifier)
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UserError, match=r"ONNX needs onnxscript, not installed; pip install onnx onnxruntime"):
        export.main(Settings(folder / "segmenter.pt", tmp_path / "a.onnx"))
    assert not list(tmp_path.glob("a.*"))
