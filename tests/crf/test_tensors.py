import numpy as np
import pytest
import torch

from ppl.crf import dense as crf
from ppl.crf.lattice import Lattice
from ppl.crf.settings import DEEPLAB, IRNET, Pairwise
from ppl.crf.solvers import choose
from ppl.crf.tensors import on_device
from ppl.jobs.settings import Hardware

needs_pydensecrf = pytest.mark.skipif(crf.dcrf is None, reason="pydensecrf2 is not installed")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def scene(seed: int, h: int = 45, w: int = 60) -> np.ndarray:
    """Bright blobs on a gradient, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    photo = np.stack([y * 3, x * 2, y + x], axis=-1).astype(float)
    for _ in range(3):
        centre, radius = rng.uniform((0, 0), (h, w)), rng.uniform(4, 12)
        photo[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] += rng.uniform(-90, 90, 3)
    return (photo + rng.normal(0, 6, photo.shape)).clip(0, 255).astype(np.uint8)


def probabilities(labels: int, photo: np.ndarray, seed: int) -> np.ndarray:
    rng, (h, w) = np.random.default_rng(seed), photo.shape[:2]
    coarse = torch.tensor(rng.normal(0, 2, (1, labels, h // 8 + 1, w // 8 + 1)), dtype=torch.float32)
    return torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear")[0].softmax(0).numpy()


@needs_pydensecrf
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("labels", "pairwise"), [(2, IRNET), (5, DEEPLAB), (21, DEEPLAB)])
def test_labels_are_those_of_pydensecrf(device: str, labels: int, pairwise: Pairwise) -> None:
    solver, differing, changed, pixels = on_device(torch.device(device)), 0, 0, 0
    for seed in range(4):
        photo = scene(seed)
        given = probabilities(labels, photo, seed)
        one = crf.from_probabilities(photo, given, keep=None, pairwise=pairwise)
        other = crf.from_probabilities(photo, given, keep=None, pairwise=pairwise, solver=solver)
        differing += int((one != other).sum())
        changed += int((one != given.argmax(0)).sum())
        pixels += one.size
    assert changed > pixels / 100  # the CRF has something to do
    assert differing <= pixels * 1e-4


@needs_pydensecrf
@pytest.mark.parametrize("device", DEVICES)
def test_hard_labels_and_shared_lattices_too(device: str) -> None:
    photo, rng = scene(5), np.random.default_rng(5)
    labellings = [np.where(rng.random(photo.shape[:2]) < share, 7, 0) for share in (0.3, 0.6)]
    ours = crf.from_labels(photo, labellings, [7], solver=on_device(torch.device(device)))
    np.testing.assert_array_equal(ours, crf.from_labels(photo, labellings, [7]))


@pytest.mark.parametrize("dimensions", [2, 5])
def test_a_lattice_filters_about_as_the_gaussian_does(dimensions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1500, dimensions, generator=generator) * 2
    values = torch.rand(1500, 3, generator=generator)
    kernel = torch.exp(-(torch.cdist(points, points) ** 2) / 2)
    norm = kernel.sum(1).rsqrt()
    exact = norm[:, None] * (kernel @ (norm[:, None] * values))
    filtered = Lattice(points).filter(values)
    assert (filtered - exact).abs().max() < 0.1 * exact.max()


def test_equal_points_share_a_value_far_ones_keep_theirs_and_too_far_ones_are_refused() -> None:
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [100.0, 3.0]])
    filtered = Lattice(points).filter(torch.tensor([[1.0], [3.0], [5.0]]))[:, 0]
    torch.testing.assert_close(filtered, torch.tensor([2.0, 2.0, 5.0]))
    with pytest.raises(ValueError, match="too far apart"):
        Lattice(torch.tensor([[0.0] * 5, [1e6] * 5]))


def test_half_precision_around_it_changes_nothing() -> None:
    photo, solver = scene(6), on_device(torch.device("cpu"))
    given = probabilities(3, photo, 6)
    alone = crf.from_probabilities(photo, given, solver=solver)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(alone, crf.from_probabilities(photo, given, solver=solver))


def test_a_gpu_replaces_the_worker_processes() -> None:
    cpu, gpu = (Hardware(crf=where, workers=3) for where in ("cpu", "gpu"))
    assert choose(cpu) == (crf.on_cpu, 3)
    assert choose(gpu, torch.device("cpu")) == (crf.on_cpu, 3)  # without a GPU the faster one on a CPU
    solver, workers = choose(gpu, torch.device("cuda"))
    assert solver is not crf.on_cpu
    assert workers == 0


@needs_pydensecrf
def test_without_pydensecrf_labels_are_the_same_and_the_job_says_what_it_lacks(monkeypatch, capsys) -> None:
    photo = scene(7)
    given = probabilities(4, photo, 7)
    expected = crf.from_probabilities(photo, given)
    choose(Hardware())
    assert capsys.readouterr().out == ""
    for module in ("dense", "solvers"):
        monkeypatch.setattr(f"ppl.crf.{module}.dcrf", None)
    assert (crf.from_probabilities(photo, given) != expected).mean() <= 1e-4
    assert choose(Hardware(workers=3)) == (crf.on_cpu, 3)
    assert capsys.readouterr().out.startswith("warning: pydensecrf2 is not installed")
