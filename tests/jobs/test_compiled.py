"""Compiled networks equal those that are not; a compiler that is missing or fails costs speed, not results."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ppl.jobs import compiled
from ppl.jobs.compiled import Compilation, compile_inference, compile_training

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget_compiled() -> None:
    """Forget what other tests have compiled."""
    torch._dynamo.reset()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU6(), nn.Conv2d(4, 2, 3, padding=1))


def gradients(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return output and gradients of the squared output."""
    model.zero_grad()
    out = model(images)
    out.square().mean().backward()
    return {"out": out.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}}


def assert_close(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(ours[name], values, rtol=1e-5, atol=1e-6, msg=f"{name}: {{}}".format)


def messages(capsys: pytest.CaptureFixture) -> list[str]:
    """Return the messages about compilation without times; torch adds its own."""
    lines = [line.split(" in ")[0] for line in capsys.readouterr().err.splitlines()]
    return [line for line in lines if line.startswith(("compiled", "warning: "))]


@pytest.mark.compiler
def test_a_compiled_training_step_has_the_gradients_and_names_of_the_network(capsys: pytest.CaptureFixture) -> None:
    model, plain, images = network(), network(), torch.randn(2, 3, 12, 12)
    compilation = compile_training(model, CPU, "always", steps=1)
    assert_close(compilation.run(lambda: gradients(model, images)), gradients(plain, images))
    assert model.state_dict().keys() == plain.state_dict().keys()
    compilation.run(lambda: gradients(model, images))
    assert messages(capsys) == ["compiled"]
    with compilation.paused():
        torch.testing.assert_close(model(images), plain(images), rtol=0, atol=0)


@pytest.mark.compiler
def test_one_compilation_serves_photos_of_all_sizes() -> None:
    model, plain, calls = network().eval(), network().eval(), []
    compilation = compile_inference(model, CPU, "always", photos=1)
    torch.compiler.set_stance("default")
    with torch.inference_mode():
        for size in ((2, 12, 15), (3, 17, 12), (2, 9, 30)):
            images = torch.randn(size[0], 3, *size[1:])
            calls.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
            ours = compilation.run(lambda images=images: model(images))
            torch.testing.assert_close(ours, plain(images), rtol=1e-5, atol=1e-6)
    assert calls[1:] == [calls[0] + 1] * 2


@pytest.mark.parametrize(("compile_", "least"), [
    (compile_training, compiled.LONG_TRAINING), (compile_inference, compiled.MANY_PHOTOS),
])  # fmt: skip
def test_auto_compiles_what_takes_long_on_a_gpu(
    compile_: Callable, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "why_not", lambda _: None)
    wanted = {
        (device, setting, amount): bool(compile_(network(), torch.device(device), setting, amount).parts)
        for device in ("cpu", "cuda")
        for setting in ("never", "auto", "always")
        for amount in (least - 1, least)
    }
    assert {key for key, compiles in wanted.items() if compiles} == {
        ("cuda", "auto", least), *((device, "always", n) for device in ("cpu", "cuda") for n in (least - 1, least))
    }  # fmt: skip


def test_stages_of_a_backbone_are_compiled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "why_not", lambda _: None)
    backbone = nn.Module()
    backbone.stages = nn.ModuleList([network(), network()])
    assert compile_inference(backbone, CPU, "always", photos=1).parts == [*backbone.stages]


def test_without_a_compiler_the_network_computes_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert compile_training(network(), CPU, "always", steps=1).parts == []
    assert capsys.readouterr().err == (
        "warning: hardware.compile: no compiler g++ is installed (on Debian and Ubuntu: apt-get install g++); "
        "continuing without compilation\n"
    )


@pytest.mark.parametrize("fails", ["forward", "backward"])
def test_a_compiler_that_fails_is_a_warning_and_the_network_computes_as_it_is(
    fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def backend(module: torch.fx.GraphModule, _: Any) -> Callable:
        if fails == "forward":
            raise OSError("no space left")

        def run(*inputs: torch.Tensor) -> Any:
            outputs = module(*inputs)
            outputs[0].register_hook(fail)
            return outputs

        return run

    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr(compiled, "BACKEND", backend)
    model, images = network(), torch.randn(2, 3, 12, 12)
    compilation = Compilation([model])
    for _ in range(2):
        assert_close(compilation.run(lambda: gradients(model, images)), gradients(network(), images))
    (message,) = messages(capsys)
    assert message.startswith("warning: hardware.compile: ")
    assert "no space left" in message
    assert message.endswith("; continuing without compilation")


def test_one_of_several_processes_repeats_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would wait for its gradients."""

    def backend(*_: Any) -> Callable:
        raise OSError("no space left")

    monkeypatch.setattr(compiled, "BACKEND", backend)
    monkeypatch.setattr(compiled, "why_not", lambda _: None)
    model, images = network(), torch.randn(2, 3, 12, 12)
    compilation = compile_training(model, CPU, "always", steps=1, alone=False)
    with pytest.raises(RuntimeError, match="no space left"):
        compilation.run(lambda: gradients(model, images))


def test_an_error_of_the_function_itself_is_raised() -> None:
    def fail() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        Compilation([network()]).run(fail)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_steps_with_cuda_graphs_equal_those_without(precision: torch.dtype) -> None:
    """Several, as the first ones are recorded; weights change between them."""
    device, trained = torch.device("cuda"), []
    batches = torch.randn(6, 4, 3, 32, 32, device=device)
    for setting in ("never", "always"):
        model = network().to(device)
        compilation = compile_training(model, device, setting, steps=1)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for images in batches:

            def step(model: nn.Module = model, sgd: Any = sgd, images: torch.Tensor = images) -> None:
                sgd.zero_grad(set_to_none=True)
                with torch.autocast("cuda", precision, enabled=precision != torch.float32):
                    out = model(images)
                out.float().square().mean().backward()

            compilation.run(step)
            sgd.step()
            sgd.zero_grad(set_to_none=True)
        assert bool(compilation.parts) == (setting == "always")  # no fallback
        trained.append({name: values.detach().cpu() for name, values in model.state_dict().items()})
    tolerance = 1e-4 if precision == torch.float32 else 1e-2
    for name, values in trained[0].items():
        torch.testing.assert_close(trained[1][name], values, rtol=tolerance, atol=tolerance)
