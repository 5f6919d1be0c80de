import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError
from ppl.segment import build as checkpoint
from ppl.segment import train
from ppl.segment.build import Architecture
from ppl.segment.train import Settings, Training


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    shutil.rmtree(scenes.root / "SegmentationClass")  # training opens no mask
    training = Training(
        weights="none", trained_from=0, steps=7, batch_size=2, optimizer="sgd", lr=1e-3, head_lr_factor=10,
        momentum=0.9, weight_decay=5e-4, power=0.9, crop=40, scale=(0.5, 1.5), seed=1,
    )  # fmt: skip
    return Settings(
        data=scenes.root, train_split="all", labels=scenes.labels, code="test",
        out=tmp_path / "deeplab.pt", log=tmp_path / "deeplab.csv",
        architecture=Architecture(tiny, output_stride=8, rates=(1, 2), scales=(1, 0.75, 0.5)),
        training=training, hardware=Hardware(devices=0, workers=0, precision="32-true"),
    )  # fmt: skip


def test_training_lowers_the_loss(settings: Settings) -> None:
    training = replace(settings.training, steps=80, optimizer="adamw", lr=1e-2, head_lr_factor=1)
    train.main(replace(settings, training=training))
    loss = pd.read_csv(settings.log)["loss"]
    assert len(loss) == 40
    assert loss[-8:].median() < 0.5 * loss[:4].median()
    network, content = checkpoint.load(settings.out)
    assert not network.training
    assert (content["classes"], content["code"]) == (["ball", "cube"], "test")
    assert content["settings"]["training"]["steps"] == 80


@pytest.mark.parametrize("first", range(6))
def test_stages_before_the_first_trained_one_keep_their_weights(settings: Settings, first: int) -> None:
    start = checkpoint.build(2, settings.architecture, weights="none").backbone
    weights = settings.out.with_name("weights.pt")
    torch.save(start.state_dict(), weights)
    train.main(replace(settings, training=replace(settings.training, weights=str(weights), trained_from=first)))
    network, _ = checkpoint.load(settings.out)
    changed = [
        any(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
        for old, new in zip(start.stages, network.backbone.stages, strict=True)
    ]
    assert changed == [stage >= first for stage in range(5)]


def test_changed_pseudo_labels_start_over(
    settings: Settings, scenes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def terminated(*_: object) -> torch.Tensor:
        signal.raise_signal(signal.SIGTERM)
        return torch.zeros((), requires_grad=True) * 1

    with monkeypatch.context() as patch:
        patch.setattr(train, "segmentation_loss", terminated)
        patch.setattr(torch.optim.SGD, "step", lambda *_: None)
        with pytest.raises(SystemExit):
            train.main(settings)
    assert not settings.out.exists()
    shutil.copy(scenes.labels[0] / "scene.2.png", scenes.labels[0] / "scene.0.png")
    train.main(settings)
    assert "starting over" in capsys.readouterr().err
    assert pd.read_csv(settings.log)["step"].tolist() == [2, 4, 6, 7]
    assert not settings.out.with_suffix(".resume").exists()


@pytest.mark.parametrize(("folders", "message"), [
    (["labels-1"], "2 of 4 label maps are missing.*scene.1.png"),
    ([], "4 of 4.*scene.0.png"),
    (["absent"], "absent: no such folder"),
])  # fmt: skip
def test_missing_pseudo_labels_are_counted_and_a_missing_folder_is_named(
    settings: Settings, tmp_path: Path, folders: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train.main(replace(settings, labels=tuple(tmp_path / folder for folder in folders)))
