import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ppl.classify import build as checkpoint
from ppl.classify import train
from ppl.classify.build import Architecture
from ppl.classify.train import Settings, Training, classification_loss, classifier_groups
from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    shutil.rmtree(scenes.root / "SegmentationClass")  # training opens no mask
    training = Training(
        weights="none", epochs=3, batch_size=2, optimizer="sgd", lr=0.05, new_lr_factor=10, phi_lr_factor=5,
        momentum=0.9,
        weight_decay=1e-4, bias_lr_factor=1, decay_biases=True, power=0.9, keep_classifier=True, branch_loss=0,
        long_side=(30, 60), crop=32, jitter=0, seed=1,
    )  # fmt: skip
    return Settings(
        data=scenes.root,
        train_split="all",
        val_split="all",
        method="baseline",
        grids="plain",
        out=tmp_path / "classifier.pt",
        log=tmp_path / "classifier.csv",
        code="test",
        architecture=Architecture(tiny, output_stride=16, frozen_stages=2, phi_init="kaiming"),
        training=training,
        hardware=Hardware(devices=0, workers=0, precision="32-true"),
    )


def _named(settings: Settings, name: str, **changes) -> Settings:
    return replace(
        settings, out=settings.out.with_name(f"{name}.pt"), log=settings.log.with_name(f"{name}.csv"), **changes
    )


def _trained(settings: Settings) -> dict[str, Tensor]:
    train.main(settings)
    return checkpoint.load(settings.out)[1]["network"]


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _changed_stages(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[int]:
    """Stages of the backbone in which the weights of two classifiers differ."""
    names = (name for name in first if name.startswith("backbone.") and not torch.equal(first[name], second[name]))
    return {int(name.split(".")[2]) for name in names}


def test_a_resnet_learns_from_photos_and_image_level_labels_alone(settings: Settings) -> None:
    folder = settings.data / "JPEGImages"
    for i in range(4):
        shutil.copy(folder / f"scene.{i}.jpg", folder / f"more.{i}.jpg")
    ids = [f"{name}.{i}" for name in ("scene", "more") for i in range(4)]
    (settings.data / "ImageSets" / "Segmentation" / "all.txt").write_text("\n".join(ids))
    rows = [f"{image},{('ball', 'cube')[int(image[-1]) % 2]}\n" for image in ids]
    (settings.data / "labels.csv").write_text("image,classes\n" + "".join(rows))
    train.main(replace(
        settings, method="explicit", grids="s2k2-s4k2",
        architecture=Architecture("resnet18", output_stride=16, frozen_stages=2, phi_init="kaiming"),
        training=replace(settings.training, epochs=2, batch_size=8, lr=1e-3),
    ))  # fmt: skip
    log = pd.read_csv(settings.log)
    assert log["step"].tolist() == [1, 2]
    assert log["mAP"].between(0, 1).all()
    assert not (settings.data / "SegmentationClass").exists()
    network, _ = checkpoint.load(settings.out)
    assert network.branches == 3


def test_training_separates_the_classes(settings: Settings) -> None:
    training = replace(settings.training, epochs=30, optimizer="adamw", lr=1e-2, new_lr_factor=1, phi_lr_factor=1)
    train.main(replace(settings, training=training))
    log = pd.read_csv(settings.log)
    assert log["loss"].iloc[-5:].mean() < 0.5 * log["loss"].iloc[0]
    assert log["mAP"].iloc[-1] > 0.9


def test_a_single_class_is_learned_and_measured(settings: Settings) -> None:
    (settings.data / "classes.txt").write_text("ball\n")
    rows = [f"scene.{i},{'ball' * (i % 2 == 0)}\n" for i in range(4)]
    (settings.data / "labels.csv").write_text("image,classes\n" + "".join(rows))
    training = replace(settings.training, epochs=30, optimizer="adamw", lr=1e-2, new_lr_factor=1, phi_lr_factor=1)
    train.main(replace(settings, training=training))
    assert pd.read_csv(settings.log)["mAP"].iloc[-1] > 0.9


def test_a_validation_without_any_class_has_no_map(settings: Settings) -> None:
    (settings.data / "ImageSets" / "Segmentation" / "none.txt").write_text("scene.3\n")
    rows = [f"scene.{i},{('ball', 'cube', 'ball', '')[i]}\n" for i in range(4)]
    (settings.data / "labels.csv").write_text("image,classes\n" + "".join(rows))
    train.main(replace(settings, val_split="none"))
    assert pd.read_csv(settings.log)["mAP"].isna().all()


def test_a_checkpoint_holds_its_settings(settings: Settings) -> None:
    train.main(replace(settings, method="local", grids="s3k2"))
    network, content = checkpoint.load(settings.out)
    assert not network.training
    assert (network.grids, network.global_branch) == (((3, 2),), False)
    assert content["classes"] == ["ball", "cube"]
    assert content["code"] == "test"
    assert content["settings"] == {
        "architecture": asdict(settings.architecture),
        "training": asdict(settings.training),
        "method": "local",
        "grids": "s3k2",
    }


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weights_depend_on_the_seed_and_not_on_workers(settings: Settings, optimizer: str) -> None:
    training = replace(settings.training, epochs=1, optimizer=optimizer, lr=1e-3)
    settings = replace(settings, training=training, method="explicit", grids="s3k2")
    first = _trained(_named(settings, "first"))
    assert _equal(first, _trained(_named(settings, "again")))
    assert _equal(first, _trained(_named(settings, "workers", hardware=replace(settings.hardware, workers=1))))
    other = _trained(_named(settings, "other", training=replace(training, seed=2)))
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
    network = checkpoint.build("explicit", "s2k2", 2, settings.architecture, weights="none")
    new = {name: value.clone() for name, value in network.state_dict().items() if not name.startswith("backbone.")}
    start = settings.out.with_name("baseline.pt"), settings.architecture.backbone
    checkpoint.init_from_checkpoint(network, *start, classifier=False, classes=["ball", "cube"])
    state = network.state_dict()
    assert not _changed_stages(earlier, state)
    assert all(torch.equal(state[name], value) for name, value in new.items())


def test_each_branch_may_start_from_the_classifier_of_its_kind(settings: Settings) -> None:
    plain = _trained(_named(settings, "baseline"))["classifier.weight"]
    backbone = settings.architecture.backbone

    def started(method: str, grids: str, earlier: str) -> Tensor:
        network = checkpoint.build(method, grids, 2, settings.architecture, weights="none")
        checkpoint.init_from_checkpoint(
            network, settings.out.with_name(f"{earlier}.pt"), backbone, classifier=True, classes=["ball", "cube"]
        )
        return network.classifier.weight

    assert torch.equal(started("explicit", "s2k2-s3k2", "baseline"), torch.cat([plain] * 3, dim=1) * (1 / 3))
    assert torch.equal(started("local", "s3k2", "baseline"), plain)
    both = _trained(_named(settings, "s2k2", method="implicit", grids="s2k2"))["classifier.weight"]
    assert torch.equal(started("implicit", "s2k2-s3k2", "s2k2"), both)


def test_a_start_with_another_backbone_is_refused(settings: Settings) -> None:
    train.main(_named(settings, "baseline"))
    with pytest.raises(UserError, match=r"baseline.pt: backbone mismatch: expected resnet18, got tiny"):
        train.main(replace(
            settings, method="explicit", grids="s2k2", start=settings.out.with_name("baseline.pt"),
            architecture=replace(settings.architecture, backbone="resnet18"),
        ))  # fmt: skip


def test_weights_of_a_file_are_the_start_of_the_frozen_stages(settings: Settings) -> None:
    network, path = checkpoint.build("baseline", "plain", 2, settings.architecture, weights="none"), settings.out
    torch.save(network.backbone.state_dict(), path.with_name("own.pt"))
    training = replace(settings.training, weights=str(path.with_name("own.pt")))
    assert _changed_stages(network.state_dict(), _trained(replace(settings, training=training))) == {3, 4}


@pytest.mark.parametrize(("factor", "decays"), [(1, True), (2, True), (1, False), (2, False)])
def test_biases_may_have_a_rate_and_a_decay_of_their_own(settings: Settings, factor: float, decays: bool) -> None:
    training = replace(settings.training, bias_lr_factor=factor, decay_biases=decays)
    network = checkpoint.build("implicit", "s3k2", 2, settings.architecture, weights="none")
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
    kept = network.phi1[0].bias.detach().clone()
    network.phi1[0].bias.grad = torch.zeros_like(kept)  # no gradient: what moves a bias is its decay
    train._optimizer(network, training).step()
    assert torch.equal(network.phi1[0].bias, kept) != decays


def test_groups_of_biases_at_the_weights_rate_train_alike(settings: Settings) -> None:
    training, variant = replace(settings.training, weight_decay=0.0), {"method": "implicit", "grids": "s3k2"}
    together, apart = (
        _trained(_named(settings, f"{decay}", training=replace(training, decay_biases=decay), **variant))
        for decay in (True, False)
    )
    for name, weights in together.items():
        torch.testing.assert_close(weights, apart[name])


def test_jitter_and_rates_of_biases_change_the_weights_and_resume(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(settings.training, bias_lr_factor=2, decay_biases=False, jitter=0.3)
    changed = replace(settings, method="implicit", grids="s3k2", training=training)
    plain = _trained(_named(changed, "plain", training=settings.training))
    whole, broken = _named(changed, "whole"), _named(changed, "broken")
    _stop(broken, monkeypatch, step=4, how=_raise, error=KeyboardInterrupt)
    assert _equal(_trained(whole), _trained(broken))
    assert not _equal(plain, _trained(whole))


def _stop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, step: int, how: Callable[[], None], error: type
) -> None:
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


@pytest.mark.parametrize(
    ("step", "how", "error", "saved"), [(4, _raise, KeyboardInterrupt, 2), (3, _terminate, SystemExit, 3)]
)
def test_an_interrupted_run_with_adamw_resumes_to_the_same_weights(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    step: int, how: Callable[[], None], error: type, saved: int,
) -> None:  # fmt: skip
    training = replace(settings.training, optimizer="adamw", lr=1e-3)
    settings = replace(settings, method="implicit", grids="s3k2", training=training)
    whole, broken = _named(settings, "whole"), _named(settings, "broken")
    _stop(broken, monkeypatch, step=step, how=how, error=error)
    capsys.readouterr()
    resumed = _trained(broken)
    assert f"resuming from step {saved}" in capsys.readouterr().err
    assert _equal(_trained(whole), resumed)
    logs = [pd.read_csv(s.log).drop(columns="seconds") for s in (whole, broken)]
    pd.testing.assert_frame_equal(*logs)
    assert not broken.out.with_suffix(".resume").exists()


def _other_labels(settings: Settings) -> Settings:
    path = settings.data / "labels.csv"
    path.write_text(path.read_text().replace("scene.3,cube", "scene.3,ball"))
    return settings


def _other_classes(settings: Settings) -> Settings:
    (settings.data / "classes.txt").write_text("cube\nball\n")
    return settings


@pytest.mark.parametrize(
    "change",
    [
        _other_classes,
        _other_labels,
        lambda settings: replace(settings, training=replace(settings.training, lr=0.01)),
        lambda settings: replace(settings, architecture=replace(settings.architecture, frozen_stages=1)),
        lambda settings: replace(settings, code="other"),
    ],
    ids=["classes", "labels", "training", "architecture", "code"],
)
def test_a_state_of_other_settings_is_ignored_with_a_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, change: Callable
) -> None:
    _stop(settings, monkeypatch, step=3, how=_raise, error=KeyboardInterrupt)
    changed = change(settings)
    resumed = _trained(changed)
    assert "belongs to other settings or inputs: starting over" in capsys.readouterr().err
    assert _equal(_trained(_named(changed, "anew")), resumed)


def test_a_state_of_another_earlier_step_is_ignored(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    earlier = _named(settings, "baseline")
    train.main(earlier)
    settings = replace(settings, method="explicit", grids="s3k2", start=earlier.out)
    _stop(settings, monkeypatch, step=3, how=_raise, error=KeyboardInterrupt)
    train.main(replace(earlier, training=replace(settings.training, seed=2)))
    train.main(settings)
    assert "belongs to other settings or inputs: starting over" in capsys.readouterr().err


def test_other_hardware_does_not_start_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _stop(settings, monkeypatch, step=3, how=_raise, error=KeyboardInterrupt)
    train.main(replace(settings, hardware=replace(settings.hardware, workers=1)))
    assert "resuming from step 2" in capsys.readouterr().err


def test_unlabelled_photos_are_trained_on(settings: Settings) -> None:
    (settings.data / "labels.csv").write_text("image,classes\nscene.0,ball\nscene.1,\nscene.2,\nscene.3,cube\n")
    train.main(settings)
    assert settings.out.exists()


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
