import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from ppl.jobs import devices
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware, Precision


def test_a_lock_has_one_holder_and_ends_with_its_process() -> None:
    name = f"ppl-test-{os.getpid()}"
    lock = devices._try_lock(name)
    assert lock is not None
    assert devices._try_lock(name) is None
    lock.close()
    code = f"from ppl.jobs.devices import _try_lock; lock = _try_lock({name!r}); print(bool(lock), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"True\n"
        assert devices._try_lock(name) is None
        other.kill()
    again = devices._try_lock(name)
    assert again is not None
    again.close()


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Three visible GPUs and no lock on any."""
    locks = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    suffix, lock = f"-{os.getpid()}", devices._try_lock
    monkeypatch.setattr(devices, "_try_lock", lambda name: lock(name + suffix))  # apart from real jobs
    monkeypatch.setattr(devices, "_GPU_LOCKS", locks)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(devices.CLAIMED, "")  # restored afterwards, whatever a test claims
    yield monkeypatch
    for lock in locks:
        lock.close()


def test_jobs_claim_different_gpus(gpus: pytest.MonkeyPatch) -> None:
    assert [devices.claim_gpus(count) for count in (1, 2, 2)] == [[0], [1, 2], [1, 2]]
    # The last is a process of the same training, started by the second, which holds the locks.


def test_a_job_that_waits_for_several_gpus_holds_none(gpus: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    others = [devices._try_lock(f"ppl-gpu-{index}") for index in (0, 2)]
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        free = devices._try_lock("ppl-gpu-1")
        assert free is not None
        free.close()
        others[len(waited) - 1].close()

    gpus.setattr(devices.time, "sleep", wait)
    assert devices.claim_gpus(2) == [0, 1]
    assert len(waited) == 1
    assert capsys.readouterr().err == "waiting for 2 of 3 GPUs, which other jobs hold\nclaimed cuda:0, cuda:1\n"
    others[1].close()


def test_gpus_assigned_by_a_cluster_are_not_claimed(gpus: pytest.MonkeyPatch) -> None:
    gpus.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    assert [devices.claim_gpus(1), devices.claim_gpus(1)] == [[0], [0]]


def test_more_gpus_than_visible_are_refused(gpus: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="4 GPUs requested, 3 visible"):
        devices.claim_gpus(4)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)]
)
def test_a_network_computes_in_the_requested_precision(precision: Precision, dtype: torch.dtype) -> None:
    device = devices.inference_device(Hardware(gpu=1 - torch.cuda.is_available(), precision=precision))
    assert device.type == "cpu"
    with devices.autocast(device, precision):
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_network_with_cast_weights_computes_the_same(precision: Precision) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1))
    images = torch.rand(2, 3, 9, 9)
    with torch.inference_mode(), devices.autocast(torch.device("cpu"), precision):
        expected = network(images)
        devices.cast_weights(network, precision)
        assert torch.equal(network(images), expected)
    assert {p.dtype for p in network.parameters()} == {devices.AUTOCAST.get(precision, torch.float32)}


@pytest.mark.parametrize("step", ["ppl.cam.export", "ppl.refine.walk_irnet", "ppl.segment.predict_split"])
def test_inference_does_not_import_what_only_trainings_need(step: str) -> None:
    slow = {"lightning_fabric", "torchmetrics", "torchvision", "pandas", "tensorboard"}
    code = f"import sys, {step}; print(*sorted({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
