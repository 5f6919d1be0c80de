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
    return Settings(scenes.root, "all", scenes.labels, "val", tmp_path / "val.csv")


@pytest.fixture
def pair(settings: Settings, scenes) -> tuple[Path, Path]:
    """Mask and prediction of a split of one image."""
    (scenes.root / "ImageSets" / "Segmentation" / "all.txt").write_text("scene.0\n")
    return scenes.root / "SegmentationClass" / "scene.0.png", scenes.labels[0] / "scene.0.png"


@pytest.mark.parametrize(
    ("truth", "predicted", "rows", "warning"),
    [
        ([[0, 0, 1, 1, 2, 255], [0, 0, 1, 1, 2, 255]], [[0, 1, 1, 1, 2, 0], [0, 0, 1, 0, 2, 2]],
         ["background,60.00,4", "ball,60.00,4", "cube,100.00,2", "mean,73.33,10"], ""),  # 3 of 5, 3 of 5, 2 of 2
        ([[0, 0, 2, 2]], [[0, 1, 2, 2]],
         ["background,50.00,2", "ball,,0", "cube,100.00,2", "mean,75.00,4"], "no ground truth for ball"),
    ],
)  # fmt: skip
def test_a_confusion_by_hand_omits_255_and_names_classes_without_ground_truth(
    settings: Settings, pair: tuple[Path, Path], capsys, truth: list, predicted: list, rows: list, warning: str
) -> None:
    for path, labels in zip(pair, (truth, predicted), strict=True):
        write_mask(path, np.array(labels))
    evaluate.main(settings)
    assert settings.out.read_text().splitlines() == ["class,iou,pixels", *rows]
    assert warning in capsys.readouterr().err


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


def test_masks_without_labels_are_refused(settings: Settings, pair: tuple[Path, Path]) -> None:
    write_mask(pair[0], np.full_like(read_mask(pair[0]), 255))
    with pytest.raises(UserError, match="no labelled pixel"):
        evaluate.main(settings)
    assert not settings.out.exists()


def test_missing_predictions_are_counted(settings: Settings) -> None:
    with pytest.raises(UserError, match="2 of 4"):
        evaluate.main(replace(settings, predictions=settings.predictions[1:]))
