import numpy as np
import pytest
import torch

from ppl.crf import dense as crf
from ppl.crf.lattice import Lattice
from ppl.crf.settings import DEEPLAB, IRNET, Pairwise
from ppl.crf.solvers import PHOTOS_AT_ONCE, Execution, choose
from ppl.crf.tensors import groups, mean_field, on_device, pairwise_messages
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


SIZES = ((45, 60), (31, 50), (45, 60), (1, 1), (20, 9), (60, 45))


def several_problems(crfs: int) -> list[crf.Problem]:
    """Photos of several sizes and numbers of labels, one to six."""
    problems = []
    for i, size in enumerate(SIZES):
        photo = scene(i, *size)
        likely = [probabilities(1 + i, photo, seed) for seed in range(crfs)]
        problems.append(crf.problem_of_probabilities(photo, likely))
    return problems


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("crfs", "pairwise"), [(1, DEEPLAB), (2, IRNET)])
def test_photos_solved_at_once_have_the_labels_of_each_alone(device: str, crfs: int, pairwise: Pairwise) -> None:
    solver = on_device(torch.device(device))
    problems = several_problems(crfs)
    together = crf.solve(problems, pairwise=pairwise, solver=solver)
    for problem, labels in zip(problems, together, strict=True):
        (alone,) = crf.solve([problem], pairwise=pairwise, solver=solver)
        np.testing.assert_array_equal(labels, alone)
        assert len(alone) == crfs
    changed = [labels != problem.energies[0].argmin(0).reshape(labels.shape)
               for problem, (labels, *_) in zip(problems, together, strict=True)]  # fmt: skip
    assert np.concatenate([c.ravel() for c in changed]).mean() > 0.01  # the CRFs have something to do
    assert crf.solve([], solver=solver) == []


def test_beliefs_of_photos_at_once_are_those_of_each_alone_up_to_rounding() -> None:
    photos, generator = [scene(i, *size) for i, size in enumerate(SIZES)], torch.Generator().manual_seed(0)
    labels, pixels = [3, 2, 5, 2, 4, 3], [h * w for h, w in SIZES]
    unary = [2 * torch.randn(n, 2, count, generator=generator) for n, count in zip(pixels, labels, strict=True)]
    colours = [torch.from_numpy(photo.reshape(-1, 3)) for photo in photos]
    padded = torch.cat([torch.nn.functional.pad(u, (0, 5 - u.shape[-1]), value=torch.inf) for u in unary])
    together = mean_field(padded, pairwise_messages(torch.cat(colours), SIZES, DEEPLAB), 5)
    for i, part in enumerate(together.split(pixels)):
        alone = mean_field(unary[i], pairwise_messages(colours[i], [SIZES[i]], DEEPLAB), 5)
        torch.testing.assert_close(part[..., : labels[i]], alone, atol=1e-5, rtol=1e-4)
        assert not part[..., labels[i] :].any()  # labels of other photos


def test_groups_are_a_partition_of_limited_size_and_of_equally_many_crfs(monkeypatch) -> None:
    monkeypatch.setattr("ppl.crf.tensors.PIXELS_AT_ONCE", 100)
    monkeypatch.setattr("ppl.crf.tensors.BELIEFS_AT_ONCE", 600)
    shapes = [(1, 2, 40), (2, 2, 40), (1, 9, 40), (1, 3, 40), (1, 2, 200), (1, 9, 40), (2, 7, 40), (1, 2, 10)]
    grouped = groups(shapes)
    assert sorted(i for group in grouped for i in group) == list(range(len(shapes)))
    for group in grouped:
        assert len({shapes[i][0] for i in group}) == 1
        pixels = sum(shapes[i][2] for i in group)
        beliefs = pixels * max(shapes[i][0] * shapes[i][1] for i in group)
        assert len(group) == 1 or (pixels <= 100 and beliefs <= 600)
    assert len(grouped) == 7
    assert groups([]) == []


def test_ten_photos_take_as_many_operations_as_one_beside_copies(operations) -> None:
    one = crf.problem_of_probabilities(scene(0), [probabilities(3, scene(0), 0)])
    solver = on_device(torch.device("cpu"))
    of_one, of_ten = (operations(lambda n=n: solver([one] * n, DEEPLAB, 10)) for n in (1, 10))
    copies = {"to", "copy_", "lift_fresh", "detach", "alias", "permute", "numpy_T", "resolve_conj", "resolve_neg"}
    assert set(of_ten - of_one) <= copies
    assert of_ten["copy_"] - of_one["copy_"] == 9  # the energies of a photo go to their place
    assert of_one["unique_consecutive"] == 2  # which waits for the device, once per lattice
    assert not {"nonzero", "item", "_local_scalar_dense"} & set(of_ten)


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
    assert choose(cpu) == Execution(crf.on_cpu, 3)
    assert choose(gpu, torch.device("cpu")) == Execution(crf.on_cpu, 3)  # without a GPU the faster one on a CPU
    solver, workers, photos, threads = choose(gpu, torch.device("cuda"))
    assert solver is not crf.on_cpu
    assert (workers, photos, threads) == (3, PHOTOS_AT_ONCE, True)


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
    assert choose(Hardware(workers=3)) == Execution(crf.on_cpu, 3)
    assert capsys.readouterr().out.startswith("warning: pydensecrf2 is not installed")
