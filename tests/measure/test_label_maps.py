from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppl.data.masks import IGNORE, read_mask, write_mask
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


@pytest.fixture
def partial(settings: Settings, scenes, tmp_path: Path) -> Settings:
    """Settings with label maps that differ from the truth and leave pixels unlabelled."""
    rng, folder = np.random.default_rng(0), tmp_path / "partial"
    folder.mkdir()
    for image_id in scenes.images:
        mask = read_mask(scenes.root / "SegmentationClass" / f"{image_id}.png")
        labels = np.where(rng.random(mask.shape) < 0.3, rng.integers(0, 3, mask.shape), mask % IGNORE)
        write_mask(folder / f"{image_id}.png", np.where(rng.random(mask.shape) < 0.2, IGNORE, labels))
    return replace(settings, predictions=(folder,), partial=True)


def test_partial_label_maps_have_the_iou_of_their_labelled_pixels_alone(partial: Settings, scenes) -> None:
    """Masks that are unlabelled at the same pixels give the same, with complete label maps."""
    evaluate.main(partial)
    rows = [row.split(",") for row in partial.out.read_text().splitlines()]
    assert rows[0] == ["class", "iou", "pixels", "labelled", "precision"]
    labelled = in_all = 0
    for image_id in scenes.images:
        path, file = partial.predictions[0] / f"{image_id}.png", scenes.root / "SegmentationClass" / f"{image_id}.png"
        labels, mask = read_mask(path), read_mask(file)
        labelled, in_all = labelled + ((mask != IGNORE) & (labels != IGNORE)).sum(), in_all + (mask != IGNORE).sum()
        write_mask(file, np.where(labels == IGNORE, IGNORE, mask))
        write_mask(path, labels % IGNORE)
    assert rows[-1][3] == f"{100 * labelled / in_all:.2f}"
    evaluate.main(replace(partial, partial=False))
    assert [row.split(",") for row in partial.out.read_text().splitlines()] == [row[:3] for row in rows]


def test_complete_label_maps_are_measured_alike_with_and_without_partial(settings: Settings) -> None:
    evaluate.main(settings)
    before = settings.out.read_text().splitlines()
    evaluate.main(replace(settings, partial=True))
    rows = settings.out.read_text().splitlines()
    assert [row.rsplit(",", 2)[0] for row in rows] == before
    assert all(row.endswith(",100.00,100.00") for row in rows[1:])


def test_labelled_and_precision_by_hand(settings: Settings, pair: tuple[Path, Path], capsys) -> None:
    write_mask(pair[0], np.array([[0, 0, 0, 0, 1, 1, 1, 1, 2, 255]]))
    write_mask(pair[1], np.array([[0, 0, 1, 255, 1, 1, 0, 255, 255, 1]]))
    evaluate.main(replace(settings, partial=True))
    assert settings.out.read_text().splitlines()[1:] == [
        "background,50.00,3,75.00,66.67",
        "ball,50.00,3,75.00,66.67",
        "cube,,0,0.00,",
        "mean,50.00,6,66.67,66.67",
    ]
    printed = capsys.readouterr().err
    assert "no labelled pixel of cube; excluded from the mean" in printed
    assert "mIoU 50.00 of the 66.7 % labelled pixels over 2 of 3 classes" in printed


def test_a_prediction_with_unlabelled_pixels_is_refused(partial: Settings) -> None:
    with pytest.raises(UserError, match=r"class id 255, but the highest of classes\.txt is 2"):
        evaluate.main(replace(partial, partial=False))


def test_label_maps_without_any_label_are_refused(settings: Settings, pair: tuple[Path, Path]) -> None:
    write_mask(pair[1], np.full_like(read_mask(pair[1]), IGNORE))
    with pytest.raises(UserError, match="no pixel has a label"):
        evaluate.main(replace(settings, partial=True))
    assert not settings.out.exists()
