"""Dense CRF inference (Kraehenbuehl and Koltun) on hard labels and on probabilities.

Worker processes run this on one image each, so the module does not import torch. The solver is a parameter: pydensecrf
on one CPU core, or `ppl.crf.tensors`, which replaces it where it is not installed.
"""

from collections.abc import Sequence

import numpy as np

from ppl.crf.interface import Problem, Solver
from ppl.crf.settings import DEEPLAB, IRNET, Pairwise

try:
    import pydensecrf.densecrf as dcrf
except ImportError:  # pip cannot compile it on Python 3.13 (docs/install.md)
    dcrf = None

KEEP = 0.05  # of predicted probabilities: labels that exceed it nowhere and win nowhere take no part
LEAST_PROBABILITY = 1e-5  # bounds the energy of a label that the network rules out


def on_cpu(problems: Sequence[Problem], pairwise: Pairwise, iterations: int) -> list[list[np.ndarray]]:
    """Solve by pydensecrf on one core; where it is not installed by tensors, with the same labels."""
    if dcrf is None:
        import torch

        from ppl.crf.tensors import on_device

        return on_device(torch.device("cpu"))(problems, pairwise, iterations)
    return [_by_pydensecrf(problem, pairwise, iterations) for problem in problems]


def _by_pydensecrf(problem: Problem, pairwise: Pairwise, iterations: int) -> list[np.ndarray]:
    h, w, _ = problem.photo.shape
    crf = dcrf.DenseCRF2D(w, h, len(problem.ids))
    crf.addPairwiseGaussian(sxy=pairwise.gaussian_sxy, compat=pairwise.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=pairwise.bilateral_sxy,
        srgb=pairwise.bilateral_srgb,
        rgbim=np.require(problem.photo, requirements=("C", "W")),  # pydensecrf refuses a view or a read-only array
        compat=pairwise.bilateral_compat,
    )
    strongest = []
    for energy in problem.energies:
        crf.setUnaryEnergy(energy)
        strongest.append(np.asarray(crf.inference(iterations)).argmax(0))
    return strongest


def solve(
    problems: Sequence[Problem], *, iterations: int = 10, pairwise: Pairwise = IRNET, solver: Solver = on_cpu
) -> list[list[np.ndarray]]:
    """Return the label maps (h, w) uint8 of each CRF of each problem, those of separate calls.

    The CRFs of a problem share one pair of lattices, which take most of the time to build.
    """
    solved = iter(solver([problem for problem in problems if len(problem.ids) > 1], pairwise, iterations))
    return [_label_maps(problem, next(solved) if len(problem.ids) > 1 else None) for problem in problems]


def _label_maps(problem: Problem, strongest: list[np.ndarray] | None) -> list[np.ndarray]:
    """Return the label maps of a problem; a single label (no index of the strongest one) fills all of them."""
    size = problem.photo.shape[:2]
    if strongest is None:
        return [np.full(size, problem.ids[0], np.uint8) for _ in problem.energies]
    return [problem.ids[index].reshape(size) for index in strongest]


def problem_of_labels(
    photo: np.ndarray, labellings: Sequence[np.ndarray], classes_present: Sequence[int], *, confidence: float = 0.7
) -> Problem:
    """Return CRFs whose unary term trusts the input labels, one for each labelling.

    With L labels, the background and the classes present, a pixel's own label has the energy -log(confidence), every
    other one -log((1 - confidence) / (L - 1)).

    photo (h, w, 3) uint8, labellings (h, w) integers among 0 and `classes_present` (ids 1..254). Raises ValueError for
    other shapes, labels or a confidence outside 0..1.
    """
    _check_photo(photo)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    labels = np.unique([0, *classes_present])
    if len(labels) != len(classes_present) + 1 or labels[0] < 0 or labels[-1] > 254:
        raise ValueError(f"classes present must be distinct ids in 1..254, not {list(classes_present)}")
    for labelling in labellings:
        if labelling.shape != photo.shape[:2]:
            raise ValueError(f"labels {labelling.shape} do not fit a photo of {photo.shape[:2]}")
        if not np.isin(labelling, labels).all():
            raise ValueError(f"labels {np.unique(labelling).tolist()} are not all among {labels.tolist()}")
    same, different = -np.log(confidence), -np.log((1 - confidence) / max(1, len(labels) - 1))
    energies = [
        np.where(labelling.reshape(-1) == labels[:, None], same, different).astype(np.float32)  # (L, h w)
        for labelling in labellings
    ]
    return Problem(photo, energies, labels.astype(np.uint8))


def problem_of_probabilities(photo: np.ndarray, several: Sequence[np.ndarray], *, keep: float | None = None) -> Problem:
    """Return CRFs whose unary term is -log of a network's probabilities, at least 1e-5, one for each (L, h, w).

    Time and memory grow with the number of labels, so that only those that could appear take part: the strongest of
    some pixel, or somewhere above `keep` (None: all take part). An omitted label has a small part in every message
    between pixels, so that few pixels change: one in a thousand on smooth random maps of 81 labels, 9 of which remain.

    photo (h, w, 3) uint8, probabilities (L, h, w) in 0..1 of labels 0..L - 1. Raises ValueError for inconsistent shapes
    or more than 255 labels.
    """
    _check_photo(photo)
    size, count = photo.shape[:2], len(several[0])
    for probabilities in several:
        if probabilities.shape != (count, *size) or not 0 < count <= 255:
            raise ValueError(f"probabilities {probabilities.shape} do not fit a photo of {size} with {count} labels")
    labels = np.arange(count)
    if keep is not None:
        strongest = sum(np.bincount(p.argmax(0).reshape(-1), minlength=count) for p in several) > 0
        labels = labels[strongest | (np.max([p.max((1, 2)) for p in several], axis=0) > keep)]
    return Problem(photo, [_energy(p[labels]) for p in several], labels.astype(np.uint8))


def from_labels(
    photo: np.ndarray,
    labellings: Sequence[np.ndarray],
    classes_present: Sequence[int],
    *,
    confidence: float = 0.7,
    iterations: int = 10,
    pairwise: Pairwise = IRNET,
    solver: Solver = on_cpu,
) -> list[np.ndarray]:
    """Return the label maps (h, w) uint8 after the CRFs of `problem_of_labels`, one for each labelling."""
    problem = problem_of_labels(photo, labellings, classes_present, confidence=confidence)
    return solve([problem], iterations=iterations, pairwise=pairwise, solver=solver)[0]


def from_probabilities(
    photo: np.ndarray,
    probabilities: np.ndarray,
    *,
    iterations: int = 10,
    pairwise: Pairwise = DEEPLAB,
    keep: float | None = KEEP,
    solver: Solver = on_cpu,
) -> np.ndarray:
    """Return the label map (h, w) uint8 after the CRF of `problem_of_probabilities` on one (L, h, w)."""
    problem = problem_of_probabilities(photo, [probabilities], keep=keep)
    return solve([problem], iterations=iterations, pairwise=pairwise, solver=solver)[0][0]


def _energy(probabilities: np.ndarray) -> np.ndarray:
    """Return unary energies (L, h w) float32 of probabilities (L, h, w)."""
    energy = np.clip(probabilities, LEAST_PROBABILITY, 1, dtype=np.float32)
    np.negative(np.log(energy, out=energy), out=energy)
    return np.ascontiguousarray(energy.reshape(len(probabilities), -1))


def _check_photo(photo: np.ndarray) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"a photo must be (h, w, 3) uint8, not {photo.shape} {photo.dtype}")
