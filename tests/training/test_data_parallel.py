"""Two processes on the CPU, each with half of every batch, against one: as on several GPUs, over gloo."""

import os
import pickle
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ppl.classify import train as classify
from ppl.classify.build import Architecture
from ppl.data.masks import read_mask, write_mask
from ppl.jobs.devices import Hardware
from ppl.refine import train_affinitynet as affinitynet
from ppl.refine import train_irnet as irnet
from ppl.segment import build as segmentation
from ppl.segment import train as deeplab

CPU = Hardware(devices=0, workers=0, precision="32-true")


PROCESS = """
import importlib, pickle, sys, torch
torch.set_num_threads(1)
with open(sys.argv[1], "rb") as file:
    module, settings = pickle.load(file)
importlib.import_module(module).main(settings)
"""


def _together(module: str, settings: Any, folder: Path) -> None:
    """Two processes as `torchrun --nproc-per-node 2` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = folder / "job.pickle"
    job.write_bytes(pickle.dumps((module, settings)))
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    ranks = [os.environ | common | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, str(job)], env=rank) for rank in ranks]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]


def _result(settings: Any) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    return pd.read_csv(settings.log).drop(columns="seconds"), torch.load(settings.out, weights_only=True)["network"]


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
            training = irnet.Training(output_stride=16, scale=(0.9, 1.5), radius=4, **refined)
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
    for path in scenes.labels[0].iterdir():  # half of the photos keep a few labels only
        labels = read_mask(path)
        labels[np.random.default_rng(0).random(labels.shape) < 0.9] = 255
        write_mask(path, labels)
    module, settings = _settings(name, scenes, tmp_path)
    two = replace(settings, out=tmp_path / "two.pt", log=tmp_path / "two.csv")
    module.main(settings)
    _together(module.__name__, two, tmp_path)
    (curve, alone), (other, together) = _result(settings), _result(two)
    np.testing.assert_allclose(curve.to_numpy(), other.to_numpy(), rtol=2e-3)
    assert alone.keys() == together.keys()
    for key, weights in alone.items():
        torch.testing.assert_close(together[key], weights, rtol=1e-3, atol=1e-4, msg=(key + ": {}").format)
