"""Reliable labels, and seeds after a CRF."""

from pathlib import Path

import numpy as np
import pytest

from ppl.cam.seeds import seed
from ppl.cam.store import Cam
from ppl.cam.threshold import Threshold, write_threshold
from ppl.crf.dense import from_labels
from ppl.crf.settings import IRNET
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE, read_mask
from ppl.jobs.settings import Hardware
from ppl.jobs.slots import slots_of
from ppl.refine import crf_seeds, reliable
from ppl.refine.background import with_background
from ppl.refine.crf_seeds import crf_seed
from ppl.refine.reliable import combine, reliable_labels
from ppl.refine.settings import LABELS, Alphas, Refine, Reliable, Thresholds

H, W = 20, 30
CPU = Hardware(gpu=0, workers=0)  # workers: in this process


def square_cam(peak: float = 1.0, halo: float = 0.15) -> np.ndarray:
    """One class: a square of activation `peak` on the right, a column of `halo` in the middle, nothing on the left."""
    cam = np.zeros((1, H, W), np.float32)
    cam[0, :, 10:20], cam[0, :, 20:] = halo, peak
    return cam


def three_coloured_photo() -> np.ndarray:
    photo = np.zeros((H, W, 3), np.uint8)
    photo[:, 10:20], photo[:, 20:] = 120, 240
    return photo


def columns(left: int, middle: int, right: int) -> np.ndarray:
    return np.repeat([[left] * 10 + [middle] * 10 + [right] * 10], H, axis=0)


def test_combine_keeps_what_both_passes_agree_on() -> None:
    foreground, background = np.array([[0, 0, 3, 3]], np.uint8), np.array([[0, 3, 3, 0]], np.uint8)
    combined = combine(foreground, background)
    assert combined.dtype == np.uint8
    np.testing.assert_array_equal(combined, [[0, IGNORE, 3, 3]])


def test_strong_weak_and_missing_activation_become_foreground_ignored_background() -> None:
    photo = three_coloured_photo()
    np.testing.assert_array_equal(reliable_labels(photo, square_cam(), [6], Reliable()), columns(0, IGNORE, 6))
    low = Reliable(thresholds=Thresholds(foreground=0.1, background=0.1))
    np.testing.assert_array_equal(reliable_labels(photo, square_cam(), [6], low), columns(0, 6, 6))


def test_background_scores_by_alphas_do_the_same() -> None:
    cam = square_cam(0.9, 0.12)  # 0.12 is between 1 - 0.88^4 and 1 - 0.88^32
    noise = np.random.default_rng(0).integers(0, 3, (H, W, 3), np.uint8)
    labels = reliable_labels(three_coloured_photo() + noise, cam, [7], Reliable(scores="alphas"))
    assert (labels[:, 24:] == 7).all()
    assert (labels[:, :6] == 0).all()
    assert (labels[:, 13:17] == IGNORE).all()
    equal = Reliable(scores="alphas", alphas=Alphas(low=4, high=4))
    assert not (reliable_labels(three_coloured_photo() + noise, cam, [7], equal) == IGNORE).any()


@pytest.mark.parametrize("scores", LABELS)
def test_all_kinds_of_scores_label_any_image_with_its_classes(scores: str) -> None:
    assert slots_of(Reliable)["scores"] == LABELS
    values, photo = Reliable(scores=scores), three_coloured_photo()
    assert not reliable_labels(photo, np.zeros((0, H, W), np.float32), [], values).any()
    maps = np.random.default_rng(0).random((2, H, W)).astype(np.float32)
    labels = reliable_labels(photo, maps, [3, 9], values)
    assert (labels.shape, labels.dtype) == ((H, W), np.uint8)
    assert set(np.unique(labels)) <= {0, 3, 9, IGNORE}
    with pytest.raises(ValueError, match="do not fit"):
        reliable_labels(photo, square_cam()[:, ::2], [6], values)


def test_a_higher_alpha_lowers_the_score_of_background() -> None:
    cam = np.random.default_rng(0).random((2, 6, 7)).astype(np.float32)
    low, high = with_background(cam, 4), with_background(cam, 32)
    assert (low[0] >= high[0]).all()
    assert (low[0] > high[0]).any()
    np.testing.assert_array_equal(low[1:], cam)
    assert (with_background(np.zeros((0, 6, 7), np.float32), 4) == 1).all()


def test_thresholds_and_alphas_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"background 0.2 is greater than foreground 0.1"):
        Thresholds(foreground=0.1, background=0.2)
    with pytest.raises(ValueError, match="low 5 is greater than high 4"):
        Alphas(low=5, high=4)


@pytest.mark.parametrize("step", [reliable, crf_seeds], ids=lambda step: step.__name__)
def test_a_step_writes_a_label_map_of_the_photos_size_for_each_image(step, scenes, write_cams, tmp_path: Path) -> None:
    write_cams(tmp_path / "cams.h5")
    common = {"data": scenes.root, "split": "all", "cams": (tmp_path / "cams.h5",), "refine": Refine(), "hardware": CPU}
    if step is crf_seeds:
        common["threshold"] = tmp_path / "threshold.json"
        write_threshold(common["threshold"], Threshold(threshold=0.9, rule="fixed"))
    step.main(step.Settings(out=tmp_path / "labels", **common))
    dataset = Dataset.open(scenes.root)
    for image_id in scenes.images:
        labels = read_mask(tmp_path / "labels" / f"{image_id}.png")
        assert labels.shape == read_mask(dataset.mask(image_id)).shape
        assert set(np.unique(labels)) <= {0, IGNORE, *dataset.labels_of(image_id)}


def test_crf_seeds_are_the_seeds_after_a_crf() -> None:
    rng = np.random.default_rng(0)
    photo, cam = rng.integers(0, 256, (24, 32, 3), np.uint8), Cam(rng.random((1, 6, 8)), np.array([3]), (24, 32))
    ours = crf_seed(photo, cam, threshold=0.4, confidence=0.7, iterations=5, pairwise=IRNET)
    (expected,) = from_labels(photo, [seed(cam, 0.4)], [3], confidence=0.7, iterations=5, pairwise=IRNET)
    np.testing.assert_array_equal(ours, expected)
