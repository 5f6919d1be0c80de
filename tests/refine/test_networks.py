"""What holds for every entry of the slot `refine.network`: its protocol, its checkpoint, and a module of the user."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl.cam.store import Cam
from ppl.data.batches import PhotoBatch
from ppl.data.masks import read_mask
from ppl.jobs import slots
from ppl.jobs.code_hash import hashed_modules
from ppl.jobs.errors import UserError
from ppl.networks import checkpoints
from ppl.refine import train_refiner, walk_split
from ppl.refine.build import KIND, entry_of, load, stored, trained
from ppl.refine.pseudo import WalkedScores, pseudo_labels
from ppl.refine.settings import NETWORKS, WALKS, Refine
from ppl.training.optimizers import optimizer

CLASSES = ["ball", "cube"]


@pytest.fixture
def refine(refining) -> Refine:
    return refining()


@pytest.fixture
def built(refine: Refine):
    """The entry, its settings and a new network."""
    torch.manual_seed(0)
    entry, settings = entry_of(refine)
    return entry, settings, entry.build(settings, "none")


def batch_and_cams(size: tuple[int, int]) -> tuple[PhotoBatch, list[Cam]]:
    """Return photos of `size`, and CAMs of two classes, of one, and of none."""
    rng, (h, w) = np.random.default_rng(0), size
    grid = (-(-h // 4), -(-w // 4))
    classes = [np.array(ids, np.int64) for ids in ([2, 1], [2], [])]
    cams = [Cam(rng.random((len(ids), *grid)).astype(np.float32), ids, size) for ids in classes]
    return PhotoBatch(["a", "b", "c"], rng.integers(0, 256, (3, h, w, 3), np.uint8)), cams


@torch.inference_mode()
def walked(entry, settings, network, size: tuple[int, int]) -> list[WalkedScores]:
    name = next(name for name, module in NETWORKS.items() if module == entry.__name__)
    return list(slots.load(WALKS, name).walk(network.eval(), *batch_and_cams(size), settings))


def test_parameter_groups_cover_the_trained_parameters_once(built) -> None:
    entry, settings, network = built
    groups = optimizer("sgd", entry.parameter_groups(network, settings)).param_groups
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters() if parameter.requires_grad)
    assert grouped
    assert all(group["lr"] > 0 for group in groups)


def test_the_loss_falls_on_one_batch(built) -> None:
    entry, settings, network = built
    labels = torch.full((2, 40, 40), 255, dtype=torch.uint8)
    labels[:, :, :18], labels[:, :, 22:] = 0, 1
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) / 4 + (labels == 1)[:, None]
    solver, losses = optimizer("sgd", entry.parameter_groups(network.train(), settings), momentum=0.9), []
    for _ in range(10):
        losses.append(entry.loss(network, images, labels, settings))
        losses[-1].backward()
        solver.step()
        solver.zero_grad()
    values = torch.stack(losses)
    assert values.isfinite().all()
    assert values[0].ndim == 0
    assert values[-1] < values[0]


@pytest.mark.parametrize("label", [0, 1, 255])
def test_the_loss_is_finite_if_all_pixels_have_one_label(built, label: int) -> None:
    entry, settings, network = built
    labels = torch.full((1, 33, 41), label, dtype=torch.uint8)
    loss = entry.loss(network, torch.zeros(1, 3, 33, 41), labels, settings)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_a_checkpoint_returns_the_same_scores_and_settings(refine: Refine, built, tmp_path: Path) -> None:
    entry, settings, network = built
    checkpoints.save(tmp_path / "r.pt", network, kind=KIND, settings=stored(refine), code="", classes=CLASSES)
    loaded, content = load(tmp_path / "r.pt", network=refine.network, classes=CLASSES)
    assert entry_of(trained(content["settings"], tmp_path / "r.pt"))[1].training == settings.training
    size = (37, 50)
    pairs = zip(walked(entry, settings, network, size), walked(entry, settings, loaded, size), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (41, 9), (8, 33), (4, 5), (1, 1)], ids=str)
def test_a_walk_yields_each_image_with_its_classes_at_any_size(built, size: tuple[int, int]) -> None:
    entry, settings, network = built
    batch, cams = batch_and_cams(size)
    results = walked(entry, settings, network, size)
    assert [result.image_id for result in results] == batch.images
    for result, photo, cam in zip(results, batch.photos, cams, strict=True):
        np.testing.assert_array_equal(result.photo, photo)
        assert tuple(result.classes) == tuple(cam.classes)
        assert result.scores.shape[0] == len(cam.classes) + (result.threshold is None)
        assert result.scores.dtype == np.float32
        assert np.isfinite(result.scores).all()
        labels = pseudo_labels([result], settings.walk, Refine().pairwise)[0]
        assert labels.shape == size
        assert set(np.unique(labels)) <= {0, *cam.classes}


def test_a_checkpoint_of_another_network_is_refused_in_one_line(refiner, refining, built, walking, tmp_path) -> None:
    settings = stored(refining())
    path = tmp_path / "refiner.pt"
    for other in [name for name, module in NETWORKS.items() if module and name != refiner]:
        checkpoints.save(path, built[2], kind=KIND, settings=settings, code="", classes=CLASSES)
        with pytest.raises(UserError, match=f"its network is '{refiner}', refine.network is '{other}'; ") as error:
            walk_split.main(walking(path, refining(other)))
        assert str(error.value).startswith(str(path))
        swapped = {**settings, "network": other}  # a checkpoint that names one network and holds another
        checkpoints.save(path, built[2], kind=KIND, settings=swapped, code="", classes=CLASSES)
        with pytest.raises(UserError, match=str(path)):
            load(path)


@pytest.mark.parametrize("settings", [
    {}, {"network": "irnet"}, {"network": 3, "settings": {}}, {"network": "none", "settings": {}},
    {"network": "other", "settings": {}}, {"network": "own/no_such_module", "settings": {}},
    {"network": "irnet", "settings": []}, {"network": "irnet", "settings": {"training": {"lr": "high"}}},
    {"network": "irnet", "settings": {"training": {"unknown": 1}}},
], ids=str)  # fmt: skip
def test_a_checkpoint_of_settings_that_do_not_fit_is_refused_in_one_line(settings: dict, tmp_path: Path) -> None:
    path = tmp_path / "refiner.pt"
    checkpoints.save(path, torch.nn.Linear(1, 1), kind=KIND, settings=settings, code="", classes=CLASSES)
    with pytest.raises(UserError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_the_code_of_an_entry_is_only_that_of_its_own_experiments(refiner: str) -> None:
    shared = hashed_modules("ppl.refine.train_refiner", "ppl.refine.walk_split", "ppl.refine.reliable")
    assert not shared & {module for module in NETWORKS.values() if module}
    own = hashed_modules(NETWORKS[refiner])
    others = {module for name, module in NETWORKS.items() if module and name != refiner}
    assert not own & others


OWN = '''
"""Edges where features differ: a 1x1 convolution on the backbone's second stage predicts boundaries."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ppl.data.crops import Augmentation
from ppl.jobs.fields import Section
from ppl.networks import backbones
from ppl.refine import settings as refining
from ppl.refine.pseudo import WalkedScores
from ppl.refine.walk import propagate
from ppl.training import settings as training
from ppl.training.optimizers import parameter_groups as groups_of

NAME = "Edges"


@dataclass(frozen=True, kw_only=True)
class Training(training.Training):
    backbone: str = "resnet18"
    epochs: int = 2
    batch_size: int = 2
    lr: float = 0.05
    weight_decay: float = 0.0
    crop: int = 64


@dataclass(frozen=True, kw_only=True)
class Walk(refining.Walk):
    background: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    training: Training = Training()
    walk: Walk = Walk()


class Edges(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.edge = nn.Conv2d(backbone.channels[1], 1, 1)

    def forward(self, images):
        return self.edge(self.backbone.features(images)[1])[:, 0]  # (B, h4, w4)


def build(settings, weights):
    return Edges(backbones.build(settings.training.backbone, weights=weights))


def parameter_groups(network, settings):
    rated = [(0.1, network.backbone.parameters()), (1, network.edge.parameters())]
    return groups_of(rated, lr=settings.training.lr, weight_decay=settings.training.weight_decay)


def augmentation(settings):
    return Augmentation(settings.training.crop, scale=(0.7, 1.3))


def loss(network, images, labels, settings):
    small = labels[:, ::4, ::4].float()[:, None]
    differs = F.max_pool2d(small, 3, 1, 1) != -F.max_pool2d(-small, 3, 1, 1)
    return F.binary_cross_entropy_with_logits(network(images), differs[:, 0].float())


def walk(network, batch, cams, settings):
    edges = network(network.backbone.prepare(batch.photos)).float().sigmoid()
    for image_id, photo, edge, cam in zip(batch.images, batch.photos, edges, cams, strict=True):
        scores = propagate(torch.from_numpy(cam.maps).to(edge.device), edge, steps=settings.walk.steps)
        yield WalkedScores(image_id, photo, scores.cpu().numpy(), tuple(cam.classes), settings.walk.background)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a network whose module lies in the working directory."""
    (tmp_path / "edges_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "own/edges_of_mine"
    sys.modules.pop("edges_of_mine", None)


def test_a_module_of_the_user_trains_and_walks(own: str, scenes, tiny: str, walking, tmp_path: Path) -> None:
    refine = Refine(network=own, own={"training": {"backbone": tiny, "weights": "none", "epochs": 3}})
    settings = train_refiner.Settings(
        data=scenes.root, train_split="all", labels=scenes.labels, out=tmp_path / "refiner.pt",
        log=tmp_path / "refiner.csv", code="", random_seed=0, refine=refine,
        hardware=walking(tmp_path, refine).hardware,
    )  # fmt: skip
    train_refiner.main(settings)
    content = torch.load(settings.out, weights_only=True)
    assert content["settings"]["network"] == own
    assert content["settings"]["settings"]["training"]["epochs"] == 3
    walk = walking(settings.out, Refine(network=own, own={"walk": {"steps": 8, "background": 0.2}}))
    walk_split.main(walk)
    assert sorted(path.stem for path in walk.out.iterdir()) == sorted(scenes.images)
    assert any(read_mask(path).any() for path in walk.out.iterdir())
    with pytest.raises(UserError, match=f"its network is '{own}', refine.network is 'irnet'"):
        walk_split.main(replace(walk, refine=Refine(network="irnet")))


def test_a_wrong_setting_of_the_users_module_is_one_line(own: str) -> None:
    with pytest.raises(UserError, match=r"training.lr: 'high'"):
        entry_of(Refine(network=own, own={"training": {"lr": "high"}}))


def test_a_module_of_the_user_without_settings_is_refused(own: str, tmp_path: Path) -> None:
    (tmp_path / "edges_of_mine.py").write_text("NAME = 'Nothing'\n")
    with pytest.raises(UserError, match=r"own/edges_of_mine has no class Settings"):
        entry_of(Refine(network=own))
