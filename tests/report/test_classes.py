"""Pixels per class from labels to predictions, and the classes that vanish between them."""

import math
import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl.cam.store import Cam, write
from ppl.cam.threshold import Threshold, write_threshold
from ppl.data.dataset import Dataset
from ppl.data.masks import IGNORE, read_mask, write_mask
from ppl.experiment.settings import Experiment
from ppl.jobs.errors import UserError
from ppl.report.classes import STAGES, ClassCounts, Count, read_counts, vanishing, warnings
from ppl.report.count_classes import UNIT, Settings, count, main

label_maps = arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 3, IGNORE]))


@given(label_maps, st.sets(st.integers(1, 3)))
def test_a_class_of_the_labels_is_there_or_gone_and_undecided_pixels_are_not_its(labels, classes):
    counts = count(labels, sorted(classes), 3)
    for c in (1, 2, 3):
        photos, gone, share = counts[c - 1]
        assert photos == (c in classes)
        assert gone == (c in classes and not (labels == c).any())
        assert share / UNIT == pytest.approx((labels == c).mean() if c in classes else 0)


def row(*stages: tuple[int, int, float], alone: int = 2) -> ClassCounts:
    """A class whose stages have (photos, gone, share)."""
    return ClassCounts("saddle", alone, dict(zip(STAGES, (Count(*stage) for stage in stages), strict=True)))


def stage_of(*stages: tuple[int, int, float]) -> str | None:
    lost = vanishing(row(*stages))
    return lost.stage if lost else None


def test_a_class_vanishes_at_the_first_stage_that_lacks_it_on_too_many_of_its_photos():
    assert stage_of((42, 2, 9), (42, 4, 8), (10, 1, 8)) is None
    assert stage_of((42, 21, 9), (42, 21, 8), (10, 5, 8)) is None  # half is not more than half
    assert stage_of((42, 22, 9), (42, 40, 8), (10, 9, 8)) == "seeds"
    assert stage_of((42, 2, 9), (42, 39, 8), (10, 9, 8)) == "labels"
    assert stage_of((42, 2, 9), (42, 2, 8), (10, 7, 8)) is None  # predictions do not know the labels
    assert stage_of((42, 2, 9), (42, 2, 8), (10, 8, 8)) == "predictions"


def test_a_class_vanishes_where_less_than_a_fifth_of_its_pixels_is_left():
    assert stage_of((42, 2, 9), (42, 4, 1.9), (10, 1, 1.9)) is None
    assert stage_of((42, 2, 9), (42, 4, 1.7), (10, 1, 9)) == "labels"
    assert stage_of((42, 2, 9), (42, 4, 3), (10, 1, 1)) == "predictions"  # step by step
    assert stage_of((42, 2, 3), (42, 4, 9), (10, 1, 1.7)) == "predictions"


def test_a_stage_without_labelled_photos_decides_nothing():
    assert stage_of((0, 0, math.nan), (0, 0, math.nan), (0, 0, math.nan)) is None
    assert stage_of((42, 2, 9), (42, 4, 8), (0, 0, math.nan)) is None
    assert stage_of((0, 0, math.nan), (0, 0, math.nan), (3, 3, 0)) == "predictions"


@given(
    st.lists(
        st.integers(1, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.floats(0, 100))),
        min_size=3,
        max_size=3,
    )
)
def test_a_class_that_is_nowhere_in_the_predictions_is_warned_of(stages):
    photos, _, _ = stages[-1]
    assert len(warnings([row(*stages[:2], (photos, photos, 0.0))])) == 1


def test_a_warning_is_one_line_with_evidence_and_remedy():
    lost = row((42, 2, 9), (42, 39, 8), (10, 9, 8))
    shrunk = row((42, 2, 9.04), (42, 4, 0.2), (10, 9, 8))
    never = row((42, 30, 9), (42, 39, 8), (10, 9, 8))
    lines = warnings([lost, row((42, 2, 9), (42, 4, 8), (10, 1, 8)), shrunk, never])
    assert [line.partition(";")[0] for line in lines] == [
        "class 'saddle' vanishes: in the seeds of 40 of 42 photos, in the pseudo labels of 3 of 42 photos",
        "class 'saddle' vanishes: share of the pixels of its photos 9.0 % in the seeds, 0.20 % in the pseudo labels",
        "class 'saddle' vanishes: in the image-level labels of 42 of 42 photos, in the seeds of 12 of 42 photos",
    ]
    assert all("(2 of 42 do)" in line and "\n" not in line for line in lines)


def test_settings_that_remedies_name_exist():
    keys = {key for stage in STAGES.values() for key in re.findall(r"[a-z]+(?:\.[a-z_]+)+", stage.remedy)}
    assert len(keys) >= 3
    for key in keys:
        attrgetter(key)(Experiment())


@pytest.fixture
def settings(scenes, tmp_path: Path) -> Settings:
    """Scenes of one object each, whose CAMs are their masks; pseudo labels and predictions are the masks too."""
    dataset, file = Dataset.open(scenes.root), tmp_path / "cams.h5"
    cams = {}
    for image_id in scenes.images:
        mask = read_mask(scenes.root / "SegmentationClass" / f"{image_id}.png")
        maps = (mask[2::4, 2::4] > 0).astype(np.float32)
        grid = tuple(-(-side // 4) for side in mask.shape)
        maps = np.pad(maps, [(0, grid[i] - maps.shape[i]) for i in (0, 1)], mode="edge")
        cams[image_id] = Cam(maps[None], np.array(dataset.labels_of(image_id)), mask.shape)
    write(file, cams.items(), classes=dataset.classes, settings="{}", checkpoint="")
    (scenes.root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join([*scenes.images, "unlabelled"]))
    write_threshold(tmp_path / "threshold.json", Threshold(threshold=0.3, rule="fixed"))
    return Settings(
        data=scenes.root,
        train_split="all",
        val_split="val",
        cams=(file,),
        threshold=tmp_path / "threshold.json",
        labels=scenes.labels,
        predictions=scenes.labels,
        out=tmp_path / "classes.csv",
        workers=0,
    )


def test_all_stages_are_counted_on_labelled_photos_without_masks(settings, scenes):
    masks = {path.stem: read_mask(path) for path in (scenes.root / "SegmentationClass").iterdir()}
    for path in (scenes.root / "SegmentationClass").iterdir():
        path.unlink()
    (scenes.labels[0] / "scene.2.png").unlink()
    write_mask(scenes.labels[0] / "scene.2.png", np.full_like(masks["scene.2"], IGNORE))
    main(settings)
    ball, cube = read_counts(settings.out)
    assert (ball.name, ball.alone, cube.name, cube.alone) == ("ball", 2, "cube", 2)
    assert [(c.photos, c.gone) for c in ball.stages.values()] == [(2, 0), (2, 1), (2, 1)]
    assert [(c.photos, c.gone) for c in cube.stages.values()] == [(2, 0)] * 3
    share = 100 * np.mean([(masks[f"scene.{i}"] == 2).mean() for i in (1, 3)])
    assert cube.stages["labels"].share == pytest.approx(share, abs=0.001)
    assert cube.stages["seeds"].share == pytest.approx(share, rel=0.3)  # CAMs have a stride of 4


def test_seeds_are_those_of_the_threshold_and_workers_change_nothing(settings):
    main(settings)
    before = settings.out.read_text()
    main(replace(settings, workers=1))
    assert settings.out.read_text() == before
    write_threshold(settings.threshold, Threshold(threshold=1, rule="fixed"))
    main(settings)
    assert [row.stages["seeds"].gone for row in read_counts(settings.out)] == [2, 2]


def test_without_labels_of_the_validation_split_its_stage_is_empty(settings, scenes):
    (scenes.root / "ImageSets" / "Segmentation" / "val.txt").write_text("unlabelled")
    main(settings)
    rows = read_counts(settings.out)
    assert [row.stages["predictions"].photos for row in rows] == [0, 0]
    assert all(math.isnan(row.stages["predictions"].share) for row in rows)
    assert warnings(rows) == []


def test_a_missing_table_is_empty_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "classes.csv"
    assert read_counts(path) == []
    for text in ("class,alone\nball,1\n", "class,alone,seeds_photos\nball,1,many\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"classes\.csv: not a table"):
            read_counts(path)
