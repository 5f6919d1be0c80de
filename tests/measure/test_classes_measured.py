"""A mean over a part of the classes says so, and over background alone there is none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ppl.jobs.errors import UserError
from ppl.measure import sweep
from ppl.measure.classes_measured import NO_MEAN, note_on_mean
from ppl.measure.label_maps import mean_text, table
from ppl.measure.metrics import mean_iou, precision_recall
from ppl.report.overview import overview
from ppl.report.page import notes_on_means

NAMES = ("background", "ball", "cube")
ALL, PART, NONE = np.diag([8, 4, 2]), np.diag([8, 0, 2]), np.array([[8, 1, 0], [0, 0, 0], [0, 0, 0]])
NOTES = ["", "mIoU over 2 of 3 classes: no measured pixel is of ball", NO_MEAN]
TEXTS = ["mIoU 100.00 over 3 classes", "mIoU 100.00 over 2 of 3 classes", NO_MEAN]


@pytest.mark.parametrize(("matrix", "note", "text"), list(zip([ALL, PART, NONE], NOTES, TEXTS, strict=True)))
def test_tables_sweeps_and_messages_say_over_which_classes_a_mean_is(tmp_path, matrix, note, text) -> None:
    assert mean_text(matrix) == text
    path = tmp_path / "iou.csv"
    rows = table(matrix, NAMES)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    assert note_on_mean(path) == note
    assert (rows[-1][1] == "") == (matrix is NONE)
    histogram = np.zeros((3, 3, 102), dtype=np.int64)
    histogram[:, :, -1] = matrix
    sweep.table(histogram, NAMES[1:]).to_csv(path, index=False)
    assert note_on_mean(path) == note
    assert pd.read_csv(path)["miou"].isna().all() == (matrix is NONE)


def test_background_alone_has_neither_mean_nor_precision_and_recall() -> None:
    assert np.isnan([mean_iou(NONE), *precision_recall(NONE)]).all()
    np.testing.assert_array_equal(np.isnan(mean_iou(np.stack([ALL, PART, NONE]))), [False, False, True])


def test_a_missing_table_has_no_note_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert note_on_mean(tmp_path / "iou.csv") == ""
    (tmp_path / "iou.csv").write_text("")
    with pytest.raises(UserError, match="not a table of IoU"):
        note_on_mean(tmp_path / "iou.csv")


def test_the_overview_omits_the_mean_of_background_alone_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for variant, matrix in (("baseline/plain", NONE), ("explicit/s4k2", PART)):
        (folder / variant).mkdir(parents=True)
        rows = "".join(",".join(map(str, row)) + "\n" for row in table(matrix, NAMES))
        (folder / variant / "val-raw.csv").write_text(rows)
    text = overview([folder])
    assert f"mine, network: {NOTES[1]}" in text
    assert f"mine, network: {NO_MEAN}" in text
    (row,) = [line for line in text.splitlines() if "baseline/plain" in line]
    assert row.split() == ["mine", "baseline/plain"]
    paths = [folder / variant / "val-raw.csv" for variant in ("baseline/plain", "explicit/s4k2")]
    assert notes_on_means(paths) == [f"network: {NO_MEAN}", "network: mIoU over 2 of 3 classes"]
