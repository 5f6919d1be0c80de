"""Weights, settings and flags with which one's own photos cannot be segmented: one line, and nothing written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import ppl
from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError
from ppl.predict import __main__ as predict
from ppl.predict.__main__ import Settings


@pytest.fixture
def settings(finish: Callable[[str], Path], tiny: str, tmp_path: Path) -> Settings:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    return Settings(
        photos=(str(tmp_path / "a.jpg"),), weights=finish(tiny) / "deeplab.pt", folder=tmp_path / "predictions",
        hardware=Hardware(devices=0, workers=0, precision="32-true"),
    )  # fmt: skip


SETTINGS = {
    "empty": "",
    "a list": "[1, 2]",
    "no YAML": "{segment: ",
    "binary": b"\xff\xfe\0",
    "no section": "cam: {}",
    "a section of text": "segment: deep",
    "no scales": "segment: {crf: true, iterations: 2, pairwise: {}}",
    "scales of text": "segment: {photo_scales: [wide], crf: true, iterations: 2, pairwise: {}}",
    "another pairwise": "segment: {photo_scales: [1], crf: true, iterations: 2, pairwise: {sxy: 1}}",
}


@pytest.mark.parametrize("content", SETTINGS.values(), ids=SETTINGS)
def test_other_settings_are_one_line(settings, refused, tmp_path, content):
    path = tmp_path / "results" / "own" / "settings.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert len(refused(predict.main, settings, "settings.yaml").splitlines()) == 1


@pytest.mark.parametrize("scales", [[0], [-1], [float("nan")], [float("inf")], []])
def test_impossible_scales_are_one_line(settings, refused, scales):
    refused(predict.main, replace(settings, photo_scales=tuple(scales)), "photo_scales")


@pytest.mark.parametrize("side", [0, -5])
def test_an_impossible_side_is_one_line(settings, refused, side):
    refused(predict.main, replace(settings, max_side=side), "max_side")


def test_settings_that_are_not_there_are_one_line(settings, refused, tmp_path):
    refused(predict.main, replace(settings, settings=tmp_path / "absent.yaml"), "absent.yaml")


def test_a_photo_that_no_network_could_see_whole_is_one_line(settings, refused, tmp_path):
    Image.new("L", (2100, 2100)).save(tmp_path / "a.jpg")
    refused(predict.main, replace(settings, max_side=3000), "a.jpg", "lower max_side")


@pytest.mark.parametrize("content", [b"", b"no photo", b"\0\0\0\x18ftypheic"], ids=["empty", "text", "heic"])
def test_a_single_photo_that_cannot_be_read_is_one_line(settings, refused, tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert len(refused(predict.main, settings, "a.jpg").splitlines()) == 1


def test_an_output_that_is_a_file_is_one_line(settings, refused, tmp_path):
    (tmp_path / "predictions").touch()
    refused(predict.main, settings, "predictions")


@pytest.mark.parametrize("flags", [{"crf": True, "no_crf": True}, {"batch_size": 0}])
def test_flags_that_cannot_be_are_one_line(settings, one_line, flags):
    with pytest.raises(UserError) as error:
        replace(settings, **flags)
    one_line(error.value)


@pytest.mark.parametrize("kind", ["irnet", "affinitynet"])
def test_a_network_of_another_kind_is_one_line(steps, one_line, kind):
    with pytest.raises(UserError) as error:
        ppl.load(steps.files[kind])
    one_line(error.value, str(steps.files[kind]), "deeplab.pt or classifier.pt")


@pytest.mark.parametrize("kind", ["deeplab", "classifier"])
@pytest.mark.parametrize("training", [None, {}, {"crop": "wide", "scale": [0.5], "long_side": []}], ids=str)
def test_a_checkpoint_without_its_training_is_one_line(steps, one_line, kind, training):
    content = torch.load(steps.files[kind], weights_only=True)
    content["settings"]["training"] = training
    torch.save(content, steps.files[kind])
    with pytest.raises(UserError) as error:
        ppl.load(steps.files[kind])
    one_line(error.value, str(steps.files[kind]), "make it again")


def test_weights_that_are_not_there_are_one_line(tmp_path, one_line):
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(UserError) as error:
            ppl.load(path)
        one_line(error.value, str(path))
