import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ppl.data.crops import draw_window
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.refine import irnet
from ppl.refine.settings import IRNet, IRNetTraining
from ppl.segment import build as checkpoint
from ppl.segment import deeplab_v2, train
from ppl.segment.settings import DeepLabV2, Segment, Training
from ppl.segment.train import Settings


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    shutil.rmtree(scenes.root / "SegmentationClass")  # training opens no mask
    training = Training(weights="none", steps=7, batch_size=2, lr=1e-3, crop=40)
    deeplab = DeepLabV2(backbone=tiny, output_stride=8, rates=(1, 2), scales=(1, 0.75, 0.5))
    return Settings(
        data=scenes.root, train_split="all", labels=scenes.labels, code="test", random_seed=1,
        out=tmp_path / "segmenter.pt", log=tmp_path / "segmenter.csv",
        segment=Segment(deeplab_v2=deeplab, training=training),
        hardware=Hardware(gpu=0, workers=0, precision="32-true"),
    )  # fmt: skip


def changed(settings: Settings, **values: Any) -> Settings:
    """Return settings with other values of `segment.training`."""
    segment = settings.segment
    return replace(settings, segment=replace(segment, training=replace(segment.training, **values)))


def test_training_lowers_the_loss(settings: Settings) -> None:
    train.main(changed(settings, steps=80, optimizer="adamw", lr=1e-2, head_lr_factor=1))
    loss = pd.read_csv(settings.log)["loss"]
    assert len(loss) == 40
    assert loss[-8:].median() < 0.5 * loss[:4].median()
    network, content = checkpoint.load(settings.out)
    assert not network.training
    assert (content["classes"], content["code"]) == (["ball", "cube"], "test")
    assert content["settings"]["training"]["steps"] == 80
    assert (content["settings"]["network"], content["settings"]["random_seed"]) == ("deeplab_v2", 1)


@pytest.mark.parametrize("frozen", range(-1, 5))
def test_frozen_stages_keep_their_weights(settings: Settings, frozen: int) -> None:
    start = checkpoint.build(settings.segment, 2).backbone
    weights = settings.out.with_name("weights.pt")
    torch.save(start.state_dict(), weights)
    train.main(changed(settings, weights=str(weights), frozen_stages=frozen))
    network, _ = checkpoint.load(settings.out)
    trained = [
        any(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
        for old, new in zip(start.stages, network.backbone.stages, strict=True)
    ]
    assert trained == [stage > frozen for stage in range(5)]


def test_crops_have_a_scale_of_the_list_and_are_padded_at_the_bottom_and_right(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the flip; those of IRNet lie anywhere."""
    captured: dict[str, Any] = {}
    monkeypatch.setattr(train, "train_on_labels", lambda *_, **options: captured.update(options))
    train.main(changed(settings, crop=200, crop_scales=(0.5, 1, 1.5)))
    of_irnet = irnet.augmentation(IRNet(training=IRNetTraining(crop=200)))
    both, rng = (captured["augmentation"], of_irnet), np.random.default_rng(0)
    windows, others = ([draw_window((40, 60), augmentation, rng) for _ in range(100)] for augmentation in both)
    assert {window.size for window in windows} == {(20, 30), (40, 60), (60, 90)}
    assert all(w.offset == (0, 200 - w.size[1] if w.flip else 0) for w in windows)
    assert len({window.size for window in others}) > 30
    assert len({window.offset[0] for window in others}) > 30


def test_changed_pseudo_labels_start_over(
    settings: Settings, scenes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def terminated(*_: object) -> torch.Tensor:
        signal.raise_signal(signal.SIGTERM)
        return torch.zeros((), requires_grad=True) * 1

    with monkeypatch.context() as patch:
        patch.setattr(deeplab_v2, "segmentation_loss", terminated)
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
