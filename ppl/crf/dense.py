"""Dense CRF inference (Kraehenbuehl and Koltun) on hard labels and on probabilities.

Worker processes run this on one image each, so the module does not import torch. The solver is a parameter: pydensecrf
on one CPU core, or `ppl.crf.tensors`, which replaces it where it is not installed.
"""

from collections.abc import Sequence

import numpy as np

from ppl.crf.interface import Infer, Solver
from ppl.crf.settings import DEEPLAB, IRNET, Pairwise

try:
    import pydensecrf.densecrf as dcrf
except ImportError:  # pip cannot compile it on Python 3.13 (docs/install.md)
    dcrf = None

LEAST_PROBABILITY = 1e-5  # bounds the energy of a label that the network rules out


def on_cpu(photo: np.ndarray, labels: int, pairwise: Pairwise) -> Infer:
    """Solve by pydensecrf on one core; where it is not installed by tensors, with the same labels."""
    if dcrf is None:
        import torch

        from ppl.crf.tensors import on_device

        return on_device(torch.device("cpu"))(photo, labels, pairwise)
    h, w, _ = photo.shape
    crf = dcrf.DenseCRF2D(w, h, labels)
    crf.addPairwiseGaussian(sxy=pairwise.gaussian_sxy, compat=pairwise.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=pairwise.bilateral_sxy,
        srgb=pairwise.bilateral_srgb,
        rgbim=np.require(photo, requirements=("C", "W")),  # pydensecrf refuses a view or a read-only array
        compat=pairwise.bilateral_compat,
    )

    def infer(energy: np.ndarray, iterations: int) -> np.ndarray:
        crf.setUnaryEnergy(np.ascontiguousarray(energy, dtype=np.float32))
        return np.asarray(crf.inference(iterations)).argmax(0)

    return infer


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
    """Return label maps after a dense CRF whose unary term trusts the input labels, one for each labelling.

    With L labels, the background and the classes present, a pixel's own label has the energy -log(confidence), every
    other one -log((1 - confidence) / (L - 1)). All labellings share one pair of lattices, which take most of the time
    to build; the results are those of separate calls.

    photo (h, w, 3) uint8, labellings (h, w) integers among 0 and `classes_present` (ids 1..254) -> (h, w) uint8 each.
    Raises ValueError for other shapes, labels or a confidence outside 0..1.
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
    if len(labels) == 1:
        return [np.zeros(photo.shape[:2], np.uint8) for _ in labellings]
    same, different = -np.log(confidence), -np.log((1 - confidence) / (len(labels) - 1))
    infer = solver(photo, len(labels), pairwise)
    outputs = []
    for labelling in labellings:
        energy = np.where(labelling.reshape(-1) == labels[:, None], same, different).astype(np.float32)  # (L, h w)
        outputs.append(labels.astype(np.uint8)[infer(energy, iterations)].reshape(labelling.shape))
    return outputs


def from_several_probabilities(
    photo: np.ndarray,
    several: Sequence[np.ndarray],
    *,
    iterations: int = 10,
    pairwise: Pairwise = DEEPLAB,
    solver: Solver = on_cpu,
) -> list[np.ndarray]:
    """Return the label maps of `from_probabilities` for each (L, h, w), with all labels taking part.

    They share one pair of lattices, which take most of the time to build. ValueError for inconsistent shapes.
    """
    _check_photo(photo)
    size, count = photo.shape[:2], len(several[0])
    for probabilities in several:
        if probabilities.shape != (count, *size) or not 0 < count <= 255:
            raise ValueError(f"probabilities {probabilities.shape} do not fit a photo of {size} with {count} labels")
    if count == 1:
        return [np.zeros(size, np.uint8) for _ in several]
    infer = solver(photo, count, pairwise)
    return [infer(_energy(probabilities), iterations).astype(np.uint8).reshape(size) for probabilities in several]


def from_probabilities(
    photo: np.ndarray,
    probabilities: np.ndarray,
    *,
    iterations: int = 10,
    pairwise: Pairwise = DEEPLAB,
    keep: float | None = 0.05,
    solver: Solver = on_cpu,
) -> np.ndarray:
    """Return the label map after a dense CRF whose unary term is -log of a network's probabilities, at least 1e-5.

    Time and memory grow with the number of labels, so that only those that could appear take part: the strongest of
    some pixel, or somewhere above `keep` (None: all take part). An omitted label has a small part in every message
    between pixels, so that few pixels change: one in a thousand on smooth random maps of 81 labels, 9 of which remain.

    photo (h, w, 3) uint8, probabilities (L, h, w) in 0..1 of labels 0..L - 1 -> (h, w) uint8.
    Raises ValueError for inconsistent shapes or more than 255 labels.
    """
    _check_photo(photo)
    if probabilities.ndim != 3 or probabilities.shape[1:] != photo.shape[:2] or not 0 < len(probabilities) <= 255:
        raise ValueError(f"probabilities {probabilities.shape} do not fit a photo of {photo.shape[:2]}")
    labels = np.arange(len(probabilities))
    if keep is not None:
        strongest = np.bincount(probabilities.argmax(0).reshape(-1), minlength=len(labels)) > 0
        labels = labels[strongest | (probabilities.max((1, 2)) > keep)]
    if len(labels) == 1:
        return np.full(photo.shape[:2], labels[0], np.uint8)
    infer = solver(photo, len(labels), pairwise)
    return labels.astype(np.uint8)[infer(_energy(probabilities[labels]), iterations)].reshape(photo.shape[:2])


def _energy(probabilities: np.ndarray) -> np.ndarray:
    """Return unary energies (L, h w) float32 of probabilities (L, h, w)."""
    return -np.log(np.clip(probabilities, LEAST_PROBABILITY, 1, dtype=np.float32)).reshape(len(probabilities), -1)


def _check_photo(photo: np.ndarray) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"a photo must be (h, w, 3) uint8, not {photo.shape} {photo.dtype}")
