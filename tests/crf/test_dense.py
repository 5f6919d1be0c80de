import subprocess
import sys

import numpy as np
import pytest

from ppl.crf.dense import DEEPLAB, IRNET, from_labels, from_probabilities, from_several_probabilities

RNG = np.random.default_rng(0)
H, W = 24, 32


def uniform_photo() -> np.ndarray:
    return np.full((H, W, 3), 120, np.uint8)


def two_coloured_photo() -> np.ndarray:
    """Left half dark, right half bright."""
    photo = np.full((H, W, 3), 40, np.uint8)
    photo[:, W // 2 :] = 200
    return photo


def noisy_labels(ids: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, *ids], (H, W)).astype(np.uint8)


def soft_probabilities(labels: int, dominant: list[int]) -> np.ndarray:
    """Random probabilities in which only the dominant labels ever exceed 1 %."""
    logits = RNG.standard_normal((labels, H, W)).clip(-2, 2)
    logits[dominant] += 8
    probabilities = np.exp(logits)
    return (probabilities / probabilities.sum(0)).astype(np.float32)


@pytest.mark.parametrize("label", [0, 5])
def test_one_label_everywhere_stays(label: int) -> None:
    labelling = np.full((H, W), label)
    (out,) = from_labels(uniform_photo(), [labelling], [5])
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, labelling)


def test_a_lone_pixel_is_removed() -> None:
    labelling = np.zeros((H, W), np.uint8)
    labelling[10, 10] = 5
    (out,) = from_labels(uniform_photo(), [labelling], [5])
    assert not out.any()


def test_labels_snap_to_the_edge_in_the_photo() -> None:
    photo, labelling = two_coloured_photo(), np.zeros((H, W), np.uint8)
    labelling[:, W // 2 - 3 :] = 2  # the object's label reaches three pixels too far
    (out,) = from_labels(photo, [labelling], [2])
    np.testing.assert_array_equal(out, np.where(photo[..., 0] > 100, 2, 0))


def test_labellings_of_one_call_equal_separate_calls() -> None:
    photo = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
    labellings = [noisy_labels([3, 9], seed) for seed in range(3)] + [np.zeros((H, W), np.uint8)]
    together = from_labels(photo, labellings, [3, 9])
    apart = [from_labels(photo, [labelling], [3, 9])[0] for labelling in labellings]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({out.tobytes() for out in together}) > 1


def test_ids_are_names_only() -> None:
    photo, labelling = two_coloured_photo(), noisy_labels([3, 9])
    (out,) = from_labels(photo, [labelling], [9, 3])
    renamed = np.zeros(256, np.uint8)
    renamed[[3, 9]] = 1, 200
    (other,) = from_labels(photo, [renamed[labelling]], [1, 200])
    np.testing.assert_array_equal(other, renamed[out])


def test_labels_come_from_background_and_the_classes_present() -> None:
    photo = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
    labelling = noisy_labels([4, 7, 254])
    (out,) = from_labels(photo, [labelling], [4, 7, 254], iterations=1)
    assert set(np.unique(out)) <= {0, 4, 7, 254}
    assert len(np.unique(out)) > 1


def test_without_classes_all_is_background() -> None:
    (out,) = from_labels(uniform_photo(), [np.zeros((H, W), int)], [])
    assert out.shape == (H, W)
    assert not out.any()


@pytest.mark.parametrize("flip", [False, True])
def test_views_and_read_only_photos_work_and_stay(flip: bool) -> None:
    photo = two_coloured_photo()[:, ::-1] if flip else two_coloured_photo()
    photo.flags.writeable = False
    labelling = noisy_labels([1])
    (out,) = from_labels(photo, [labelling], [1])
    (expected,) = from_labels(photo.copy(), [labelling], [1])
    np.testing.assert_array_equal(out, expected)


def test_low_confidence_trusts_the_photo_high_confidence_the_labels() -> None:
    labelling = noisy_labels([1])
    changed = [
        (from_labels(uniform_photo(), [labelling], [1], confidence=c)[0] != labelling).mean() for c in (0.7, 1 - 1e-12)
    ]
    assert changed[0] > changed[1] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photo": np.zeros((H, W), np.uint8)}, "photo"),
        ({"photo": np.zeros((H, W, 3), np.float32)}, "photo"),
        ({"labellings": [np.zeros((W, H), np.uint8)]}, "do not fit"),
        ({"labellings": [np.full((H, W), 2)]}, "not all among"),
        ({"labellings": [np.full((H, W), 255)]}, "not all among"),
        ({"classes_present": [1, 1]}, "distinct"),
        ({"classes_present": [0, 1]}, "distinct"),
        ({"classes_present": [255]}, "distinct"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_wrong_labels_are_refused(change: dict, message: str) -> None:
    arguments = {"photo": uniform_photo(), "labellings": [np.zeros((H, W), int)], "classes_present": [1]} | change
    with pytest.raises(ValueError, match=message):
        from_labels(**arguments)


def test_probabilities_snap_to_the_edge_in_the_photo() -> None:
    photo = two_coloured_photo()
    probabilities = np.full((3, H, W), 0.02, np.float32)
    probabilities[0, :, : W // 2 - 2] = probabilities[2, :, W // 2 - 2 :] = 0.96
    probabilities[:, :, W // 2 - 3 : W // 2 + 1] = np.array([0.4, 0.05, 0.55])[:, None, None]
    out = from_probabilities(photo, probabilities)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, np.where(photo[..., 0] > 100, 2, 0))


def test_without_iterations_the_strongest_probability_wins() -> None:
    probabilities = soft_probabilities(6, [0, 2, 5])
    out = from_probabilities(uniform_photo(), probabilities, iterations=0)
    np.testing.assert_array_equal(out, probabilities.argmax(0))


def test_labels_that_cannot_appear_change_nothing() -> None:
    photo = np.clip(two_coloured_photo() + RNG.integers(0, 40, (H, W, 3)), 0, 255).astype(np.uint8)
    probabilities = soft_probabilities(12, [0, 3, 7])
    assert (probabilities.max((1, 2)) > 0.05).sum() == 3
    out = from_probabilities(photo, probabilities)
    assert set(np.unique(out)) <= {0, 3, 7}
    assert (out != from_probabilities(photo, probabilities, keep=None)).mean() < 0.01


def test_a_label_that_wins_a_pixel_takes_part_whatever_the_threshold() -> None:
    probabilities = soft_probabilities(12, [0, 3, 7])
    np.testing.assert_array_equal(
        from_probabilities(two_coloured_photo(), probabilities, keep=1.0),
        from_probabilities(two_coloured_photo(), probabilities, keep=0.05),
    )


def test_one_possible_label_fills_the_photo() -> None:
    probabilities = np.zeros((5, H, W), np.float32)
    probabilities[4] = 1
    assert (from_probabilities(uniform_photo(), probabilities) == 4).all()


@pytest.mark.parametrize("shape", [(H, W), (3, W, H), (0, H, W), (256, H, W)], ids=str)
def test_wrong_probabilities_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        from_probabilities(uniform_photo(), np.zeros(shape, np.float32))


def test_the_settings_are_those_of_the_reference_systems() -> None:
    assert (IRNET.gaussian_sxy, IRNET.gaussian_compat) == (3, 3)
    assert (IRNET.bilateral_sxy, IRNET.bilateral_srgb, IRNET.bilateral_compat) == (50, 5, 10)
    assert (DEEPLAB.gaussian_sxy, DEEPLAB.gaussian_compat) == (1, 3)
    assert (DEEPLAB.bilateral_sxy, DEEPLAB.bilateral_srgb, DEEPLAB.bilateral_compat) == (67, 3, 4)


def test_worker_processes_start_without_torch() -> None:
    code = "import sys, ppl.crf.dense, ppl.refine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_several_probabilities_on_shared_lattices_are_those_of_separate_calls():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (20, 26, 3), np.uint8)
    several = [rng.dirichlet(np.ones(3), (20, 26)).transpose(2, 0, 1) for _ in range(2)]
    alone = [from_probabilities(photo, p, iterations=5, keep=None) for p in several]
    for shared, own in zip(from_several_probabilities(photo, several, iterations=5), alone, strict=True):
        np.testing.assert_array_equal(shared, own)
    assert (alone[0] != alone[1]).any()
    with pytest.raises(ValueError, match="do not fit"):
        from_several_probabilities(photo, [several[0], several[1][:2]])
