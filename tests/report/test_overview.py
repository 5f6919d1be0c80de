import re
import subprocess
import sys

import pytest

from ppl.cam.threshold import THRESHOLD, Threshold, write_threshold
from ppl.experiment import stored
from ppl.jobs.errors import UserError
from ppl.report import overview, summary


def table(text: str) -> list[list[str]]:
    """Cells of the rows, by runs of two spaces or more."""
    return [line.replace("at best", "at_best").replace("with CRF", "with_CRF").replace("in all", "in_all").split()
            for line in text.split("\n\n")[1].splitlines()]  # fmt: skip


def test_the_figures_are_those_of_the_summary(unchanged):
    rows = table(overview.overview([unchanged.root]))
    assert rows == [
        ["experiment", "variant", "seeds", "at_best", "pseudo", "network", "with_CRF", "minutes"],
        ["mini", "baseline/plain", "32.2", "32.2"],
        ["explicit/s4k2", "42.2", "43.3", "51.6", "53.3", "55.5", "3.0"],
        ["in_all", "3.0"],
    ]
    page = unchanged.settings()
    resolved = stored.read(page.settings)
    sweeps, thresholds = summary.read_sweeps(page.sweeps), summary.read_thresholds(page.thresholds)
    headline = summary.headline(resolved, sweeps, thresholds, summary.read_ious(page.measured))
    assert [f"{measure.value:.1f}" for measure in headline] == [*rows[1][2:], *rows[2][1:-1]]


def test_partial_pseudo_labels_have_their_labelled_share(experiment):
    complete = overview.overview([experiment.root])
    experiment.write_labelled(100)
    assert overview.overview([experiment.root]) == complete
    experiment.write_labelled(78.26)
    text = overview.overview([experiment.root])
    header, _, main, _ = table(text)
    assert header[4:6] == ["pseudo", "labelled"]
    assert main[3:5] == ["51.6", "78.3"]
    assert overview.NOTE_ON_LABELS in text
    assert max(map(len, text.split("\n\n")[0].splitlines())) <= 100


def test_several_experiments_share_a_table(experiment, unchanged):
    assert len(table(overview.overview([experiment.root, unchanged.root]))) == 7


def test_numbers_are_aligned_and_fit_a_terminal(unchanged):
    lines = overview.overview([unchanged.root]).splitlines()
    header, row = (next(line for line in lines if name in line) for name in ("experiment  ", "explicit/s4k2"))
    assert len(header) == len(row)
    assert header.index("pseudo") + len("pseudo") == row.index("51.6") + len("51.6")
    assert max(map(len, overview.NOTE.splitlines())) <= 100
    assert max(map(len, lines[3:7])) <= 100


def test_missing_results_are_omitted(experiment):
    for name in ("val-crf.csv", "pseudo.csv"):
        (experiment.main / name).unlink()
    for file in experiment.root.glob("*/*/threshold.json"):
        file.unlink()
    text = overview.overview([experiment.root])
    assert table(text)[0] == ["experiment", "variant", "at_best", "network", "minutes"]
    assert "report.html" not in text
    (experiment.root / "report.html").touch()
    assert str(experiment.root / "report.html") in overview.overview([experiment.root])


def test_an_experiment_without_anything_measured_has_its_minutes(experiment):
    for file in experiment.root.glob("*/*/*.csv"):
        file.unlink()
    assert table(overview.overview([experiment.root])) == [
        ["experiment", "variant", "minutes"], ["mini", "explicit/s4k2", "3.0"], ["in_all", "3.0"],
    ]  # fmt: skip


def test_a_damaged_table_is_named(experiment):
    (experiment.main / "sweep.csv").write_text("threshold,miou\n0.1,\x00much\n")
    with pytest.raises(UserError, match=r"explicit/s4k2/sweep\.csv: not a table"):
        overview.overview([experiment.root])


def test_every_variant_has_its_threshold_and_its_origin(experiment):
    write_threshold(experiment.main / THRESHOLD, Threshold(threshold=0.29, rule="auto"))
    text = overview.overview([experiment.root])
    assert re.search(r"mini +baseline/plain +seeds at fixed threshold 0\.30\n", text)
    assert re.search(r"explicit/s4k2 +seeds at threshold 0\.29, chosen without masks", text)
    assert table(text)[2][1] == "43.3"  # at 0.29


def test_vanished_classes_are_warned_of_in_one_line_each(experiment):
    (warning,) = [line for line in overview.overview([experiment.root]).splitlines() if "warning" in line]
    assert warning.startswith(
        "warning: mini/explicit/s4k2: class 'null' vanishes: in the seeds of 3 of 4 photos, in the "
    )
    (experiment.main / "classes.csv").unlink()
    assert "warning" not in overview.overview([experiment.root])


def run(*arguments, program=("-m", "ppl.report.overview")):
    return subprocess.run([sys.executable, *program, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_command(experiment, tmp_path):
    failed = run(tmp_path / "nothing")
    assert failed.returncode == 1
    assert "not a folder of results" in failed.stderr
    (experiment.root / "logs").mkdir()
    done = run(experiment.root)
    assert (done.returncode, done.stdout.rstrip("\n")) == (0, overview.overview([experiment.root]))


def test_it_starts_without_torch_and_pandas():
    heavy = "{'torch', 'pandas', 'numpy'}"
    code = f"import sys, ppl.report.overview, ppl.workflow.job_progress; print({heavy} & {{*sys.modules}})"
    assert run(program=("-c", code)).stdout == "set()\n"
