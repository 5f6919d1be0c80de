"""Seeds with CRF at the best threshold of a sweep."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from ppl.cam.store import STRIDE, Cam, write
from ppl.cam.threshold import Threshold, write_threshold
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.measure import best_crf_seeds
from ppl.refine import crf_seeds
from ppl.refine.settings import Refine

CPU = Hardware(gpu=0, workers=1)


def labels(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def inputs(scenes, tmp_path: Path) -> dict:
    """Arguments of both steps for scenes with random CAMs."""
    dataset, rng = Dataset.open(scenes.root), np.random.default_rng(0)
    cams = {}
    for image_id in scenes.images:
        size = read_mask(dataset.mask(image_id)).shape
        classes = np.array(dataset.labels_of(image_id))
        maps = rng.random((len(classes), *(-(-side // STRIDE) for side in size)), np.float32)
        cams[image_id] = Cam(maps, classes, size)
    write(tmp_path / "cams.h5", cams.items(), classes=dataset.classes, settings="{}", checkpoint="")
    common = {"data": scenes.root, "split": "all", "cams": (tmp_path / "cams.h5",)}
    return common | {"refine": Refine(), "hardware": CPU}


def test_the_best_threshold_of_the_sweep_decides(inputs, tmp_path):
    """At the best threshold of the sweep the seeds are those of that threshold."""
    sweep = tmp_path / "sweep.csv"
    sweep.write_text("threshold,miou,precision,recall\n0.2,10,1,1\n0.6,30,1,1\n0.7,20,1,1\n")
    best = best_crf_seeds.Settings(**inputs, out=tmp_path / "best", sweep=sweep)
    best_crf_seeds.main(best)
    for name, threshold in (("same", 0.6), ("other", 0.2)):
        file = tmp_path / f"{name}.json"
        write_threshold(file, Threshold(threshold=threshold, rule="fixed"))
        crf_seeds.main(crf_seeds.Settings(**inputs, threshold=file, out=tmp_path / name))
    assert labels(tmp_path / "best") == labels(tmp_path / "same") != labels(tmp_path / "other")


@pytest.mark.parametrize("text", ["threshold,miou,precision,recall\n0.2,,1,1\n", "no sweep"])
def test_a_file_without_measures_is_refused(inputs, tmp_path, text):
    sweep = tmp_path / "sweep.csv"
    sweep.write_text(text)
    with pytest.raises(UserError, match="not a sweep"):
        best_crf_seeds.main(best_crf_seeds.Settings(**inputs, out=tmp_path / "out", sweep=sweep))
    assert not (tmp_path / "out").exists()


def test_its_settings_are_those_of_the_seeds_with_a_sweep_in_place_of_a_threshold():
    names = [{field.name for field in fields(step.Settings)} for step in (crf_seeds, best_crf_seeds)]
    assert names[1] == names[0] - {"threshold"} | {"sweep"}
