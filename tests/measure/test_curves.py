from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from ppl.cam.threshold import THRESHOLD, Threshold, write_threshold
from ppl.jobs.errors import UserError
from ppl.measure import curves
from ppl.measure.curves import Settings, draw


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


FIXED = Threshold(threshold=0.2, rule="fixed")


def _sweep(best: float) -> pd.DataFrame:
    """A sweep whose mIoU peaks with 60 at the threshold `best`."""
    threshold = np.arange(101) / 100
    miou = 60 - 40 * (threshold - best) ** 2
    return pd.DataFrame({"threshold": threshold, "miou": miou, "precision": 100 * threshold, "recall": 90 - miou})


def test_every_sweep_is_a_curve_on_both_sides_with_its_best_threshold() -> None:
    sweeps = {"baseline": _sweep(0.15), "implicit": _sweep(0.3)}
    left, right = draw(sweeps, dict.fromkeys(sweeps, FIXED)).axes
    for name, best, sweep in zip(sweeps, (0.15, 0.3), sweeps.values(), strict=True):
        (curve,) = [line for line in left.lines if line.get_label() == f"{name}, best 60.0 at {best:.2f}"]
        np.testing.assert_array_equal(curve.get_xydata(), sweep[["threshold", "miou"]])
        (curve,) = [line for line in right.lines if line.get_label() == name]
        np.testing.assert_array_equal(curve.get_xydata(), sweep[["recall", "precision"]])
        dots = [line.get_xydata().tolist() for line in right.lines if line.get_marker() == "o"]
        assert sweep.loc[[20], ["recall", "precision"]].to_numpy().tolist() in dots
    assert [line.get_xdata() for line in left.lines if line.get_linestyle() == ":"] == [[0.2, 0.2]]


def test_a_threshold_chosen_without_masks_is_a_ring_on_the_curve_of_its_variant_and_no_line() -> None:
    sweeps = {"baseline": _sweep(0.15), "implicit": _sweep(0.3)}
    thresholds = {"baseline": Threshold(threshold=0.25, rule="auto"), "implicit": Threshold(threshold=0.4, rule="auto")}
    left, right = draw(sweeps, thresholds).axes
    for name, threshold in thresholds.items():
        label = f"at {threshold.threshold:.2f}, chosen without masks"
        (ring,) = [
            line for line in left.lines if line.get_label().startswith(name) and line.get_label().endswith(label)
        ]
        row = sweeps[name].iloc[round(100 * threshold.threshold)]
        np.testing.assert_array_equal(ring.get_xydata(), [row[["threshold", "miou"]]])
        dots = [line.get_xydata().tolist() for line in right.lines if line.get_marker() == "o"]
        assert [row[["recall", "precision"]].tolist()] in dots
    assert not [line for line in left.lines if line.get_linestyle() == ":"]
    assert right.get_title() == "dots: at the threshold chosen without masks"


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG\r"), ("pdf", b"%PDF-")])
def test_the_figure_is_a_file_and_every_sweep_needs_a_name(tmp_path: Path, suffix: str, start: bytes) -> None:
    _sweep(0.3).to_csv(tmp_path / "a.csv", index=False)
    write_threshold(tmp_path / THRESHOLD, FIXED)
    settings = Settings((tmp_path / "a.csv",), (tmp_path / THRESHOLD,), ("a",), tmp_path / f"curves.{suffix}")
    curves.main(settings)
    assert settings.out.read_bytes().startswith(start)
    with pytest.raises(UserError, match="1 sweeps but 2 names"):
        curves.main(replace(settings, names=("a", "b")))
    with pytest.raises(UserError, match="1 sweeps but 0 thresholds"):
        curves.main(replace(settings, thresholds=()))
