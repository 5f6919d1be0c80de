"""The training loop: schedule, resuming, logs, divergence."""

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset

from ppl.jobs import compiled
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.training import state
from ppl.training.launch import Fabric, launch
from ppl.training.loop import train
from ppl.training.optimizers import optimizer
from ppl.training.schedule import Schedule, StepSampler
from ppl.training.settings import Training


@st.composite
def schedules(draw: st.DrawFn) -> tuple[int, Schedule]:
    """Draw a number of samples and a schedule over them."""
    length, batch_size = draw(st.integers(1, 20)), draw(st.integers(1, 6))
    steps, seed = draw(st.integers(1, 12)), draw(st.integers(0, 2**20))
    return length, Schedule(steps, max(1, length // batch_size), batch_size, 0.9, seed)


@given(schedules(), st.integers(0, 12))
def test_a_step_is_the_same_wherever_the_loop_starts(case: tuple[int, Schedule], start: int) -> None:
    length, schedule = case
    start = min(start, schedule.steps)
    sampler = StepSampler(length, schedule, start=start)
    assert list(sampler) == list(StepSampler(length, schedule))[start:]
    assert len(sampler) == schedule.steps - start


@given(schedules(), st.integers(1, 4))
def test_processes_share_the_global_batch(case: tuple[int, Schedule], world: int) -> None:
    length, schedule = case
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


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 5))
def test_a_schedule_has_whole_epochs_or_a_number_of_steps(length: int, batch_size: int, count: int) -> None:
    training = Training(batch_size=batch_size, lr=0.1, weight_decay=0, crop=32, poly_power=0.5)
    whole = Schedule.of(training, length, 3, epochs=count)
    assert whole == Schedule(count * max(1, length // batch_size), max(1, length // batch_size), batch_size, 0.5, 3)
    assert Schedule.of(training, length, 3, steps=count) == Schedule(count, whole.epoch_steps, batch_size, 0.5, 3)


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


class Numbers(Dataset):
    """One-pixel images; image and target depend on index and seed."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, sample: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = sample
        image = torch.tensor([index, seed % 7, 1.0]).reshape(3, 1, 1)
        return image, image.sum()

    def normalise(self, images: Tensor, device: torch.device) -> Tensor:
        return images.to(device)


def squared_error(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return (network(images).flatten() - targets).square().mean() / 100


def run(
    folder: Path, *, steps: int = 7, digest: str = "a", loss: Callable = squared_error, measure=None, compile="never"
) -> nn.Module:
    folder.mkdir(exist_ok=True)
    fabric = launch(Hardware(gpu=0, precision="32-true"), random_seed=3)
    network = nn.Conv2d(3, 1, 1)
    sgd = optimizer("sgd", [{"params": list(network.parameters()), "lr": 0.1, "weight_decay": 1e-4}], momentum=0.9)
    train(
        fabric, network, sgd, Numbers(), loss, Schedule(steps, 3, 2, 0.9, seed=3), name="test",
        resume=folder / "run.resume", digest=digest, log=folder / "run.csv", workers=0, measure=measure,
        compile=compile,
    )  # fmt: skip
    return network


def changed_at(step: int, change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """The loss, changed in one step."""
    calls = []

    def loss(*arguments: Tensor) -> Tensor:
        calls.append(1)
        value = squared_error(*arguments)
        return change(value) if len(calls) == step else value

    return loss


def sigterm_at(step: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """The loss, with SIGTERM arriving in one step."""
    return changed_at(step, lambda value: signal.raise_signal(signal.SIGTERM) or value)


def saved_step(folder: Path) -> int:
    """Return the step of the resumable state, 0 without one."""
    path = folder / "run.resume"
    return torch.load(path, weights_only=True)["progress"]["step"] if path.exists() else 0


def test_the_log_has_a_row_per_epoch_with_rate_loss_and_measures(tmp_path: Path) -> None:
    values = []

    def measure(network: nn.Module, by_threads: bool) -> dict[str, float]:
        assert not network.training
        assert not torch.is_grad_enabled()
        assert by_threads
        return {"bias": network.bias.item()}

    network = run(tmp_path, loss=lambda *args: values.append(squared_error(*args)) or values[-1], measure=measure)
    log = pd.read_csv(tmp_path / "run.csv")
    assert log["epoch"].tolist() == [1, 2, 3]
    assert log["step"].tolist() == [3, 6, 7]
    assert log["rate"].tolist() == pytest.approx([(1 - step / 7) ** 0.9 for step in (2, 5, 6)], rel=1e-5)
    means = [sum(v.item() for v in epoch) / len(epoch) for epoch in (values[:3], values[3:6], values[6:])]
    assert log["loss"].tolist() == pytest.approx(means, rel=1e-5)
    assert log["bias"].iloc[-1] == pytest.approx(network.bias.item(), rel=1e-5)
    assert network.training


@pytest.mark.parametrize("at", [1, 3, 5, 7])
def test_sigterm_saves_the_state_and_the_run_resumes_to_the_same_weights(
    tmp_path: Path, at: int, capsys: pytest.CaptureFixture
) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "broken", loss=sigterm_at(at))
    assert stopped.value.code == 128 + signal.SIGTERM
    capsys.readouterr()
    resumed = run(tmp_path / "broken")
    assert f"resuming from step {at} of {tmp_path}/broken/run.resume" in capsys.readouterr().err
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)
    logs = [pd.read_csv(tmp_path / name / "run.csv").drop(columns="seconds") for name in ("whole", "broken")]
    pd.testing.assert_frame_equal(*logs)


def test_a_compiled_training_has_the_weights_and_states_of_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it was interrupted and resumes without compilation; only training batches are compiled."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "why_not", lambda _: None)
    monkeypatch.setattr(compiled, "BACKEND", backend)

    threaded: list[bool] = []

    def measure(network: nn.Module, by_threads: bool) -> dict[str, float]:
        threaded.append(by_threads)
        return {"mean": network(torch.ones(5, 3, 4, 4)).mean().item()}

    plain = run(tmp_path / "plain", measure=measure)
    assert all(threaded)
    threaded.clear()
    whole = run(tmp_path / "whole", measure=measure, compile="always")
    assert not any(threaded)
    assert len(graphs) == 1
    with pytest.raises(SystemExit):
        run(tmp_path / "broken", measure=measure, compile="always", loss=sigterm_at(4))
    resumed = run(tmp_path / "broken", measure=measure)
    assert plain.state_dict().keys() == whole.state_dict().keys()
    for key, weights in plain.state_dict().items():
        torch.testing.assert_close(whole.state_dict()[key], weights, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(resumed.state_dict()[key], weights, rtol=1e-5, atol=1e-7)


def test_a_state_of_other_settings_is_ignored_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with contextlib.suppress(SystemExit):
        run(tmp_path, loss=sigterm_at(4))
    run(tmp_path, digest="b")
    assert f"{tmp_path}/run.resume belongs to other settings or inputs: starting over" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "run.csv")["step"].tolist() == [3, 6, 7]


@pytest.mark.gpu
def test_a_state_of_a_gpu_is_read_to_the_cpu(tmp_path: Path) -> None:
    content = {"network": {"w": torch.ones(2, device="cuda")}, "optimizer": {}, "digest": "a", "progress": {"step": 1}}
    torch.save(content, tmp_path / "run.resume")
    assert state.load(tmp_path / "run.resume")["network"]["w"].device.type == "cpu"


@pytest.mark.parametrize("write", [lambda path: path.write_bytes(b"text"), lambda path: torch.save([1], path)])
def test_a_file_that_is_not_a_state_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "run.resume")
    with pytest.raises(UserError, match=r"run.resume: not a .*training state.*delete it") as refused:
        run(tmp_path)
    assert "\n" not in str(refused.value)


def test_the_batch_size_must_be_a_multiple_of_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fabric, "world_size", 3)
    with pytest.raises(UserError, match="batch_size: 2 is not divisible by the 3 GPUs"):
        run(tmp_path)


@pytest.mark.parametrize(("at", "change", "message", "resumable"), [
    (2, lambda v: v * float("nan"), r"the loss is nan at step 2 of 7 \(learning rate 0.087.*no resumable", 0),
    (2, lambda v: v * float("inf"), r"the loss is inf at step 2 of 7 .*smaller lr", 0),
    (4, lambda v: v * float("nan"), r"at step 4 .*the last good state, of step 3, is .*run.resume", 3),
    (5, lambda v: v + 1e3, r"training diverges: the loss is 1\d{3}.* at step 5 .*state, of step 3, is", 3),
], ids=["nan", "inf", "nan after an epoch", "diverging"])  # fmt: skip
def test_a_loss_that_is_not_finite_or_explodes_stops_at_its_step(
    tmp_path: Path, at: int, change: Callable, message: str, resumable: int
) -> None:
    with pytest.raises(UserError, match=f"run.pt: .*{message}") as stopped:
        run(tmp_path, loss=changed_at(at, change))
    assert "\n" not in str(stopped.value)
    assert saved_step(tmp_path) == resumable
    assert resumable or not list(tmp_path.glob("run.[rc]*"))


def test_a_loss_may_rise_from_a_small_one(tmp_path: Path) -> None:
    """A training that starts from an earlier network starts low, before its new layers take part."""
    run(tmp_path, loss=changed_at(1, lambda value: value * 1e-6))


@pytest.mark.parametrize("at", [3, 7], ids=["epoch", "end"])
def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, at: int) -> None:
    """The loss of a step is that of the weights before its update."""

    def spoil_gradient(loss: Tensor) -> Tensor:
        loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    with pytest.raises(UserError, match=rf"run.pt: the weights .*weight are not finite at step {at} of 7"):
        run(tmp_path, loss=changed_at(at, spoil_gradient))
    assert saved_step(tmp_path) == (6 if at > 3 else 0)


@pytest.mark.parametrize("signalled", [True, False], ids=["sigterm", "crash"])
def test_an_epoch_is_saved_before_it_is_measured(tmp_path: Path, signalled: bool) -> None:
    measured, trained = [], []

    def measure(*_: object) -> dict[str, float]:
        measured.append(1)
        if len(measured) == 2:
            signal.raise_signal(signal.SIGTERM) if signalled else 1 / 0
        return {"size": 1.0}

    with pytest.raises(SystemExit if signalled else ZeroDivisionError):
        run(tmp_path, measure=measure)
    run(tmp_path, measure=lambda *_: {"size": 1.0}, loss=lambda *args: trained.append(1) or squared_error(*args))
    assert len(trained) == 1  # the third epoch, of one step
    assert pd.read_csv(tmp_path / "run.csv")["step"].tolist() == [3, 6, 7]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimisers_leave_out_parameters_without_gradient_and_empty_groups(name: str) -> None:
    frozen, trained = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)
    unused = {"params": list(frozen.parameters()), "lr": 1.0, "weight_decay": 0.1}
    used = {"params": [*frozen.parameters(), *trained.parameters()], "lr": 2.0, "weight_decay": 0.2}
    (group,) = optimizer(name, [unused, used]).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in trained.parameters()]
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (2.0, 2.0, 0.2)
