import contextlib
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset

from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError
from ppl.training import loop as engine
from ppl.training.loop import Schedule, StepSampler

schedules = st.builds(
    Schedule,
    steps=st.integers(1, 12),
    epoch_steps=st.integers(1, 5),
    batch_size=st.integers(1, 6),
    power=st.just(0.9),
    seed=st.integers(0, 2**20),
)


def _fitting(length: int, schedule: Schedule) -> Schedule:
    return replace(schedule, epoch_steps=max(1, length // schedule.batch_size))


@given(st.integers(1, 20), schedules, st.integers(0, 12))
def test_a_step_is_the_same_wherever_the_loop_starts(length: int, schedule: Schedule, start: int) -> None:
    schedule = _fitting(length, schedule)
    start = min(start, schedule.steps)
    sampler = StepSampler(length, schedule, start=start)
    assert list(sampler) == list(StepSampler(length, schedule))[start:]
    assert len(sampler) == schedule.steps - start


@given(st.integers(1, 20), schedules, st.integers(1, 4))
def test_processes_share_the_global_batch(length: int, schedule: Schedule, world: int) -> None:
    schedule = _fitting(length, schedule)
    ranks = [list(StepSampler(length, schedule, rank=rank, world=world)) for rank in range(world)]
    for batch, *shares in zip(StepSampler(length, schedule), *ranks, strict=True):
        assert sorted(sample for share in shares for sample in share) == sorted(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 5), st.integers(0, 99))
def test_an_epoch_is_a_permutation_without_its_rest(batch: int, steps: int, rest: int, seed: int) -> None:
    length = batch * steps + rest % batch
    sampled = list(StepSampler(length, Schedule(3 * steps, steps, batch, 0.9, seed)))
    for epoch in range(3):
        indices = [index for b in sampled[epoch * steps : (epoch + 1) * steps] for index, _ in b]
        assert len(set(indices)) == len(indices) == batch * steps
        assert set(indices) <= set(range(length))
    seeds = [sample_seed for b in sampled for _, sample_seed in b]
    assert len(set(seeds)) == len(seeds)


def test_epochs_and_seeds_differ_in_order() -> None:
    def order(seed: int) -> list[int]:
        return [index for batch in StepSampler(30, Schedule(2, 1, 30, 0.9, seed)) for index, _ in batch]

    assert order(0)[:30] != order(0)[30:]
    assert order(0) != order(1)


@given(st.integers(1, 5), st.integers(0, 5))
def test_a_set_smaller_than_the_batch_is_repeated(length: int, more: int) -> None:
    (batch,) = StepSampler(length, Schedule(1, 1, length + more, 0.9, 0))
    counts = [sum(index == i for index, _ in batch) for i in range(length)]
    assert sum(counts) == length + more
    assert max(counts) - min(counts) <= 1


class _Numbers(Dataset):
    """One-pixel images; image and target depend on index and seed."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, sample: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = sample
        image = torch.tensor([index, seed % 7, 1.0]).reshape(3, 1, 1)
        return image, image.sum()


def _error(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return (network(images).flatten() - targets).square().mean() / 100


def _train(
    folder: Path, *, steps: int = 7, digest: str = "a", lr: float = 0.1, loss: Callable = _error, measure=None
) -> nn.Module:
    fabric = engine.launch(Hardware(devices=0, workers=0, precision="32-true"), seed=3)
    network = nn.Conv2d(3, 1, 1)
    groups = [{"params": list(network.parameters()), "lr": lr, "weight_decay": 1e-4}]
    engine.train(
        fabric, network, engine.sgd(groups, momentum=0.9), _Numbers(), loss, Schedule(steps, 3, 2, 0.9, seed=3),
        name="test", resume=folder / "run.resume", digest=digest, log=folder / "run.csv", workers=0, measure=measure,
    )  # fmt: skip
    return network


def _interrupted(at: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """The loss, with SIGTERM arriving in step `at`."""
    calls = []

    def loss(*arguments: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGTERM)
        return _error(*arguments)

    return loss


def test_the_log_has_a_row_per_epoch_and_the_poly_rate(tmp_path: Path) -> None:
    def measure(network: nn.Module) -> dict[str, float]:
        assert not network.training
        assert not torch.is_grad_enabled()
        return {"bias": network.bias.item()}

    network = _train(tmp_path, measure=measure)
    log = pd.read_csv(tmp_path / "run.csv")
    assert log["epoch"].tolist() == [1, 2, 3]
    assert log["step"].tolist() == [3, 6, 7]
    assert log["rate"].tolist() == pytest.approx([(1 - step / 7) ** 0.9 for step in (2, 5, 6)], rel=1e-5)
    assert log["bias"].iloc[-1] == pytest.approx(network.bias.item(), rel=1e-5)
    assert network.training


def test_the_logged_loss_is_the_mean_of_the_epoch(tmp_path: Path) -> None:
    values = []

    def loss(*arguments: Tensor) -> Tensor:
        values.append(_error(*arguments))
        return values[-1]

    _train(tmp_path, loss=loss)
    means = [sum(v.item() for v in epoch) / len(epoch) for epoch in (values[:3], values[3:6], values[6:])]
    assert pd.read_csv(tmp_path / "run.csv")["loss"].tolist() == pytest.approx(means, rel=1e-5)


@pytest.mark.parametrize("at", [1, 3, 5, 7])
def test_sigterm_keeps_the_state_and_the_run_goes_on_to_the_same_weights(
    tmp_path: Path, at: int, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = _train(tmp_path / "whole")
    with pytest.raises(SystemExit) as stopped:
        _train(tmp_path / "broken", loss=_interrupted(at))
    assert stopped.value.code == 128 + signal.SIGTERM
    capsys.readouterr()
    resumed = _train(tmp_path / "broken")
    assert f"going on from step {at} of {tmp_path}/broken/run.resume" in capsys.readouterr().err
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)
    logs = [pd.read_csv(tmp_path / name / "run.csv").drop(columns="seconds") for name in ("whole", "broken")]
    pd.testing.assert_frame_equal(*logs)


def test_a_state_of_other_settings_is_ignored_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with contextlib.suppress(SystemExit):
        _train(tmp_path, loss=_interrupted(4))
    _train(tmp_path, digest="b")
    assert f"{tmp_path}/run.resume belongs to other settings or inputs: starting over" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "run.csv")["step"].tolist() == [3, 6, 7]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_state_of_a_gpu_is_read_to_the_cpu(tmp_path: Path) -> None:
    state = {"network": {"w": torch.ones(2, device="cuda")}, "optimizer": {}, "digest": "a", "progress": {"step": 1}}
    torch.save(state, tmp_path / "run.resume")
    assert engine._load(tmp_path / "run.resume")["network"]["w"].device.type == "cpu"


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.resume").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"run.resume: not a readable training state .*delete it") as refused:
        _train(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_batch_divides_by_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.Fabric, "world_size", 3)
    with pytest.raises(UserError, match="batch_size 2 does not divide by the 3 GPUs"):
        _train(tmp_path)


def _spoilt(at: int, how: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """The loss, changed by `how` in step `at`."""
    calls = []

    def loss(*arguments: Tensor) -> Tensor:
        calls.append(1)
        value = _error(*arguments)
        return how(value) if len(calls) == at else value

    return loss


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_stops_at_its_step(tmp_path: Path, value: str) -> None:
    loss = _spoilt(2, lambda right: right * float(value))
    with pytest.raises(
        UserError,
        match=rf"run.pt: the loss is {value} at step 2 of 7 \(learning rate 0.087.*no state was kept yet.*lower lr",
    ) as stopped:
        _train(tmp_path, loss=loss)
    assert "\n" not in str(stopped.value)
    assert not list(tmp_path.glob("run.[rc]*"))


def test_a_diverging_loss_stops_while_it_is_a_number(tmp_path: Path) -> None:
    loss = _spoilt(5, lambda right: right + 1e3)
    with pytest.raises(UserError, match=r"training diverges: the loss is 1\d{3}.* at step 5 .*state, of step 3, is"):
        _train(tmp_path, loss=loss)


def test_a_loss_may_rise_from_a_small_one(tmp_path: Path) -> None:
    """A network that goes on from an earlier one starts low, and then knows nothing about its new layers."""
    _train(tmp_path, loss=_spoilt(1, lambda right: right * 1e-6))


def test_the_last_good_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step 4 .*the last good state, of step 3, is .*run.resume"):
        _train(tmp_path, loss=_spoilt(4, lambda right: right * float("nan")))
    assert torch.load(tmp_path / "run.resume", weights_only=True)["progress"]["step"] == 3


@pytest.mark.parametrize("at", [3, 7], ids=["epoch", "end"])
def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path, at: int) -> None:
    """The loss of a step is that of the weights before its update."""

    class Spoilt(torch.autograd.Function):
        @staticmethod
        def forward(_, value: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def backward(_, gradient: Tensor) -> Tensor:
            return gradient * float("nan")

    with pytest.raises(UserError, match=rf"run.pt: the weights .*weight are not finite at step {at} of 7"):
        _train(tmp_path, loss=_spoilt(at, Spoilt.apply))
    kept = torch.load(tmp_path / "run.resume", weights_only=True)["progress"]["step"] if at > 3 else 0
    assert kept == (6 if at > 3 else 0)


@pytest.mark.parametrize("signalled", [True, False], ids=["sigterm", "crash"])
def test_an_epoch_is_kept_before_it_is_measured(tmp_path: Path, signalled: bool) -> None:
    measured = []

    def measure(_: nn.Module) -> dict[str, float]:
        measured.append(1)
        if len(measured) == 2:
            signal.raise_signal(signal.SIGTERM) if signalled else 1 / 0
        return {"size": 1.0}

    with pytest.raises(SystemExit if signalled else ZeroDivisionError):
        _train(tmp_path, measure=measure)
    trained = []
    _train(tmp_path, measure=lambda _: {"size": 1.0}, loss=lambda *given: trained.append(1) or _error(*given))
    assert len(trained) == 1  # the third epoch, of one step
    assert pd.read_csv(tmp_path / "run.csv")["step"].tolist() == [3, 6, 7]


def test_parameters_without_gradient_and_empty_groups_are_left_out() -> None:
    frozen, trained = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)
    groups = [
        {"params": list(frozen.parameters()), "lr": 1.0, "weight_decay": 0.1},
        {"params": [*frozen.parameters(), *trained.parameters()], "lr": 2.0, "weight_decay": 0.2},
    ]
    for optimizer in (engine.sgd(groups, momentum=0.9), engine.adamw(groups)):
        (group,) = optimizer.param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in trained.parameters()]
        assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (2.0, 2.0, 0.2)
