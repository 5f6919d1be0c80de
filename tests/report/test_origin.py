"""The steps behind a page, from the records beside its inputs."""

import itertools
import json
import os
from pathlib import Path

import pytest

from ppl.jobs import provenance
from ppl.report.figures import draw_graph, svg
from ppl.report.origin import Graph, Step, columns, graph_of, next_steps
from ppl.report.summary import variant_of

SHARDS = ["explicit/s4k2/cams/train-1of2.h5", "explicit/s4k2/cams/train-2of2.h5"]
OUTPUTS = {  # output: module, inputs
    "data": ("ppl.data.prepare", []),
    "baseline/plain/classifier.pt": ("ppl.classify.train", ["data"]),
    "explicit/s4k2/classifier.pt": ("ppl.classify.train", ["data", "baseline/plain/classifier.pt"]),
    **{shard: ("ppl.cam.export", ["data", "explicit/s4k2/classifier.pt"]) for shard in SHARDS},
    "explicit/s4k2/sweep.csv": ("ppl.measure.sweep", ["data", *SHARDS]),
}
DATA, BASELINE = Step("data.prepare", ""), Step("classify.train", "baseline/plain")
CLASSIFIER, CAMS = Step("classify.train", "explicit/s4k2"), Step("cam.export", "explicit/s4k2")
SWEEP = Step("measure.sweep", "explicit/s4k2")


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    for name, (module, inputs) in OUTPUTS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = f"{abs(hash(name)):064x}"
        named = {os.path.relpath(tmp_path / read, path.parent): {"sha256": digest, "files": 1} for read in inputs}
        record = {"name": path.name, "sha256": digest, "files": 1, "made_by": module, "code": "c0de"}
        record |= {"settings": {}, "versions": {"python": "3.11"}, "inputs": named | {"/outside.txt": {}}}
        provenance.file_of(path).write_text(json.dumps(record))
    return graph_of([tmp_path / "explicit/s4k2/sweep.csv"])


def test_shards_are_one_step_and_variants_several(graph):
    assert set(graph.steps) == {DATA, BASELINE, CLASSIFIER, CAMS, SWEEP}
    assert [path.name for path, _ in graph.outputs[CAMS]] == ["train-1of2.h5", "train-2of2.h5"]
    assert graph.code[SWEEP] == "c0de"
    assert graph.versions == {"python": "3.11"}


def test_steps_come_after_their_inputs(graph):
    assert all(graph.steps.index(before) < graph.steps.index(after) for before, after in graph.edges)
    place = {step: x for x, column in enumerate(columns(graph)) for step in column}
    assert all(place[before] < place[after] for before, after in graph.edges)


def test_arrows_that_a_longer_path_implies_are_left_out(graph):
    assert (DATA, SWEEP) in graph.edges
    path = [DATA, BASELINE, CLASSIFIER, CAMS, SWEEP]
    assert set(next_steps(graph)) == set(itertools.pairwise(path))


def test_the_graph_is_drawn_with_every_step(graph):
    assert svg(lambda: draw_graph(graph), "graph", "steps").count("classify.train") == 2


def test_results_without_records_have_no_steps(tmp_path):
    assert graph_of([tmp_path / "explicit/s4k2/sweep.csv"]).steps == []


@pytest.mark.parametrize(("path", "variant"), [
    ("results/demo/explicit/s4k2/sweep.csv", "explicit/s4k2"),
    ("results/demo/implicit/s2k2-s3k4/cams/train-1of1.h5", "implicit/s2k2-s3k4"),
    ("/usr/local/share/results/demo/data", ""),
    ("/home/local/plain/results/demo/baseline/plain/segmenter.pt", "baseline/plain"),
    ("results/demo/settings.yaml", ""),
])  # fmt: skip
def test_the_variant_is_part_of_a_path(path, variant):
    assert variant_of(Path(path)) == variant
