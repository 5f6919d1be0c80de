from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl.cam import store
from ppl.cam.seeds import seed
from ppl.cam.store import Cam, open_store
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask, write_mask
from ppl.jobs.errors import UserError
from ppl.measure import sweep
from ppl.measure.metrics import confusion, iou, mean_iou, precision_recall
from ppl.measure.sweep import THRESHOLDS, Settings, confusions, histogram, table
from ppl.measure.thresholds import best_row, has_mean

CLASSES = 3


def _scene(number: int) -> tuple[np.ndarray, Cam]:
    """Truth with ignored pixels, and a CAM whose scores hit thresholds, lie between them or beyond the last."""
    rng = np.random.default_rng(number)
    h, w = rng.integers(4, 30, 2)
    labels = np.flatnonzero(rng.integers(0, 2, CLASSES)) + 1
    maps = rng.choice(THRESHOLDS, (len(labels), h, w))
    between = rng.random(maps.shape) < 0.3
    maps[between] = rng.uniform(0, 1.02, between.sum())
    return rng.choice([0, 1, 2, 3, 255], (h, w)).astype(np.uint8), Cam(maps.astype(np.float32), labels, (h, w))


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_every_threshold_equals_a_single_evaluation(number: int) -> None:
    truth, cam = _scene(number)
    matrices = confusions(histogram(truth, cam, CLASSES))
    assert len(matrices) == len(THRESHOLDS) == 101
    for threshold, matrix in zip(THRESHOLDS, matrices, strict=True):
        np.testing.assert_array_equal(matrix, confusion(truth, seed(cam, threshold), CLASSES))


def test_thresholds_are_those_that_a_configuration_writes() -> None:
    """0.30 in a configuration is the sweep's own 0.30: pixels with just that score are background in both."""
    for percent in range(101):
        threshold = float(f"{percent / 100:.2f}")
        cam = Cam(np.full((1, 2, 2), threshold, dtype=np.float32), np.array([1]), (2, 2))
        matrix = confusions(histogram(np.ones((2, 2), np.uint8), cam, 1))[percent]
        np.testing.assert_array_equal(matrix, confusion(np.ones((2, 2)), seed(cam, threshold), 1))
        assert matrix.tolist() == [[0, 0], [4, 0]]


@pytest.fixture
def sweeping(scenes, tmp_path: Path) -> Settings:
    """CAMs of the four scenes in two shards, right in the main, and masks with an ignored border."""
    rng, shards, cams = np.random.default_rng(0), (tmp_path / "1.h5", tmp_path / "2.h5"), []
    for image in scenes.images:
        path = scenes.root / "SegmentationClass" / f"{image}.png"
        mask = read_mask(path)
        shown = np.unique(mask[mask > 0])
        small = np.stack([mask[::4, ::4] == number for number in shown]) * 0.6
        maps = (small + rng.uniform(0, 0.4, small.shape)).astype(np.float32)
        cams.append((image, Cam(maps, shown, mask.shape)))
        mask[:2] = 255
        write_mask(path, mask)
    for i, shard in enumerate(shards):
        store.write(shard, cams[i::2], classes=("ball", "cube"), settings="{}", checkpoint="")
    return Settings(scenes.root, "all", shards, tmp_path / "sweep.csv", workers=1)


def test_the_table_equals_single_evaluations(sweeping: Settings, scenes) -> None:
    sweep.main(sweeping)
    rows, dataset = pd.read_csv(sweeping.out), Dataset.open(scenes.root)
    columns = ["threshold", "miou", "precision", "recall", "iou_background", "iou_ball", "iou_cube"]
    assert rows.columns.tolist() == columns
    assert rows["threshold"].tolist() == [i / 100 for i in range(101)]
    with open_store(sweeping.cams) as cams:
        for index in (0, 17, 30, 60, 99, 100):
            matrix = sum(
                confusion(read_mask(dataset.mask(image)), seed(cams.read(image), index / 100), 2)
                for image in scenes.images
            )
            expected = [mean_iou(matrix), *precision_recall(matrix), *iou(matrix)]
            np.testing.assert_allclose(rows.iloc[index, 1:], 100 * np.array(expected), rtol=0, atol=5e-5)
    assert rows["miou"].max() > 80  # the CAMs are right in the main
    assert rows["miou"].idxmax() not in (0, 100)
    assert (rows["recall"].diff().dropna() <= 0).all()  # a higher threshold finds less


def test_a_class_without_ground_truth_has_no_iou() -> None:
    truth = np.zeros((2, 2), dtype=np.uint8)
    cam = Cam(np.full((1, 2, 2), 0.5, dtype=np.float32), np.array([1]), (2, 2))
    rows = table(histogram(truth, cam, 2), ["cat", "dog"])
    assert rows[["iou_cat", "iou_dog"]].isna().all(axis=None)
    assert rows["iou_background"].tolist() == [0] * 50 + [100] * 51
    assert rows[["miou", "precision", "recall"]].isna().all(axis=None)  # of background alone
    assert best_row(rows)["threshold"] == 0
    assert not has_mean(rows)


def test_a_mask_of_another_size_a_class_too_many_and_an_image_without_cam_are_named(sweeping, scenes) -> None:
    path = scenes.root / "SegmentationClass" / "scene.1.png"
    mask = read_mask(path)
    for wrong, message in (
        (mask[:-1], "scene.1.png: size mismatch: the photo has"),
        (np.full_like(mask, 3), "scene.1.png: id 3 where classes.txt ends with 2"),
    ):
        write_mask(path, wrong)
        with pytest.raises(UserError, match=message):
            sweep.main(sweeping)
        assert not sweeping.out.exists()
    write_mask(path, mask)
    with pytest.raises(UserError, match=r"CAM .*'scene.1'|'scene.1' .*CAM"):
        sweep.main(replace(sweeping, cams=sweeping.cams[:1]))
