"""The threshold of a variant: the configured number, or one chosen from CAMs and photos; no masks exist here."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ppl.cam import choose_threshold, measure_separation
from ppl.cam.choose_threshold import Settings
from ppl.cam.settings import Cam as CamSettings
from ppl.cam.store import STRIDE, Cam, write
from ppl.cam.threshold import THRESHOLD, Threshold, read_threshold, read_whole, write_threshold
from ppl.classify import build as classifiers
from ppl.classify.network import PatchClassifier
from ppl.classify.settings import Architecture
from ppl.data.lists import write_lists
from ppl.jobs.errors import UserError
from ppl.jobs.fields import plain
from ppl.jobs.settings import Devices
from ppl.networks import backbones, checkpoints

EDGE = 0.45  # score at the edge of the objects
SIDES = (96, 96), (80, 112)
IMAGES = [f"disc{i}" for i in range(8)]
AUTO = CamSettings(threshold="auto")


def disc(size: tuple[int, int], centre: Sequence[float], stride: int = 1) -> np.ndarray:
    """Return scores that fall from 1 at the centre and are EDGE at a distance of 24 pixels, (h, w) float32."""
    h, w = (-(-side // stride) for side in size)
    y, x = np.mgrid[:h, :w] * stride + (stride - 1) / 2
    distance = np.hypot(y - centre[0], x - centre[1])
    return np.clip(1 - (1 - EDGE) * distance / 24, 0, 1).astype(np.float32)


@pytest.fixture
def settings(tmp_path: Path, tiny: str) -> Settings:
    """Photos of a light disc on a dark ground, CAMs that are brightest in its middle, and a classifier.

    Its training started from random numbers.
    """
    rng, root, cams = np.random.default_rng(0), tmp_path / "data", {}
    (root / "JPEGImages").mkdir(parents=True)
    for i, image_id in enumerate(IMAGES):
        size = SIDES[i % 2]
        centre = [side / 2 + rng.uniform(-12, 12) for side in size]
        photo = np.where(disc(size, centre)[..., None] > EDGE, (220, 190, 60), (30, 60, 90))
        noisy = np.clip(photo + rng.normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(root / "JPEGImages" / f"{image_id}.jpg", quality=95)
        cams[image_id] = Cam(disc(size, centre, STRIDE)[None], np.array([1]), size)
    Image.fromarray(noisy).save(root / "JPEGImages" / "empty.jpg")
    cams["empty"] = Cam(np.zeros((0, *cams[IMAGES[-1]].maps.shape[1:]), np.float32), np.zeros(0, np.int64), SIDES[1])
    labels = {image_id: ["disc"] for image_id in IMAGES} | {"empty": []}
    write_lists(root, classes=["disc"], labels=labels, splits={"all": list(cams), "none": ["empty"]})
    for part in (0, 1):
        shard = dict(list(cams.items())[part::2])
        write(tmp_path / f"{part}.h5", shard.items(), classes=["disc"], settings="{}", checkpoint="")
    torch.manual_seed(0)
    network = classifiers.build("baseline", "plain", 1, Architecture(backbone=tiny), weights="none")
    file = tmp_path / "classifier.pt"
    save(network, file, tiny, weights="none")
    return Settings(
        out=tmp_path / THRESHOLD, data=root, split="all", cams=(tmp_path / "0.h5", tmp_path / "1.h5"), classifier=file,
        cam=AUTO, hardware=Devices(gpu=0, workers=0),
    )  # fmt: skip


def save(network: PatchClassifier, file: Path, backbone: str, *, weights: str) -> None:
    """Write a classifier whose training started from `weights`."""
    stored = {"architecture": plain(Architecture(backbone=backbone)), "training": {"weights": weights}}
    stored |= {"method": "baseline", "grids": "plain"}
    checkpoints.save(file, network, kind=classifiers.KIND, settings=stored, code="", classes=["disc"])


def chosen(settings: Settings) -> Threshold:
    choose_threshold.main(settings)
    return read_whole(settings.out)


def test_a_number_is_recorded_and_nothing_else(tmp_path):
    settings = Settings(out=tmp_path / THRESHOLD, cam=CamSettings(threshold=0.3))
    choose_threshold.main(settings)
    assert json.loads(settings.out.read_text()) == {"threshold": 0.3, "rule": "fixed"}
    assert read_threshold(settings.out) == 0.3
    assert str(read_whole(settings.out)) == "fixed threshold 0.30"


def test_the_edge_of_the_objects_is_the_threshold_of_the_highest_contrast(settings, capsys, monkeypatch):
    """Of features that know the objects, the colours of the photo, beside some that tell nothing."""

    def colours(_, photos):
        known = F.avg_pool2d(torch.from_numpy(photos).permute(0, 3, 1, 2).float(), 8).numpy()
        return known, np.ones_like(known)

    monkeypatch.setattr(measure_separation, "stage_features", colours)
    threshold = chosen(settings)
    assert threshold.threshold == pytest.approx(EDGE, abs=0.05)
    assert (threshold.rule, threshold.photos, len(threshold.shallow)) == ("auto", len(IMAGES), len(IMAGES))
    assert threshold.deep == ()
    assert threshold.threshold == pytest.approx(np.mean(threshold.shallow), abs=0.005)
    assert read_threshold(settings.out) == threshold.threshold
    assert str(threshold) in capsys.readouterr().out
    assert str(threshold) == f"threshold {threshold.threshold:.2f}, chosen without masks"


def test_shards_workers_batches_and_the_order_of_the_photos_do_not_matter(settings, monkeypatch):
    expected = chosen(settings)
    monkeypatch.setattr(measure_separation, "BATCH_SIZE", 4)
    lists = settings.data / "ImageSets" / "Segmentation" / "all.txt"
    lists.write_text("\n".join(reversed(lists.read_text().split())) + "\n")
    other = replace(settings, cams=settings.cams[::-1], hardware=Devices(gpu=0, workers=1))
    threshold = chosen(other)
    assert sorted(threshold.shallow) == sorted(expected.shallow)
    assert sorted(threshold.deep) == sorted(expected.deep)
    assert threshold.threshold == expected.threshold


def test_of_many_photos_a_sample_at_even_distances_is_compared(settings, monkeypatch):
    monkeypatch.setattr(measure_separation, "MAX_PHOTOS", 3)
    assert chosen(settings).photos == 3


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "efficientnet_lite0"])
def test_the_compared_stages_have_stride_8_and_the_output_stride_in_every_backbone(name):
    backbone = backbones.build(name, output_stride=16).eval()
    shallow, deep = measure_separation.stage_features(backbone, np.zeros((1, 33, 47, 3), np.uint8))
    assert shallow.shape == (1, backbone.channels[2], 5, 6)
    assert deep.shape == (1, backbone.channels[4], 3, 3)


def test_features_are_those_of_the_initial_weights_and_training_changes_nothing(settings, tiny, tmp_path, capsys):
    """Without initial weights, or without their file, they are those of the trained backbone."""
    network, _ = classifiers.load(settings.classifier)
    expected = chosen(settings)
    weights = tmp_path / "weights.pt"
    torch.save(network.backbone.state_dict(), weights)
    for parameter in network.parameters():  # as if it had been trained
        torch.nn.init.normal_(parameter)
    save(network, settings.classifier, tiny, weights=str(weights))
    capsys.readouterr()
    assert chosen(settings) == expected
    assert "trained backbone" not in capsys.readouterr().out
    weights.unlink()
    assert chosen(settings) != expected
    assert "features of the trained backbone" in capsys.readouterr().out


def test_without_labels_or_with_tiny_photos_there_is_no_choice(settings, monkeypatch):
    with pytest.raises(UserError, match=r"no photo has a label.*set cam\.threshold to a number"):
        choose_threshold.main(replace(settings, split="none"))
    monkeypatch.setattr(measure_separation.separation, "MIN_CELLS", 1000)
    with pytest.raises(UserError, match=r"large enough.*set cam\.threshold to a number"):
        choose_threshold.main(settings)
    with pytest.raises(UserError, match="--classifier is missing"):
        choose_threshold.main(replace(settings, classifier=None))
    assert not settings.out.exists()


@pytest.mark.parametrize("text", ["", "{}", "[0.3]", '{"threshold": 2, "rule": "fixed"}', '{"threshold": 0.3}'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / THRESHOLD).write_text(text)
    with pytest.raises(UserError, match=rf"{THRESHOLD}.*delete it and run again"):
        read_threshold(tmp_path / THRESHOLD)


def test_a_threshold_is_read_as_it_was_written(tmp_path):
    threshold = Threshold(threshold=0.37, rule="auto", photos=2, shallow=(0.35,), deep=(0.36, 0.38))
    write_threshold(tmp_path / THRESHOLD, threshold)
    assert read_whole(tmp_path / THRESHOLD) == threshold
