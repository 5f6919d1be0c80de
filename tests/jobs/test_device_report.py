"""The first line of a job names its device, and a missing GPU is a warning or an error with torch's reason."""

import sys

import pytest
import torch

from ppl.jobs import device_report
from ppl.jobs.device_report import report_device, why_no_gpu
from ppl.jobs.errors import UserError
from ppl.jobs.settings import REQUIRE_GPU, Devices


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without a GPU and with a CUDA build of torch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device_report, "why_no_gpu", lambda: "no driver")
    for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", REQUIRE_GPU):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def with_gpus(machine: pytest.MonkeyPatch, count: int, *, bfloat16: bool = True) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: count)
    machine.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    machine.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16 or including_emulation)


@pytest.mark.parametrize(("hardware", "present", "line"), [
    (Devices(gpu=0, precision="32-true"), 0, "on cpu, 32-true"),
    (Devices(gpu=0), 4, "on cpu, bf16-mixed"),
    (Devices(gpu=1), 1, "on cuda:0 (NVIDIA H100), bf16-mixed"),
    (Devices(gpu=2), 2, "on cuda:0, cuda:1 (NVIDIA H100), bf16-mixed"),
    (Devices(gpu=1), 4, "on 1 of 4 GPUs (NVIDIA H100), bf16-mixed"),
])  # fmt: skip
def test_one_line_names_device_and_precision(machine, capsys, hardware, present, line) -> None:
    if present:
        with_gpus(machine, present)
    report_device(hardware, hardware.gpu)
    assert capsys.readouterr().err == f"{line}\n"


def test_gpus_assigned_by_a_cluster_are_named(machine, capsys) -> None:
    with_gpus(machine, 4)
    machine.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    report_device(Devices(gpu=2), 2)
    assert capsys.readouterr().err.startswith("on cuda:0, cuda:1 (NVIDIA H100)")


def test_a_requested_gpu_that_is_not_visible_is_a_warning_with_the_reason(capsys) -> None:
    report_device(Devices(gpu=1), 1)
    device, warning = capsys.readouterr().err.splitlines()
    assert device == "on cpu, bf16-mixed"
    assert warning == "warning: hardware.gpu: 1 GPU requested, none visible: no driver; running on the CPU"


def test_a_gpu_that_only_emulates_bfloat16_is_a_warning(machine, capsys) -> None:
    with_gpus(machine, 1, bfloat16=False)
    report_device(Devices(gpu=1, precision="16-mixed"), 1)
    assert "warning" not in capsys.readouterr().err
    report_device(Devices(gpu=1), 1)
    assert "warning: hardware.precision: NVIDIA H100 only emulates bfloat16" in capsys.readouterr().err


def test_only_the_first_process_of_a_data_parallel_training_reports(machine, capsys) -> None:
    machine.setenv("LOCAL_RANK", "1")
    report_device(Devices(gpu=2), 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("names", "out", "fails"), [
    ("mine", "results/mine/baseline/plain/classifier.pt", True),
    ("other mine", "prefix/results/mine/baseline/plain/classifier.pt", True),
    ("mine", "results/mine-seed1/baseline/plain/classifier.pt", False),
    ("baseline", "results/mine/baseline/plain/classifier.pt", False),
    ("", "results/mine/baseline/plain/classifier.pt", False),
])  # fmt: skip
def test_a_job_of_an_experiment_that_requires_a_gpu_fails_without_one(machine, names, out, fails) -> None:
    machine.setenv(REQUIRE_GPU, names)
    machine.setattr(sys, "argv", ["train", "--data", "results/mine/data", "--out", out])
    report_device(Devices(gpu=0), 0)
    if not fails:
        report_device(Devices(gpu=1), 1)
        return
    with pytest.raises(UserError, match=r"hardware\.require_gpu: 1 GPU requested, none visible: no driver; correct"):
        report_device(Devices(gpu=1), 1)


def fails_with(message: str, kind: type[Exception] = RuntimeError):
    def init() -> None:
        raise kind(message)

    return init


@pytest.mark.parametrize(("visible", "message", "reason"), [
    (None, "Found no NVIDIA driver on your system. Please check that", "Found no NVIDIA driver on your system"),
    (None, "The NVIDIA driver on your system is too old (found version 11040). Please update",
     "The NVIDIA driver on your system is too old (found version 11040)"),
    ("7", "No CUDA GPUs are available", "No CUDA GPUs are available (CUDA_VISIBLE_DEVICES=7)"),
    ("", "", "CUDA_VISIBLE_DEVICES='' hides all GPUs"),
    ("-1", "", "CUDA_VISIBLE_DEVICES=-1 hides all GPUs"),
])  # fmt: skip
def test_the_reason_is_that_of_torch_or_of_the_environment(machine, visible, message, reason) -> None:
    machine.setattr(torch.cuda, "init", fails_with(message))
    if visible is not None:
        machine.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert why_no_gpu() == reason


def test_a_build_without_cuda_is_the_reason(machine) -> None:
    machine.setattr(torch.version, "cuda", None)
    machine.setattr(torch.version, "hip", None)
    assert "is a build without CUDA" in why_no_gpu()
