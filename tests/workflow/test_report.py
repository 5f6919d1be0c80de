"""What Snakemake's own report holds of a finished experiment, and what is said at the end of a run."""

import json
import re
import zipfile

import pytest

TARGETS = ("results/drawn/report.html", "results/drawn/tables")


@pytest.fixture(scope="session")
def shown(project):
    """Results in a report by path, and paths by subcategory of the experiment."""
    for name in ("table-V.csv", "table-V.png"):
        (project.root / "results" / "drawn" / "tables" / name).write_text("row,ours\n")
    done = project.command("--report", "report.zip", *TARGETS)
    assert done.returncode == 0, done.stdout
    with zipfile.ZipFile(project.root / "report.zip") as archive:
        page = archive.read("report/report.html").decode()
    assigned = (page[page.index(f'var {name} = {{"') :] for name in ("results", "categories"))
    results, categories = (json.JSONDecoder().raw_decode(script, script.index("{"))[0] for script in assigned)
    assert set(categories) == {"drawn"}
    assert "image-level labels" in page
    return results, categories["drawn"]


def test_the_report_carries_what_the_page_is_made_of(shown):
    _, sections = shown
    folder = "results/drawn/"
    files = {section: sorted(path.removeprefix(folder) for path in paths) for section, paths in sections.items()}
    main = "implicit/s2k2-s3k4"
    assert files == {
        "Overview": [f"{main}/classes.csv", "report.html", "summary.csv"],
        "Trainings": ["trainings.png"],
        "Seeds": [
            *(f"baseline/plain/{name}.csv" for name in ("seed-best-crf", "seed-crf", "sweep")),
            *("curves.png", *(f"{main}/{name}.csv" for name in ("seed-best-crf", "seed-crf", "sweep"))),
        ],
        "Pseudo labels": [f"{main}/pseudo.csv"],
        "Network": [f"{main}/val-crf.csv", f"{main}/val-raw.csv"],
        "Costs": ["costs.csv"],
        "Tables and figures of the paper": ["tables/table-V.csv", "tables/table-V.png"],
    }


def test_every_result_has_a_caption_and_labels_that_tell_it_from_the_others(shown):
    results, sections = shown
    assert set(results) == {path for paths in sections.values() for path in paths}
    for path, result in results.items():
        text = re.sub(r"<[^>]+>", "", result["caption"]).strip()
        assert text.endswith("."), path
        assert "snakemake" not in text, path
    for paths in sections.values():
        labels = [tuple(sorted(results[path]["labels"].items())) for path in paths]
        assert len(set(labels)) == len(labels)
    sweep = results["results/drawn/baseline/plain/sweep.csv"]
    assert "baseline/plain" in sweep["caption"]
    assert sweep["labels"]["method"] == "baseline"
