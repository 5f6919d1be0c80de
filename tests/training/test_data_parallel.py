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
from ppl.classify.settings import Architecture, Classify, PatchTraining
from ppl.data.masks import read_mask, write_mask
from ppl.jobs.settings import Compile, Hardware
from ppl.refine import train_refiner as refine
from ppl.refine.settings import AffinityNet, AffinityNetTraining, IRNet, IRNetTraining, Refine
from ppl.segment import train as segment
from ppl.segment.settings import DeepLabV2, Segment
from ppl.segment.settings import Training as SegmenterTraining

CPU = Hardware(gpu=0, workers=0, precision="32-true")


PROCESS = """
import importlib, pickle, sys, torch
from ppl.jobs import threads
from ppl.training import shares
torch.set_num_threads(1)
torch.get_num_threads = lambda: 2  # enough for threads, which would mix up what processes exchange in each call
threads.thread_pool = shares.thread_pool = None
with open(sys.argv[1], "rb") as file:
    module, settings = pickle.load(file)
if settings.hardware.compile == "always":
    from ppl.jobs import compiled
    compiled.BACKEND, compiled.why_not = "aot_eager", lambda _: None  # code for a CPU takes a minute
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
    common |= {"code": "test", "random_seed": 1, "hardware": CPU}
    sgd = {"weights": "none", "batch_size": 2, "lr": 0.01, "crop": 64}
    refined = {"backbone": "resnet18", "epochs": 2, **sgd}
    match name:
        case "classify":
            training = PatchTraining(
                epochs=2, new_lr_factor=2, phi_lr_factor=1, branch_loss=1, long_side=(40, 60), **sgd
            )  # fmt: skip
            architecture = Architecture(backbone="resnet18", frozen_stages=0, phi_init="identity")
            section = Classify(architecture=architecture, patch_training=training)
            return classify, classify.Settings(
                val_split="all", method="explicit", grids="s3k2", classify=section, **common
            )
        case "irnet":
            training = IRNetTraining(scale=(0.9, 1.5), radius=4, **refined)
            section = Refine(network=name, irnet=IRNet(training=training))
            return refine, refine.Settings(labels=scenes.labels, refine=section, **common)
        case "affinitynet":
            training = AffinityNetTraining(frozen_stages=0, new_lr_factor=2, scale=(0.9, 1.5), radius=3, **refined)
            section = Refine(network=name, affinitynet=AffinityNet(training=training))
            return refine, refine.Settings(labels=scenes.labels, refine=section, **common)
    training = SegmenterTraining(steps=4, head_lr_factor=1, crop_scales=(1, 1.5), **{**sgd, "lr": 1e-4})
    network = DeepLabV2(backbone="resnet18", output_stride=16, rates=(1, 2), scales=(1, 0.5))
    section = Segment(network=name, deeplab_v2=network, training=training)
    return segment, segment.Settings(labels=scenes.labels, segment=section, **common)


@pytest.mark.parametrize(("name", "compile"), [
    ("classify", "never"), ("classify", "always"), ("irnet", "never"), ("affinitynet", "never"),
    ("deeplab_v2", "never"),
])  # fmt: skip
def test_two_processes_train_as_one_does(name: str, compile: Compile, scenes, tmp_path: Path) -> None:
    """Also where they see very different numbers of labelled pixels: each mean is over the whole batch.

    Theirs are compiled networks, if any.
    """
    for path in scenes.labels[0].iterdir():  # half of the photos keep a few labels only
        labels = read_mask(path)
        labels[np.random.default_rng(0).random(labels.shape) < 0.9] = 255
        write_mask(path, labels)
    module, settings = _settings(name, scenes, tmp_path)
    hardware = replace(CPU, compile=compile)
    two = replace(settings, out=tmp_path / "two.pt", log=tmp_path / "two.csv", hardware=hardware)
    module.main(settings)
    _together(module.__name__, two, tmp_path)
    (curve, alone), (other, together) = _result(settings), _result(two)
    np.testing.assert_allclose(curve.to_numpy(), other.to_numpy(), rtol=2e-3)
    assert alone.keys() == together.keys()
    for key, weights in alone.items():
        torch.testing.assert_close(together[key], weights, rtol=1e-3, atol=1e-4, msg=(key + ": {}").format)
