import subprocess
import sys

import numpy as np
import pytest

from ppl.crf.dense import from_labels, from_probabilities, problem_of_probabilities, solve
from ppl.crf.settings import DEEPLAB, IRNET

RNG = np.random.default_rng(0)
H, W = 24, 32


UNIFORM = np.full((H, W, 3), 120, np.uint8)
TWO_COLOURS = np.repeat([[[40] * 3] * (W // 2) + [[200] * 3] * (W // 2)], H, axis=0).astype(np.uint8)  # dark, bright
NOISE = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)


def noisy_labels(ids: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, *ids], (H, W)).astype(np.uint8)


def soft_probabilities(labels: int, dominant: list[int]) -> np.ndarray:
    """Random probabilities in which only the dominant labels ever exceed 1 %."""
    logits = RNG.standard_normal((labels, H, W)).clip(-2, 2)
    logits[dominant] += 8
    probabilities = np.exp(logits)
    return (probabilities / probabilities.sum(0)).astype(np.float32)


@pytest.mark.parametrize("label", [0, 5])
@pytest.mark.parametrize("lone_pixel", [False, True])
def test_one_label_everywhere_stays_and_a_lone_pixel_is_removed(label: int, lone_pixel: bool) -> None:
    labelling = np.full((H, W), label)
    labelling[10, 10] = 5 - label if lone_pixel else label
    (out,) = from_labels(UNIFORM, [labelling], [5])
    assert out.dtype == np.uint8
    assert (out == label).all()


def test_labels_snap_to_the_edge_in_the_photo() -> None:
    labelling = np.zeros((H, W), np.uint8)
    labelling[:, W // 2 - 3 :] = 2  # the object's label reaches three pixels too far
    (out,) = from_labels(TWO_COLOURS, [labelling], [2])
    np.testing.assert_array_equal(out, np.where(TWO_COLOURS[..., 0] > 100, 2, 0))


def test_labellings_of_one_call_equal_separate_calls() -> None:
    labellings = [noisy_labels([3, 9], seed) for seed in range(3)] + [np.zeros((H, W), np.uint8)]
    together = from_labels(NOISE, labellings, [3, 9])
    np.testing.assert_array_equal(together, [from_labels(NOISE, [one], [3, 9])[0] for one in labellings])
    assert len({out.tobytes() for out in together}) > 1


def test_ids_are_names_only() -> None:
    labelling = noisy_labels([3, 9])
    (out,) = from_labels(TWO_COLOURS, [labelling], [9, 3])
    renamed = np.zeros(256, np.uint8)
    renamed[[3, 9]] = 1, 200
    (other,) = from_labels(TWO_COLOURS, [renamed[labelling]], [1, 200])
    np.testing.assert_array_equal(other, renamed[out])


@pytest.mark.parametrize("classes", [[], [4, 7, 254]])
def test_labels_come_from_background_and_the_classes_present(classes: list[int]) -> None:
    (out,) = from_labels(NOISE, [noisy_labels(classes)], classes, iterations=1)
    assert out.shape == (H, W)
    assert set(np.unique(out)) <= {0, *classes}
    assert (len(np.unique(out)) > 1) == bool(classes)


@pytest.mark.parametrize("flip", [False, True])
def test_views_and_read_only_photos_work_and_stay(flip: bool) -> None:
    photo = TWO_COLOURS[:, ::-1] if flip else TWO_COLOURS.copy()
    photo.flags.writeable = False
    (out,) = from_labels(photo, [noisy_labels([1])], [1])
    np.testing.assert_array_equal(out, from_labels(photo.copy(), [noisy_labels([1])], [1])[0])


def test_low_confidence_trusts_the_photo_high_confidence_the_labels() -> None:
    given = noisy_labels([1])
    low, high = (from_labels(UNIFORM, [given], [1], confidence=c)[0] for c in (0.7, 1 - 1e-12))
    assert (low != given).any()
    assert (high == given).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photo": np.zeros((H, W), np.uint8)}, "photo"),
        ({"photo": np.zeros((H, W, 3), np.float32)}, "photo"),
        ({"labellings": [np.zeros((W, H), np.uint8)]}, "do not fit"),
        *(({"labellings": [np.full((H, W), wrong)]}, "not all among") for wrong in (2, 255)),
        *(({"classes_present": wrong}, "distinct") for wrong in ([1, 1], [0, 1], [255])),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_wrong_labels_are_refused(change: dict, message: str) -> None:
    arguments = {"photo": UNIFORM, "labellings": [np.zeros((H, W), int)], "classes_present": [1]} | change
    with pytest.raises(ValueError, match=message):
        from_labels(**arguments)


def test_probabilities_snap_to_the_edge_in_the_photo() -> None:
    probabilities = np.full((3, H, W), 0.02, np.float32)
    probabilities[0, :, : W // 2 - 2] = probabilities[2, :, W // 2 - 2 :] = 0.96
    probabilities[:, :, W // 2 - 3 : W // 2 + 1] = np.array([0.4, 0.05, 0.55])[:, None, None]
    out = from_probabilities(TWO_COLOURS, probabilities)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, np.where(TWO_COLOURS[..., 0] > 100, 2, 0))


def test_without_iterations_the_strongest_probability_wins() -> None:
    probabilities = soft_probabilities(6, [0, 2, 5])
    np.testing.assert_array_equal(from_probabilities(UNIFORM, probabilities, iterations=0), probabilities.argmax(0))


def test_only_labels_that_can_appear_take_part_whatever_the_threshold() -> None:
    photo = np.clip(TWO_COLOURS + RNG.integers(0, 40, (H, W, 3)), 0, 255).astype(np.uint8)
    probabilities = soft_probabilities(12, [0, 3, 7])
    assert (probabilities.max((1, 2)) > 0.05).sum() == 3
    out = from_probabilities(photo, probabilities)
    assert set(np.unique(out)) <= {0, 3, 7}
    assert (out != from_probabilities(photo, probabilities, keep=None)).mean() < 0.01
    one, other = (from_probabilities(photo, probabilities, keep=keep) for keep in (0.05, 1.0))
    np.testing.assert_array_equal(one, other)  # a label that wins a pixel takes part


def test_one_possible_label_fills_the_photo() -> None:
    probabilities = np.zeros((5, H, W), np.float32)
    probabilities[4] = 1
    assert (from_probabilities(UNIFORM, probabilities) == 4).all()


@pytest.mark.parametrize("shape", [(H, W), (3, W, H), (0, H, W), (256, H, W)], ids=str)
def test_wrong_probabilities_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        from_probabilities(UNIFORM, np.zeros(shape, np.float32))


def test_the_settings_are_those_of_the_reference_systems() -> None:
    gaussian, bilateral = ("gaussian_sxy", "gaussian_compat"), ("bilateral_sxy", "bilateral_srgb", "bilateral_compat")
    for pairwise, values in ((IRNET, (3, 3, 50, 5, 10)), (DEEPLAB, (1, 3, 67, 3, 4))):
        assert tuple(getattr(pairwise, name) for name in gaussian + bilateral) == values


def test_worker_processes_start_without_torch() -> None:
    code = "import sys, ppl.crf.dense, ppl.refine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_several_probabilities_on_shared_lattices_are_those_of_separate_calls() -> None:
    several = [RNG.dirichlet(np.ones(3), (H, W)).transpose(2, 0, 1) for _ in range(2)]
    alone = [from_probabilities(NOISE, p, iterations=5, keep=None) for p in several]
    together = solve([problem_of_probabilities(NOISE, several)], iterations=5, pairwise=DEEPLAB)
    np.testing.assert_array_equal(together[0], alone)
    assert (alone[0] != alone[1]).any()
    with pytest.raises(ValueError, match="do not fit"):
        problem_of_probabilities(NOISE, [several[0], several[1][:2]])
