import pandas as pd

from ppl.report import summary


def test_headline_numbers_in_the_table(experiment):
    page = experiment.settings()
    out = experiment.root / "summary.csv"
    summary.main(summary.Settings(page.settings, page.sweeps, page.thresholds, page.measured, out))
    rows = [
        tuple(row)
        for row in pd.read_csv(out, dtype={"threshold": str, "labelled": str}).fillna("").itertuples(index=False)
    ]
    assert rows == [
        ("seed_fixed", "seeds", "baseline/plain", "0.3", 32.2, ""),
        ("seed_best", "seeds", "baseline/plain", "0.3", 32.2, ""),
        ("seed_fixed", "seeds", "explicit/s4k2", "0.3", 42.2, ""),
        ("seed_best", "seeds", "explicit/s4k2", "0.29", 43.3, ""),
        ("pseudo", "seeds", "explicit/s4k2", "", 51.57, ""),
        ("network_raw", "held_out", "explicit/s4k2", "", 53.33, ""),
        ("network_crf", "held_out", "explicit/s4k2", "", 55.55, ""),
    ]


def test_pseudo_labels_have_their_labelled_share(experiment):
    experiment.write_labelled(78.26)
    page, out = experiment.settings(), experiment.root / "summary.csv"
    summary.main(summary.Settings(page.settings, page.sweeps, page.thresholds, page.measured, out))
    table = pd.read_csv(out).set_index("measure")
    assert table["labelled"].dropna().to_dict() == {"pseudo": 78.26}
    assert table.loc["pseudo", "value"] == 51.57


def test_without_masks_the_table_has_only_its_header(experiment):
    out = experiment.root / "summary.csv"
    summary.main(summary.Settings(experiment.settings(masks=False).settings, (), (), (), out))
    assert out.read_text() == "measure,split,variant,threshold,value,labelled\n"


def test_only_an_empty_iou_is_missing_not_a_class_called_null(experiment):
    table = summary.read_ious([experiment.main / "pseudo.csv"])["pseudo"]
    assert list(table["class"]) == ["background", '<b>&"', "null", "mean"]
    assert list(table["iou"].isna()) == [False, True, False, False]
