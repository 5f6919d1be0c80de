"""The paper's figures: complete, free of contradictions, and under names of variants that exist."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

import ppl.report
from ppl.classify import variants as grids
from ppl.data.sources.voc import CLASSES

COLUMNS = ["table", "page", "row", "variant", "measure", "class", "value"]
FIGURES = {"I": 25, "II": 62, "III": 88, "IV": 15, "V": 12, "VI": 21, "VII": 16, "VIII": 7}  # printed, per table
MAIN = {f"{method}/s2k2-s3k4-s4k6" for method in ("implicit", "explicit")}


@pytest.fixture(scope="module")
def paper() -> pd.DataFrame:
    path = Path(ppl.report.__file__).with_name("paper.csv")
    return pd.read_csv(path, dtype=str, keep_default_na=False).astype({"value": float})


def test_every_figure_of_every_table_is_there_once(paper: pd.DataFrame) -> None:
    assert list(paper.columns) == COLUMNS
    assert Counter(paper["table"]) == FIGURES
    assert not paper.duplicated(["table", "row", "variant", "measure", "class"]).any()
    assert paper["value"].between(0, 100).all()
    assert set(paper["measure"]) == {"seed", "crf", "pseudo", "val", "test"}
    assert (paper["page"].str.fullmatch(r"\d*")).all()
    assert (paper["row"] != "").all()


def test_variants_exist(paper: pd.DataFrame) -> None:
    for variant in set(paper["variant"]) - {""}:
        grids.parse(*variant.removeprefix("voc-vgg16/").split("/"))
    single = set(paper["variant"][paper["table"] == "VI"])
    assert single == {f"implicit/s{stage}k{k}" for stage in grids.STAGES for k in range(2, 9)}


def test_the_mean_over_the_classes_is_the_printed_one(paper: pd.DataFrame) -> None:
    by_row = paper[paper["table"] == "III"].groupby(["variant", "measure"])
    assert set(by_row.groups) == {(variant, measure) for variant in MAIN for measure in ("val", "test")}
    for _, rows in by_row:
        ious = rows.set_index("class")["value"]
        assert list(ious.index) == ["background", *CLASSES, ""]
        assert ious[:-1].mean() == pytest.approx(ious[""], abs=0.1)


def test_a_row_that_is_printed_in_two_tables_has_the_same_figure(paper: pd.DataFrame) -> None:
    seeds = paper[(paper["measure"] == "seed") & paper["table"].isin(["I", "V", "VI", "VII", "VIII"])]
    for _, values in seeds[seeds["variant"] != ""].groupby("variant")["value"]:
        assert values.max() - values.min() < 0.05  # Table I is rounded
    final = paper[paper["table"].isin(["II", "III"]) & (paper["class"] == "") & paper["variant"].isin(MAIN)]
    assert (final.groupby(["variant", "measure"])["value"].agg(["count", "nunique"]) == [2, 1]).all(axis=None)


def test_patches_before_stage_4_are_one_model_of_the_paper_and_one_variant_of_ours(paper: pd.DataFrame) -> None:
    """Tables V, VI and VIII print 49.87 for it."""
    rows = {"V": "PL S 4", "VI": "Stage 4 K=6", "VIII": "6"}
    models = [paper[(paper["table"] == table) & (paper["row"] == row)] for table, row in rows.items()]
    seeds = pd.concat([model[(model["measure"] == "seed") & (model["value"] == 49.87)] for model in models])
    assert list(seeds["table"]) == list(rows)
    assert set(seeds["variant"]) == {"implicit/s4k6"}


def test_the_configuration_trains_every_variant_of_the_papers_tables(paper: pd.DataFrame) -> None:
    experiments = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())["experiments"]
    for experiment in ("voc", "coco"):
        for table, part in experiments[experiment]["tables"].items():
            ours = set(paper["variant"][(paper["table"] == table) & (paper["variant"] != "")])
            assert ours - set(part["variants"]) <= {"baseline/plain"} & ours, table
            assert set(part["variants"]) <= ours, table
