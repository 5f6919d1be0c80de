"""Inference on photos: broken settings, options and photos are refused in one line, and nothing is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import ppl
from ppl.jobs.settings import Hardware
from ppl.predict import __main__ as predict
from ppl.predict.__main__ import Settings

SECTION = "segment: {prediction: {photo_scales: %s, iterations: %s, pairwise: %s}}"
SETTINGS = {
    "empty": "", "a list": "[1, 2]", "not YAML": "{segment: ", "binary": "\0", "a configuration": "experiments: {}",
    "section is a text": "segment: deep", "section is a list": "segment: [1]", "former keys": "segment: {crf: true}",
    "scales are texts": SECTION % ("[wide]", 2, "{}"), "scales are a number": SECTION % (1, 2, "{}"),
    "iterations are a text": SECTION % ("[1]", "few", "{}"), "pairwise is a list": SECTION % ("[1]", 2, "[1]"),
    "another pairwise": SECTION % ("[1]", 2, "{sxy: 1}"),
}  # fmt: skip
OPTIONS = [
    *(("photo_scales", scales) for scales in ((0,), (-1,), (float("nan"),), (float("inf"),), ())),
    *(("max_side", side) for side in (0, -5)),
    ("settings", Path("absent.yaml")),
]


@pytest.fixture
def settings(finish: Callable[[str], Path], tiny: str, tmp_path: Path) -> Settings:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    return Settings(
        photos=(str(tmp_path / "a.jpg"),), weights=finish(tiny) / "segmenter.pt", folder=tmp_path / "predictions",
        hardware=Hardware(gpu=0, workers=0, precision="32-true"),
    )  # fmt: skip


@pytest.mark.parametrize("content", SETTINGS.values(), ids=SETTINGS)
def test_other_settings_are_refused(settings, refused, tmp_path, content):
    (tmp_path / "results" / "own" / "settings.yaml").write_text(content)
    refused(predict.main, settings, "settings.yaml", lines=1)


@pytest.mark.parametrize("content", ["", "cam: {maps: [1]}", "cam: {maps: {cam_exponent: high}}"])
def test_other_settings_of_maps_are_refused(settings, refused, tmp_path, content):
    (tmp_path / "results" / "own" / "settings.yaml").write_text(content)
    refused(ppl.load, settings.weights.with_name("classifier.pt"), "settings.yaml")


@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_invalid_options_are_refused(settings, refused, option, value):
    refused(predict.main, replace(settings, **{option: value}), "absent.yaml" if option == "settings" else option)


@pytest.mark.parametrize("flags", [{"crf": True, "no_crf": True}, {"batch_size": 0}])
def test_contradictory_flags_are_refused(settings, refused, flags):
    refused(lambda flags: replace(settings, **flags), flags)


@pytest.mark.parametrize("content", [b"", b"no photo", b"\0\0\0\x18ftypheic"])
def test_a_single_broken_photo_is_refused(settings, refused, tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    refused(predict.main, settings, "a.jpg", lines=1)


def test_a_photo_above_the_limit_of_the_networks_is_refused(settings, refused, tmp_path):
    Image.new("L", (2100, 2100)).save(tmp_path / "a.jpg")
    refused(predict.main, replace(settings, max_side=3000), "a.jpg", "lower max_side")


def test_a_file_as_output_folder_is_refused(settings, refused, tmp_path):
    (tmp_path / "predictions").touch()
    refused(predict.main, settings, "predictions")


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_missing_weights_are_refused(tmp_path, refused, spoil, kind):
    spoil(tmp_path / "a.pt", kind)
    refused(ppl.load, tmp_path / "a.pt", "a.pt")
