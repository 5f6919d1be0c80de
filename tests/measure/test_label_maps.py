from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppl.data.masks import read_mask, write_mask
from ppl.jobs.errors import UserError
from ppl.measure import label_maps as evaluate
from ppl.measure.label_maps import Settings


@pytest.fixture
def settings(scenes, tmp_path: Path) -> Settings:
    return Settings(
        data=scenes.root, split="all", predictions=scenes.labels, name="val", out=tmp_path / "val.csv"
    )  # fmt: skip


@pytest.fixture
def pair(settings: Settings, scenes) -> tuple[Path, Path]:
    """Mask and prediction of a split of one image."""
    (scenes.root / "ImageSets" / "Segmentation" / "all.txt").write_text("scene.0\n")
    return scenes.root / "SegmentationClass" / "scene.0.png", scenes.labels[0] / "scene.0.png"


def test_a_confusion_by_hand(settings: Settings, pair: tuple[Path, Path]) -> None:
    mask, prediction = pair
    write_mask(mask, np.array([[0, 0, 1, 1, 2, 255], [0, 0, 1, 1, 2, 255]]))
    write_mask(prediction, np.array([[0, 1, 1, 1, 2, 0], [0, 0, 1, 0, 2, 2]]))
    evaluate.main(settings)
    # background 3 of 5, ball 3 of 5, cube 2 of 2; the pixels of truth 255 do not count
    assert (
        settings.out.read_text() == "class,iou,pixels\nbackground,60.00,4\nball,60.00,4\ncube,100.00,2\nmean,73.33,10\n"
    )


def test_a_class_without_ground_truth_is_left_out_and_named(
    settings: Settings, pair: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    mask, prediction = pair
    write_mask(mask, np.array([[0, 0, 2, 2]]))
    write_mask(prediction, np.array([[0, 1, 2, 2]]))
    evaluate.main(settings)
    assert settings.out.read_text() == "class,iou,pixels\nbackground,50.00,2\nball,,0\ncube,100.00,2\nmean,75.00,4\n"
    assert "no ground truth for ball" in capsys.readouterr().err


def test_one_matrix_over_all_images(settings: Settings, scenes, tmp_path: Path) -> None:
    predicted = tmp_path / "blank"
    predicted.mkdir()
    masks = [read_mask(scenes.root / "SegmentationClass" / f"{image}.png") for image in scenes.images]
    for image, mask in zip(scenes.images, masks, strict=True):
        write_mask(predicted / f"{image}.png", np.zeros_like(mask))
    evaluate.main(replace(settings, predictions=(predicted,)))
    share = sum((mask == 0).sum() for mask in masks) / sum(mask.size for mask in masks)
    rows = settings.out.read_text().splitlines()
    assert rows[1].split(",")[:2] == ["background", f"{100 * share:.2f}"]
    assert [row.split(",")[1] for row in rows[2:4]] == ["0.00", "0.00"]


def test_equal_maps_are_perfect_with_and_without_worker_processes(settings: Settings) -> None:
    evaluate.main(settings)
    alone = settings.out.read_text()
    assert alone.splitlines()[-1].startswith("mean,100.00,")
    evaluate.main(replace(settings, workers=1))
    assert settings.out.read_text() == alone


@pytest.mark.parametrize("wrong", [3, 255])
def test_ids_that_are_no_class_are_refused(settings: Settings, pair: tuple[Path, Path], wrong: int) -> None:
    mask, prediction = pair
    labels = read_mask(prediction)
    labels[0, 0] = wrong
    write_mask(prediction, labels)
    with pytest.raises(UserError, match=rf"labels-1/scene.0.png: class id {wrong}"):
        evaluate.main(settings)
    write_mask(mask, np.where(labels == 255, 3, labels))
    write_mask(prediction, np.zeros_like(labels))
    with pytest.raises(UserError, match=r"SegmentationClass/scene.0.png: id 3"):
        evaluate.main(settings)


def test_another_size_is_refused(settings: Settings, pair: tuple[Path, Path]) -> None:
    write_mask(pair[1], read_mask(pair[1])[:-1])
    with pytest.raises(UserError, match=r"labels-1/scene.0.png: size mismatch"):
        evaluate.main(settings)
    assert not settings.out.exists()


def test_masks_without_labels_are_refused(settings: Settings, pair: tuple[Path, Path]) -> None:
    write_mask(pair[0], np.full_like(read_mask(pair[0]), 255))
    with pytest.raises(UserError, match="no labelled pixel"):
        evaluate.main(settings)


def test_missing_predictions_are_counted(settings: Settings) -> None:
    with pytest.raises(UserError, match="2 of 4"):
        evaluate.main(replace(settings, predictions=settings.predictions[1:]))
