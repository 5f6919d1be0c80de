"""Reliable labels, and seeds after a CRF."""

from dataclasses import replace
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
from ppl.data.resize import upsample
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.jobs.slots import slots_of
from ppl.refine import crf_seeds, reliable
from ppl.refine.background import with_background
from ppl.refine.crf_seeds import seeds_after_crf
from ppl.refine.passes import Crf
from ppl.refine.reliable import Scores, thresholds_of
from ppl.refine.settings import LABELS, Alphas, LabelMargins, Labels, Margins, Refine, Reliable, Thresholds

H, W = 20, 30
WIDE = LabelMargins(foreground=0.4, background=0.4)
CPU = Hardware(gpu=0, workers=0)  # workers: in this process


def reliable_labels(photo: np.ndarray, cam: np.ndarray, classes: list[int], *settings, **options) -> np.ndarray:
    return reliable.reliable_labels([Scores(photo, cam, classes)], *settings, **options)[0]


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
    assert not reliable_labels(photo, np.zeros((0, H, W), np.float32), [], values, threshold=0.3).any()
    maps = np.random.default_rng(0).random((2, H, W)).astype(np.float32)
    labels = reliable_labels(photo, maps, [3, 9], values, threshold=0.3)
    assert (labels.shape, labels.dtype) == ((H, W), np.uint8)
    assert set(np.unique(labels)) <= {0, 3, 9, IGNORE}
    with pytest.raises(ValueError, match="do not fit"):
        reliable_labels(photo, square_cam()[:, ::2], [6], values, threshold=0.3)


def test_margins_are_thresholds_relative_to_that_of_the_seeds() -> None:
    photo, maps = three_coloured_photo(), np.random.default_rng(0).random((2, H, W)).astype(np.float32)
    margins = Reliable(scores="margins", margins=Margins(foreground=0.2, background=0.1))
    thresholds = Reliable(thresholds=Thresholds(foreground=0.4 + 0.2, background=0.4 - 0.1))
    ours = reliable_labels(photo, maps, [3, 9], margins, threshold=0.4)
    np.testing.assert_array_equal(ours, reliable_labels(photo, maps, [3, 9], thresholds))
    np.testing.assert_array_equal(ours, reliable_labels(photo, maps, [3, 9], thresholds, threshold=0.9))
    with pytest.raises(UserError, match=r"margins.*--threshold"):
        reliable_labels(photo, maps, [3, 9], margins)
    assert thresholds_of(margins, 0.06) == pytest.approx((0.26, 0.02))  # below 0 no pixel would be background


@pytest.mark.parametrize("scores", ["thresholds", "alphas"])
@pytest.mark.parametrize("step", [reliable, crf_seeds], ids=lambda step: step.__name__)
def test_a_gpu_labels_several_photos_at_once_as_worker_processes_do(
    step, scores: str, scenes, write_cams, as_on_a_gpu, tmp_path: Path
) -> None:
    write_cams(tmp_path / "cams.h5")
    write_threshold(tmp_path / "threshold.json", Threshold(threshold=0.5, rule="fixed"))
    settings = step.Settings(
        data=scenes.root, split="all", cams=(tmp_path / "cams.h5",), hardware=CPU, out=tmp_path / "one-by-one",
        threshold=tmp_path / "threshold.json", refine=Refine(reliable=Reliable(scores=scores)),
    )  # fmt: skip
    step.main(settings)
    at_once = as_on_a_gpu(step)
    step.main(replace(settings, out=tmp_path / "at-once"))
    assert sorted(at_once) == [0, 3]  # the last photo has no classes
    for image_id in scenes.images:
        alone, together = (read_mask(tmp_path / name / f"{image_id}.png") for name in ("one-by-one", "at-once"))
        assert (alone != together).mean() < 1e-3


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


@pytest.fixture
def photo_and_cam() -> tuple[np.ndarray, Cam]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (24, 32, 3), np.uint8), Cam(rng.random((1, 6, 8)), np.array([3]), (24, 32))


def test_crf_seeds_are_the_seeds_after_a_crf(photo_and_cam: tuple[np.ndarray, Cam]) -> None:
    photo, cam = photo_and_cam
    (ours,) = seeds_after_crf([photo], [cam], threshold=0.4, crf=Crf(0.7, 5))
    (expected,) = from_labels(photo, [seed(cam, 0.4)], [3], confidence=0.7, iterations=5, pairwise=IRNET)
    np.testing.assert_array_equal(ours, expected)


def test_crf_seeds_with_a_margin_are_reliable_labels_by_the_same_margins(photo_and_cam: tuple[np.ndarray, Cam]) -> None:
    photo, cam = photo_and_cam
    around = Margins(foreground=0.2, background=0.2)
    (ours,) = seeds_after_crf([photo], [cam], threshold=0.5, crf=Crf(), margins=around)
    margins = Reliable(scores="margins", margins=around)
    np.testing.assert_array_equal(
        ours, reliable_labels(photo, upsample(cam.maps, cam.size), [3], margins, threshold=0.5)
    )
    assert set(np.unique(ours)) == {0, 3, IGNORE}


def test_a_margin_and_kept_classes_reach_the_pseudo_labels_of_a_split(scenes, write_cams, tmp_path: Path) -> None:
    write_cams(tmp_path / "cams.h5")
    write_threshold(tmp_path / "threshold.json", Threshold(threshold=0.5, rule="fixed"))

    def labels(name: str, refine: Refine) -> list[np.ndarray]:
        inputs = {"data": scenes.root, "split": "all", "cams": (tmp_path / "cams.h5",), "hardware": CPU}
        out = tmp_path / name
        crf_seeds.main(crf_seeds.Settings(threshold=tmp_path / "threshold.json", out=out, refine=refine, **inputs))
        return [read_mask(out / f"{image_id}.png") for image_id in scenes.images]

    full, partial = labels("full", Refine()), labels("partial", Refine(labels=Labels(margins=WIDE)))
    assert not any((x == IGNORE).any() for x in full)
    assert any((x == IGNORE).any() for x in partial)
    kept = labels("kept", Refine(keep_classes=True, reliable=Reliable(confidence=0.51)))
    dataset = Dataset.open(scenes.root)
    for image_id, of_image in zip(scenes.images[:-1], kept, strict=False):
        assert set(dataset.labels_of(image_id)) <= set(np.unique(of_image))
