"""Operations that roofline.py counts are those that a step starts; bounds follow from them."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def roofline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, which is in no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("roofline")


def test_bytes_and_floating_point_operations_of_single_operations(roofline: ModuleType) -> None:
    a, b = torch.rand(3, 4), torch.rand(4, 5)
    assert roofline.count(lambda: a.t().t() @ b) == [("mm", 2 * 3 * 4 * 5, 4 * (12 + 20 + 15))]
    assert roofline.count(lambda: a[:, :1].expand(3, 4).exp()) == [("exp", 0, 4 * (3 + 12))]
    assert roofline.count(lambda: a.flatten().unfold(0, 6, 1).exp()) == [("exp", 0, 4 * (12 + 42))]
    assert roofline.count(lambda: torch.empty(3, 4).copy_(a)) == [("copy_", 0, 4 * (12 + 12))]
    assert roofline.count(lambda: torch._foreach_mul_([a, b], 2)) == [("_foreach_mul_", 0, 2 * 4 * (12 + 20))]
    assert roofline.count(lambda: a.sum().item()) == [("sum", 0, 4 * (12 + 1))]
    with torch.inference_mode():
        x = torch.rand(1, 1, 4, 4)
        (resized,) = roofline.count(lambda: nn.functional.interpolate(x, (8, 8), mode="bilinear"))
    assert resized == ("upsample_bilinear2d", 0, 4 * (16 + 64))


def test_a_training_step_without_memory_has_the_operations_of_one_with_values(roofline: ModuleType) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
    images, cpu = torch.rand(2, 3, 8, 8), torch.device("cpu")
    rates = roofline.rates
    step = rates._training(network, lambda: network(images).mean(), cpu, rates.UNCOMPILED)
    step()
    with FlopCounterMode(display=False) as counter:
        operations = roofline.count(step)
    assert sum(operation.flops for operation in operations) == counter.get_total_flops() > 0
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert roofline.count(step) == operations


def test_bounds_of_a_step(roofline: ModuleType) -> None:
    step = roofline.rates.Step("train", "device", 4, lambda: None)
    operations = [
        roofline.Operation("mm", flops=8_000_000_000, bytes=1_000_000_000),  # 8 and 1 ms
        roofline.Operation("mm", flops=1_000_000_000, bytes=2_000_000_000),  # 1 and 2 ms
        roofline.Operation("relu", flops=0, bytes=500_000_000),
    ]
    row = roofline.bounds(step, operations, roofline.Settings(tflops=1, tb_per_s=1, launch_us=1000))
    assert (row["arithmetic ms"], row["memory ms"], row["launches ms"]) == (9, 3.5, 3)
    assert (row["graph ms"], row["fused ms"], row["limited by"]) == (10.5, 10, "arithmetic")


def test_the_first_step_of_rates_is_counted(roofline: ModuleType) -> None:
    step, operations = next(roofline.counted_steps(paper=False))
    assert step.name == "train baseline/plain"
    assert sum(operation.flops for operation in operations) == pytest.approx(2 * 0.154e12, rel=0.01)
