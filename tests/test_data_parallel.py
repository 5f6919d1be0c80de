"""Two processes on the CPU, each with half of every batch, against one: as on several GPUs, over gloo."""

import importlib
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ppl.classify import train as classify
from ppl.classify.checkpoint import Architecture
from ppl.data.dataset import read_mask, write_mask
from ppl.devices import CLAIMED, Hardware, claim_gpus
from ppl.refine import train as irnet
from ppl.refine import train_affinity as affinitynet
from ppl.segment import checkpoint as segmentation
from ppl.segment import train as deeplab

CPU = Hardware(devices=0, workers=0, precision="32-true")


def _process(rank: int, port: int, module: str, settings: Any) -> None:
    """One of two processes as `torchrun --nproc-per-node 2` starts them."""
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "TORCHELASTIC_RUN_ID": "test"}
    os.environ |= {"GROUP_RANK": "0"}
    torch.set_num_threads(1)
    importlib.import_module(module).main(settings)


def _alone_and_together(module: Any, settings: Any) -> tuple[list[pd.DataFrame], list[dict[str, torch.Tensor]]]:
    logs, weights = [], []
    for name in ("alone", "together"):
        chosen = replace(settings, out=settings.out.with_name(f"{name}.pt"), log=settings.log.with_name(f"{name}.csv"))
        if name == "alone":
            module.main(chosen)
        else:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            torch.multiprocessing.spawn(_process, (port, module.__name__, chosen), nprocs=2)
        logs.append(pd.read_csv(chosen.log).drop(columns="seconds"))
        weights.append(torch.load(chosen.out, weights_only=True)["network"])
    return logs, weights


def _settings(name: str, scenes, tmp_path: Path) -> tuple[Any, Any]:
    common = {"data": scenes.root, "train_split": "all", "out": tmp_path / "x.pt", "log": tmp_path / "x.csv"}
    common |= {"code": "test", "hardware": CPU}
    sgd = {"weights": "none", "batch_size": 2, "momentum": 0.9, "weight_decay": 1e-4, "power": 0.9, "seed": 1}
    sgd["lr"] = 1e-4 if name == "deeplab" else 0.01
    refined = {"backbone": "resnet18", "epochs": 2, "crop": 64, **sgd}
    match name:
        case "classify":
            training = classify.Training(
                epochs=2, optimizer="sgd", new_lr_factor=2, phi_lr_factor=1, bias_lr_factor=1, decay_biases=True,
                keep_classifier=True, branch_loss=1, long_side=(40, 60), crop=64, jitter=0, **sgd,
            )  # fmt: skip
            architecture = Architecture("resnet18", output_stride=16, frozen_stages=0, phi_init="identity")
            return classify, classify.Settings(
                val_split="all", method="explicit", grids="s3k2", architecture=architecture, training=training, **common
            )
        case "irnet":
            training = irnet.Training(
                output_stride=16, displacement_lr_factor=10, scale=(0.9, 1.5), radius=4, **refined
            )
            return irnet, irnet.Settings(labels=scenes.labels, training=training, **common)
        case "affinitynet":
            training = affinitynet.Training(trained_from=1, new_lr_factor=2, long_side=(50, 70), radius=3, **refined)
            return affinitynet, affinitynet.Settings(labels=scenes.labels, training=training, **common)
    training = deeplab.Training(
        trained_from=0, steps=4, optimizer="sgd", head_lr_factor=1, crop=64, scale=(0.9, 1.5), **sgd
    )
    architecture = segmentation.Architecture("resnet18", output_stride=16, rates=(1, 2), scales=(1, 0.5))
    return deeplab, deeplab.Settings(labels=scenes.labels, architecture=architecture, training=training, **common)


@pytest.mark.parametrize("name", ["classify", "irnet", "affinitynet", "deeplab"])
def test_two_processes_train_as_one_does(name: str, scenes, tmp_path: Path) -> None:
    """Also where they see very different numbers of labelled pixels: each mean is over the whole batch."""
    for folder in scenes.labels[:1]:
        for path in folder.iterdir():  # half of the photos keep a few labels only
            labels = read_mask(path)
            labels[np.random.default_rng(0).random(labels.shape) < 0.9] = 255
            write_mask(path, labels)
    (curve, other), (alone, together) = _alone_and_together(*_settings(name, scenes, tmp_path))
    np.testing.assert_allclose(curve.to_numpy(), other.to_numpy(), rtol=2e-3)
    assert alone.keys() == together.keys()
    for key, weights in alone.items():
        torch.testing.assert_close(
            together[key], weights, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_further_processes_take_the_gpus_of_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(CLAIMED, "")
    claimed = claim_gpus(2)
    assert os.environ[CLAIMED] == ",".join(map(str, claimed))
    assert claim_gpus(2) == claimed
