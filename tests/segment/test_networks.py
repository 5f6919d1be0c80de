"""Invariants of all entries of slot `segment.network`."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.jobs import slots
from ppl.jobs.code_hash import hashed_modules
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.networks import checkpoints
from ppl.segment import build as segmenters
from ppl.segment import predict_split, train
from ppl.segment.inference import log_probabilities
from ppl.segment.settings import NETWORKS, DeepLabV2, Prediction, Segment, Smp, Training
from ppl.training.optimizers import optimizer

CLASSES = 2
OWN_MODULE = '''
"""A fully convolutional network: two convolutions behind a backbone."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppl.jobs.fields import Count, Section
from ppl.networks import backbones
from ppl.segment.logits import segmentation_loss
from ppl.training import optimizers


@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    width: Count = 64
    """Channels between the two convolutions."""
    backbone: str = "resnet18"


class Fcn(nn.Module):
    def __init__(self, backbone: backbones.Backbone, width: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.reduce = nn.Conv2d(backbone.channels[-1], width, 1)
        self.classify = nn.Conv2d(width, classes + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(torch.relu(self.reduce(self.backbone(x))))


def build(name, settings: Settings, classes: int, *, weights: str, frozen_stages: int) -> Fcn:
    backbone = backbones.build(settings.backbone, weights=weights, output_stride=16, dilated=True)
    backbone.stages[: frozen_stages + 1].requires_grad_(False)
    return Fcn(backbone, settings.width, classes)


def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return segmentation_loss([network(images)], labels)


def parameter_groups(network: Fcn, training) -> list[optimizers.Group]:
    new = [*network.reduce.parameters(), *network.classify.parameters()]
    rated = [(1, network.backbone.parameters()), (training.head_lr_factor, new)]
    return optimizers.parameter_groups(rated, lr=training.lr, weight_decay=training.weight_decay)
'''
# One small case at least for each entry.
CASES = {
    "deeplab_v2": {},
    "smp/DeepLabV3Plus": {"smp": Smp(encoder="resnet18")},
    "smp/FPN": {"smp": Smp(encoder="efficientnet-b0")},
    "smp/Unet": {"smp": Smp(encoder="mobilenet_v2")},
    "smp/Segformer": {"smp": Smp(encoder="tu-resnet10t")},
    "own/fcn": {"own": {"width": 16}},
}


@pytest.fixture(params=CASES)
def segment(request: pytest.FixtureRequest, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segment:
    """The settings of a network with random weights."""
    (tmp_path / "fcn.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    sections = CASES[request.param]
    if "own" in sections:
        sections = {"own": {**sections["own"], "backbone": tiny}}
    deeplab = DeepLabV2(backbone=tiny, output_stride=8, rates=(1, 2), scales=(1, 0.5))
    training = Training(weights="none", steps=3, batch_size=2, lr=1e-4, head_lr_factor=1, crop=40, optimizer="adamw")
    return Segment(network=request.param, **({"deeplab_v2": deeplab} | sections), training=training)


@pytest.fixture
def network(segment: Segment) -> nn.Module:
    torch.manual_seed(0)
    return segmenters.build(segment, CLASSES).eval()


def test_every_entry_has_a_case() -> None:
    assert {slots.family(segmenters.ENTRIES, name) for name in CASES} == {*NETWORKS, slots.OWN}


def test_images_of_any_size_have_logits_that_cover_them(network: nn.Module) -> None:
    with torch.no_grad():
        h, w = network(torch.zeros(1, 3, 128, 128)).shape[-2:]
        stride = 128 // h
        assert (h, w) == (128 // stride, 128 // stride)
        for size in ((33, 47), (1, 1), (7, 65), (161, 130)):
            logits = network(torch.randn(2, 3, *size))
            assert logits.shape == (2, CLASSES + 1, *(math.ceil(side / stride) for side in size))
            assert logits.isfinite().all()


def test_batches_do_not_mix_photos(network: nn.Module) -> None:
    x = torch.randn(3, 3, 40, 56)
    with torch.no_grad():
        single = torch.cat([network(image[None]) for image in x])
        assert torch.allclose(network(x), single, atol=1e-3 * single.abs().max(), rtol=1e-3)


def _train(segment: Segment, network: nn.Module, steps: int, photos: Tensor, labels: Tensor) -> list[float]:
    entry = segmenters.entry(segment)
    updates = optimizer("adamw", entry.parameter_groups(network, segment.training))
    losses = []
    for _ in range(steps):
        loss = entry.loss(network.train(), photos, labels)
        loss.backward()
        updates.step()
        updates.zero_grad()
        losses.append(loss.item())
    return losses


def test_steps_lower_the_loss_and_keep_all_statistics(segment: Segment, network: nn.Module) -> None:
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    labels = torch.zeros(2, 64, 64, dtype=torch.uint8)
    labels[:, 32:] = 1
    photos = torch.randn(2, 3, 64, 64) + labels[:, None]
    losses = _train(segment, network, 6, photos, labels)
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())


def test_a_training_draws_no_random_numbers_and_takes_a_single_photo(segment: Segment, network: nn.Module) -> None:
    photo, labels = torch.randn(1, 3, 48, 48), torch.ones(1, 48, 48, dtype=torch.uint8)
    entry, state = segmenters.entry(segment), torch.random.get_rng_state()
    losses = [entry.loss(network.train(), photo, labels) for _ in range(2)]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_photos_of_ignored_labels_cost_nothing(segment: Segment, network: nn.Module) -> None:
    loss = segmenters.entry(segment).loss(network.train(), torch.randn(1, 3, 40, 40), torch.full((1, 40, 40), 255))
    assert loss.item() == 0


def test_the_exponent_of_the_settings_reaches_the_loss_or_is_refused(segment: Segment, network: nn.Module) -> None:
    weighed = replace(segment, training=replace(segment.training, confidence_exponent=0.5))
    photo, labels = torch.randn(1, 3, 40, 40), torch.ones(1, 40, 40, dtype=torch.uint8)
    entry = segmenters.entry(segment)
    if segment.network.startswith(slots.OWN):  # the module above has no such argument
        with pytest.raises(UserError, match="has no argument `exponent`; set it to 0"):
            train.loss_of(weighed, entry)
    else:
        values = [train.loss_of(of, entry)(network.train(), photo, labels).item() for of in (segment, weighed)]
        assert values[1] < values[0]


def test_parameter_groups_contain_each_parameter_once_and_each_trained_one_gets_a_gradient(
    segment: Segment, network: nn.Module
) -> None:
    entry = segmenters.entry(segment)
    groups = entry.parameter_groups(network, segment.training)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(map(id, network.parameters()))
    assert all({"params", "lr", "weight_decay"} == {*group} for group in groups)
    entry.loss(network.train(), torch.randn(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.uint8)).backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad != (p.grad is not None)] == []


def test_a_frozen_backbone_is_not_trained(segment: Segment) -> None:
    frozen = replace(segment, training=replace(segment.training, frozen_stages=4))
    network = segmenters.build(frozen, CLASSES)
    assert not any(p.requires_grad for p in network.backbone.parameters())
    assert any(p.requires_grad for p in network.parameters())


def test_a_checkpoint_gives_the_same_predictions(segment: Segment, network: nn.Module, tmp_path: Path) -> None:
    settings, path = {**segmenters.stored(segment), "random_seed": 0}, tmp_path / "segmenter.pt"
    checkpoints.save(path, network, kind="segmenter", settings=settings, code="", classes=["ball", "cube"])
    loaded, content = segmenters.load(path, ["ball", "cube"])
    assert content["settings"]["network"] == segment.network
    assert (loaded.backbone.mean, loaded.backbone.std) == (network.backbone.mean, network.backbone.std)
    photos = np.random.default_rng(0).integers(0, 256, (2, 40, 52, 3), dtype=np.uint8)
    for photo_scales in ((1,), (1, 1.5)):
        stored, built = (log_probabilities(each, photos, photo_scales) for each in (loaded, network))
        assert torch.equal(stored, built)
        assert stored.exp().sum(dim=1).allclose(torch.ones(()))


def test_commands_train_and_predict(segment: Segment, scenes, tmp_path: Path) -> None:
    hardware, out = Hardware(gpu=0, workers=0, precision="32-true"), tmp_path / "segmenter.pt"
    run = train.Settings(
        data=scenes.root, train_split="all", labels=scenes.labels, code="", random_seed=1, out=out,
        log=tmp_path / "segmenter.csv", segment=segment, hardware=hardware,
    )  # fmt: skip
    train.main(run)
    prediction = Segment(prediction=Prediction(iterations=1))  # the network is that of the checkpoint
    predicting = predict_split.Settings(
        data=scenes.root, split="all", checkpoint=out, out=tmp_path / "predictions", segment=prediction,
        hardware=hardware,
    )  # fmt: skip
    predict_split.main(predicting)
    for image in scenes.images:
        size = read_photo(scenes.root / "JPEGImages" / f"{image}.jpg").shape[:2]
        for kind in ("raw", "crf"):
            assert read_mask(predicting.out / kind / f"{image}.png").shape == size


@pytest.mark.parametrize(("name", "encoder", "frozen", "message"), [
    ("smp/DeepLabV3Plas", "resnet18", -1, "no architecture 'DeepLabV3Plas'.*DeepLabV3Plus"),
    ("smp/DPT", "resnet18", -1, "no architecture 'DPT'"),
    ("smp/FPN", "resnet81", -1, "no encoder 'resnet81'.*resnet18"),
    ("smp/FPN", "tu-convnext_attto", -1, "no encoder.*tu-convnext_atto"),
    ("smp/UnetPlusPlus", "mit_b0", -1, "smp/UnetPlusPlus with encoder 'mit_b0'.*not supported"),
    ("smp/FPN", "resnet18", 2, "frozen_stages 2: .*choose -1"),
])  # fmt: skip
def test_what_smp_does_not_have_is_refused_in_one_line(name: str, encoder: str, frozen: int, message: str) -> None:
    training = Training(weights="none", frozen_stages=frozen)
    with pytest.raises(UserError, match=message) as refused:
        segmenters.build(Segment(network=name, smp=Smp(encoder=encoder), training=training), CLASSES)
    assert "\n" not in str(refused.value)


def test_a_failed_download_is_one_line_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import segmentation_models_pytorch as smp

    def offline(*_: object, **__: object) -> None:
        raise FileNotFoundError("An error happened while trying to locate the file on the Hub")

    monkeypatch.setattr(smp.encoders, "hf_hub_download", offline)
    with pytest.raises(UserError, match=re.escape("encoder 'resnet18': the download of the weights failed")) as error:
        segmenters.build(Segment(network="smp/FPN", smp=Smp(encoder="resnet18")), CLASSES)
    assert "segment.training.weights" in error.value.remedy


def test_encoder_weights_come_from_a_state_dict(tmp_path: Path) -> None:
    first, again, other = (
        Segment(network="smp/FPN", smp=Smp(encoder=name), training=Training(weights=weights))
        for name, weights in (("resnet18", "none"), ("resnet18", f"{tmp_path}/w.pt"), ("resnet34", f"{tmp_path}/w.pt"))
    )
    encoder = segmenters.build(first, CLASSES).backbone.encoder
    torch.save(encoder.state_dict(), tmp_path / "w.pt")
    loaded = segmenters.build(again, CLASSES).backbone.encoder.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in encoder.state_dict().items())
    with pytest.raises(UserError, match=r"w\.pt: not the weights of this backbone"):
        segmenters.build(other, CLASSES)


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a checkpoint with other settings."""

    def write(**settings: object) -> Path:
        content = {"network": "deeplab_v2", "settings": {}, "training": {}, **settings}
        checkpoints.save(
            tmp_path / "x.pt", nn.Linear(1, 1), kind="segmenter", settings=content, code="", classes=["ball", "cube"]
        )
        return tmp_path / "x.pt"

    return write


@pytest.mark.parametrize("settings", [
    {"network": "deeplab_v9"}, {"network": 7}, {"network": "own/absent"}, {"settings": {"rates": "x"}},
    {"settings": {"unknown": 1}}, {"network": "smp/FPN", "settings": {"encoder": "no_such"}}, {"settings": None},
], ids=str)  # fmt: skip
def test_a_checkpoint_of_other_code_is_named(stored: Callable[..., Path], settings: dict) -> None:
    with pytest.raises(UserError, match=r"x\.pt: .*; make it again"):
        segmenters.load(stored(**settings))


def test_shared_code_names_no_entry() -> None:
    entries = {module for module in NETWORKS.values() if module}
    for job in ("ppl.segment.train", "ppl.segment.predict_split", "ppl.predict.api"):
        assert not hashed_modules(job) & entries
    for module in entries:
        assert not hashed_modules(module) & (entries - {module})
