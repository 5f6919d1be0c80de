"""The table of measures agrees with what rules write, what a configuration may ask for, and what the paper reports."""

from pathlib import Path

import pytest
import yaml

from ppl.measure.measures import MEASURES, files_of, prediction_kinds
from ppl.report.paper import read_paper

WORKFLOW = Path(__file__).parents[2] / "workflow"
KEYS = {measure.key for measure in MEASURES}


def test_names_and_columns_are_unique():
    for names in ([measure.name for measure in MEASURES], [m.column for m in MEASURES if m.column]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_a_rule_writes_the_files_of_every_measure(measure):
    rules = "\n".join(path.read_text() for path in (WORKFLOW / "rules").glob("*.smk"))
    names = {measure.file, measure.file.replace("raw", "{kind}").replace("val-crf", "val-{kind}")}
    assert any(f'"results/{{experiment}}/{{method}}/{{grids}}/{name}"' in rules for name in names)


def test_tables_offer_every_measure_and_the_paper_reports_it():
    schema = yaml.safe_load((WORKFLOW / "schemas" / "config.schema.yaml").read_text())["$defs"]
    assert set(schema["Table"]["properties"]["measures"]["items"]["enum"]) == KEYS
    assert set(read_paper()["measure"]) - {"test"} == KEYS
    assert sorted(measure.key for measure in MEASURES if measure.in_paper) == sorted(KEYS)


@pytest.mark.parametrize(("crf", "file"), [(True, "val-crf.csv"), (False, "val-raw.csv")])
def test_the_network_is_measured_by_its_last_predictions(crf, file):
    assert files_of("val", crf=crf) == [file]
    assert prediction_kinds(crf=crf)[-1] in file
    assert files_of("seed", crf=crf) == ["sweep.csv"]
    assert files_of("crf", crf=crf) == ["seed-crf.csv", "seed-best-crf.csv"]  # at the fixed and at the best threshold
