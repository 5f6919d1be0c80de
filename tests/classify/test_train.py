import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.classify import build as checkpoint
from ppl.classify import train
from ppl.classify.build import build
from ppl.classify.settings import Architecture, Classify, PatchTraining, Training
from ppl.classify.train import Settings, classification_loss, classifier_groups
from ppl.data.dataset import Dataset
from ppl.jobs.errors import UserError
from ppl.jobs.fields import plain
from ppl.jobs.settings import Hardware

CPU = Hardware(gpu=0, workers=0, precision="32-true")


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    shutil.rmtree(scenes.root / "SegmentationClass")  # training opens no mask
    training = Training(
        weights="none", epochs=3, batch_size=2, lr=0.05, phi_lr_factor=5, long_side=(32, 60), crop=32
    )  # fmt: skip
    architecture = Architecture(backbone=tiny, output_stride=16, frozen_stages=2, phi_init="kaiming")
    return Settings(
        data=scenes.root, train_split="all", val_split="all", method="baseline", grids="plain", code="test",
        out=tmp_path / "classifier.pt", log=tmp_path / "classifier.csv", random_seed=1,
        classify=_of_all_methods(Classify(architecture=architecture, training=training)), hardware=CPU,
    )  # fmt: skip


def _of_all_methods(classify: Classify) -> Classify:
    """Return settings with one training for the baseline and for all other methods."""
    return replace(classify, patch_training=PatchTraining(**asdict(classify.training)))


def _named(settings: Settings, name: str, **changes) -> Settings:
    """Return settings with other outputs and other fields, of architecture or training where those have the field."""
    sections = {}
    for section in ("architecture", "training"):
        part = getattr(settings.classify, section)
        own = {key: changes.pop(key) for key in changes.keys() & {field.name for field in fields(part)}}
        sections[section] = replace(part, **own)
    out, log = settings.out.with_name(f"{name}.pt"), settings.log.with_name(f"{name}.csv")
    classify = _of_all_methods(replace(settings.classify, **sections))
    return replace(settings, out=out, log=log, classify=classify, **changes)


def _label(settings: Settings, *classes: str) -> None:
    """Write the labels of the scenes."""
    rows = [f"scene.{i},{name}\n" for i, name in enumerate(classes)]
    (settings.data / "labels.csv").write_text("image,classes\n" + "".join(rows))


def _trained(settings: Settings) -> dict[str, Tensor]:
    train.main(settings)
    return checkpoint.load(settings.out)[1]["network"]


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _changed_stages(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[int]:
    """Stages of the backbone in which the weights of two classifiers differ."""
    names = (name for name in first if name.startswith("backbone.") and not torch.equal(first[name], second[name]))
    return {int(name.split(".")[2]) for name in names}


def test_a_resnet_trains_on_photos_and_image_level_labels_alone(settings: Settings) -> None:
    variant = {"method": "explicit", "grids": "s2k2-s4k2", "backbone": "resnet18"}
    settings = _named(settings, "resnet", epochs=2, batch_size=4, lr=1e-3, **variant)
    train.main(settings)
    log = pd.read_csv(settings.log)
    assert log["step"].tolist() == [1, 2]
    assert log["mAP"].between(0, 1).all()
    assert checkpoint.load(settings.out)[0].branches == 3


@pytest.mark.parametrize("classes", [["ball", "cube"], ["ball"]])
def test_training_separates_one_class_or_several(settings: Settings, classes: list[str]) -> None:
    (settings.data / "classes.txt").write_text("\n".join(classes))
    _label(settings, *("ball", "cube" if "cube" in classes else "") * 2)
    settings = _named(settings, "long", epochs=30, optimizer="adamw", lr=1e-2, new_lr_factor=1, phi_lr_factor=1)
    train.main(settings)
    log = pd.read_csv(settings.log)
    assert log["loss"].iloc[-5:].mean() < 0.5 * log["loss"].iloc[0]
    assert log["mAP"].iloc[-1] > 0.9


def test_unlabelled_photos_are_trained_on_and_a_validation_without_classes_has_no_map(settings: Settings) -> None:
    (settings.data / "ImageSets" / "Segmentation" / "none.txt").write_text("scene.3\n")
    _label(settings, "ball", "cube", "", "")
    train.main(replace(settings, val_split="none"))
    assert settings.out.exists()
    assert pd.read_csv(settings.log)["mAP"].isna().all()


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_threads_score_each_photo_as_one_does(
    settings: Settings, set_cores: Callable[[int], None], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "mean_average_precision", lambda scores, _: scores)
    settings = _named(settings, "alone", batch_size=batch_size)
    network = build("explicit", "s4k2", 2, settings.classify.architecture, weights="none").eval()
    measure = train._validation(Dataset.open(settings.data), settings, network)
    set_cores(3)
    with torch.inference_mode():
        alone, threaded = (measure(network, by_threads)["mAP"] for by_threads in (False, True))
    assert len(alone.unique(dim=0)) == len(alone) == 4
    torch.testing.assert_close(threaded, alone)


def test_an_unreadable_photo_ends_validation_with_its_name(
    settings: Settings, set_cores: Callable[[int], None]
) -> None:
    set_cores(2)
    settings = replace(_named(settings, "broken", batch_size=2), val_split="broken")
    (settings.data / "ImageSets" / "Segmentation" / "broken.txt").write_text("scene.0\nscene.1\nscene.2\nscene.3\n")
    dataset = Dataset.open(settings.data)
    network = build("baseline", "plain", 2, settings.classify.architecture, weights="none").eval()
    photo = dataset.photo("scene.3")
    photo.write_bytes(photo.read_bytes()[:100])
    before = threading.active_count()
    with torch.inference_mode(), pytest.raises(UserError, match=photo.name):
        train._validation(dataset, settings, network)(network, True)
    assert threading.active_count() == before


def test_a_checkpoint_holds_its_settings(settings: Settings) -> None:
    train.main(replace(settings, method="local", grids="s3k2"))
    network, content = checkpoint.load(settings.out)
    assert not network.training
    assert (network.grids, network.global_branch) == (((3, 2),), False)
    assert (content["classes"], content["code"]) == (["ball", "cube"], "test")
    stored = {"architecture": plain(settings.classify.architecture), "training": plain(settings.training)}
    assert content["settings"] == stored | {"random_seed": 1, "method": "local", "grids": "s3k2"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_depend_on_the_seed_and_not_on_workers(settings: Settings, optimizer: str) -> None:
    settings = _named(settings, "first", epochs=1, optimizer=optimizer, lr=1e-3, method="explicit", grids="s3k2")
    first = _trained(settings)
    assert _equal(first, _trained(_named(settings, "again")))
    assert _equal(first, _trained(_named(settings, "workers", hardware=replace(CPU, workers=1))))
    other = _trained(_named(settings, "other", random_seed=2))
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_the_steps_of_algorithm_1(settings: Settings) -> None:
    """Each step starts from the backbone of the step before and changes only its patched stage and those behind."""
    first = _named(settings, "s2k2", method="implicit", grids="s2k2")
    second = _named(settings, "s2k2-s3k2", method="implicit", grids="s2k2-s3k2", start=first.out)
    third = _named(settings, "s2k2-s3k2-s4k2", method="implicit", grids="s2k2-s3k2-s4k2", start=second.out)
    weights = [_trained(step) for step in (first, second, third)]
    assert _changed_stages(weights[0], weights[1]) == {3, 4}
    assert _changed_stages(weights[1], weights[2]) == {4}
    assert not torch.equal(weights[0]["classifier.weight"], weights[1]["classifier.weight"])


def test_a_start_is_the_earlier_backbone_with_new_layers(settings: Settings) -> None:
    earlier = _trained(_named(settings, "baseline"))
    network = checkpoint.build("explicit", "s2k2", 2, settings.classify.architecture, weights="none")
    new = {name: value.clone() for name, value in network.state_dict().items() if not name.startswith("backbone.")}
    start = settings.out.with_name("baseline.pt"), settings.classify.architecture.backbone
    checkpoint.init_from_checkpoint(network, *start, classifier=False, classes=["ball", "cube"])
    state = network.state_dict()
    assert not _changed_stages(earlier, state)
    assert all(torch.equal(state[name], value) for name, value in new.items())


def test_each_branch_may_start_from_the_classifier_of_its_kind(settings: Settings) -> None:
    plain = _trained(_named(settings, "baseline"))["classifier.weight"]
    architecture = settings.classify.architecture

    def started(method: str, grids: str, earlier: str) -> Tensor:
        network = checkpoint.build(method, grids, 2, architecture, weights="none")
        start = settings.out.with_name(f"{earlier}.pt"), architecture.backbone
        checkpoint.init_from_checkpoint(network, *start, classifier=True, classes=["ball", "cube"])
        return network.classifier.weight

    assert torch.equal(started("explicit", "s2k2-s3k2", "baseline"), torch.cat([plain] * 3, dim=1) * (1 / 3))
    assert torch.equal(started("local", "s3k2", "baseline"), plain)
    both = _trained(_named(settings, "s2k2", method="implicit", grids="s2k2"))["classifier.weight"]
    assert torch.equal(started("implicit", "s2k2-s3k2", "s2k2"), both)


def test_a_start_with_another_backbone_is_refused(settings: Settings) -> None:
    train.main(_named(settings, "baseline"))
    start = settings.out.with_name("baseline.pt")
    with pytest.raises(UserError, match=r"baseline.pt: backbone mismatch: expected resnet18, got own/tiny_backbone"):
        train.main(_named(settings, "other", method="explicit", grids="s2k2", backbone="resnet18", start=start))


def test_weights_of_a_file_are_the_start_of_the_frozen_stages(settings: Settings) -> None:
    architecture, path = settings.classify.architecture, settings.out
    network = checkpoint.build("baseline", "plain", 2, architecture, weights="none")
    torch.save(network.backbone.state_dict(), path.with_name("own.pt"))
    trained = _trained(_named(settings, "trained", weights=str(path.with_name("own.pt"))))
    assert _changed_stages(network.state_dict(), trained) == {3, 4}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("frozen", range(-1, 4))
def test_frozen_stages_keep_their_weights_and_all_others_are_trained(
    settings: Settings, optimizer: str, frozen: int
) -> None:
    settings = _named(settings, "trained", frozen_stages=frozen, optimizer=optimizer, lr=1e-3)
    torch.manual_seed(1)  # as the training does
    network = checkpoint.build("baseline", "plain", 2, settings.classify.architecture, weights="none")
    assert _changed_stages(network.state_dict(), _trained(settings)) == {*range(frozen + 1, 5)}


@pytest.mark.parametrize("keeps", [True, False])
def test_only_the_methods_that_keep_the_classifier_start_from_it(settings: Settings, keeps: bool) -> None:
    plain = _trained(_named(settings, "baseline"))["classifier.weight"]
    kept, start = ("explicit",) if keeps else ("implicit", "local"), settings.out.with_name("baseline.pt")
    settings = _named(settings, "explicit", method="explicit", grids="s3k2", start=start, keep_classifier=kept, lr=1e-6)
    halves = torch.cat([plain] * 2, dim=1) / 2
    assert torch.allclose(_trained(settings)["classifier.weight"], halves, atol=1e-3) == keeps


@pytest.mark.parametrize(("factor", "decays"), [(1, True), (2, True), (1, False), (2, False)])
def test_biases_may_have_a_rate_and_a_decay_of_their_own(settings: Settings, factor: float, decays: bool) -> None:
    training = replace(settings.classify.training, bias_lr_factor=factor, decay_biases=decays)
    network = checkpoint.build("implicit", "s3k2", 2, settings.classify.architecture, weights="none")
    groups = classifier_groups(network, training)
    assert len(groups) == (3 if (factor, decays) == (1, True) else 6)
    held = {parameter: group for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(held)
    factors = {"backbone": 1, "phi1": training.phi_lr_factor, "phi2": training.phi_lr_factor}
    factors["classifier"] = training.new_lr_factor
    names = dict(network.named_parameters())
    assert set(names.values()) == set(held)
    for name, parameter in names.items():
        bias = name.endswith(".bias")
        rate = training.lr * factors[name.partition(".")[0]] * (factor if bias else 1)
        assert held[parameter]["lr"] == pytest.approx(rate)
        assert held[parameter]["weight_decay"] == (0 if bias and not decays else training.weight_decay)
    torch.nn.init.ones_(network.phi1[0].bias)
    kept = network.phi1[0].bias.detach().clone()
    network.phi1[0].bias.grad = torch.zeros_like(kept)  # no gradient: what moves a bias is its decay
    train._optimizer(network, training).step()
    assert torch.equal(network.phi1[0].bias, kept) != decays


def test_groups_of_biases_at_the_weights_rate_train_alike(settings: Settings) -> None:
    variant = {"method": "implicit", "grids": "s3k2", "weight_decay": 0.0}
    together, apart = (_trained(_named(settings, f"{x}", decay_biases=x, **variant)) for x in (True, False))
    for name, weights in together.items():
        torch.testing.assert_close(weights, apart[name])


def _stop(settings: Settings, monkeypatch: pytest.MonkeyPatch, step: int, how: Callable, error: type) -> None:
    """Train until `how` is called in the loss of a step."""
    calls, loss = [], train.classification_loss

    def stopped(*arguments: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == step:
            how()
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train, "classification_loss", stopped)
        with pytest.raises(error):
            train.main(settings)
    assert not settings.out.exists()


def _raise() -> None:
    raise KeyboardInterrupt


def _terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


ADAMW = {"optimizer": "adamw", "lr": 1e-3}
JITTER = {"bias_lr_factor": 2, "decay_biases": False, "jitter": 0.3}


@pytest.mark.parametrize(("changes", "step", "how", "error", "saved"), [
    (ADAMW, 4, _raise, KeyboardInterrupt, 2), (ADAMW, 3, _terminate, SystemExit, 3),
    (JITTER, 4, _raise, KeyboardInterrupt, 2),
], ids=["AdamW, Ctrl-C", "AdamW, SIGTERM", "jitter and rates of biases, Ctrl-C"])  # fmt: skip
def test_an_interrupted_run_resumes_to_the_same_weights(
    settings: Settings, monkeypatch, capsys, changes: dict, step: int, how: Callable, error: type, saved: int
) -> None:
    plain = _named(settings, "plain", method="implicit", grids="s3k2")
    whole, broken = (_named(plain, name, **changes) for name in ("whole", "broken"))
    _stop(broken, monkeypatch, step, how, error)
    capsys.readouterr()
    resumed = _trained(broken)
    assert f"resuming from step {saved}" in capsys.readouterr().err
    assert _equal(_trained(whole), resumed)
    assert not _equal(_trained(plain), resumed)
    logs = [pd.read_csv(s.log).drop(columns="seconds") for s in (whole, broken)]
    pd.testing.assert_frame_equal(*logs)
    assert not broken.out.with_suffix(".resume").exists()


def _rewrite(settings: Settings, name: str, old: str, new: str) -> Settings:
    path = settings.data / name
    path.write_text(path.read_text().replace(old, new))
    return settings


def _other_start(settings: Settings) -> Settings:
    train.main(_named(settings, "start", method="baseline", grids="plain", start=None, random_seed=2))
    return settings


CHANGES: dict[str, Callable[[Settings], Settings]] = {
    "classes": lambda settings: _rewrite(settings, "classes.txt", "ball\ncube", "cube\nball"),
    "labels": lambda settings: _rewrite(settings, "labels.csv", "scene.3,cube", "scene.3,ball"),
    "training": lambda settings: _named(settings, settings.out.stem, lr=0.01),
    "architecture": lambda settings: _named(settings, settings.out.stem, frozen_stages=1),
    "random seed": lambda settings: replace(settings, random_seed=2),
    "code": lambda settings: replace(settings, code="other"),
    "start": _other_start,
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_state_of_other_settings_or_inputs_is_ignored_with_a_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, kind: str
) -> None:
    if kind == "start":
        start = _named(settings, "start")
        train.main(start)
        settings = replace(settings, method="explicit", grids="s3k2", start=start.out)
    _stop(settings, monkeypatch, 3, _raise, KeyboardInterrupt)
    changed = CHANGES[kind](settings)
    resumed = _trained(changed)
    assert "belongs to other settings or inputs: starting over" in capsys.readouterr().err
    assert _equal(_trained(_named(changed, "anew")), resumed)


def test_other_hardware_does_not_start_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _stop(settings, monkeypatch, 3, _raise, KeyboardInterrupt)
    train.main(replace(settings, hardware=replace(CPU, workers=1)))
    assert "resuming from step 2" in capsys.readouterr().err


def test_the_loss_is_the_soft_margin_of_the_summed_logits() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 3, 2), torch.tensor([[0.0, 1], [1, 1], [0, 0], [1, 0]])
    summed = F.binary_cross_entropy_with_logits(logits.sum(dim=1), targets)
    torch.testing.assert_close(classification_loss(logits, targets, 0), summed)
    single = torch.stack([F.binary_cross_entropy_with_logits(logits[:, branch], targets) for branch in range(3)])
    torch.testing.assert_close(classification_loss(logits, targets, 0.5), summed + 0.5 * single.mean())
    torch.testing.assert_close(
        classification_loss(logits[:, :1], targets, 0.5), classification_loss(logits[:, :1], targets, 0)
    )
