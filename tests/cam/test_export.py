import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl.cam import export, store
from ppl.cam.export import Settings
from ppl.cam.maps import maps_of
from ppl.cam.settings import Cam, Maps, Prototypes
from ppl.cam.store import Cam as StoredCam
from ppl.cam.store import open_store
from ppl.classify import build as checkpoint
from ppl.classify.settings import Architecture
from ppl.data.dataset import Dataset
from ppl.data.photos import read_photo
from ppl.jobs import compiled
from ppl.jobs.errors import UserError
from ppl.jobs.fields import plain
from ppl.jobs.files import file_digest
from ppl.jobs.settings import Hardware
from ppl.networks import checkpoints


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    """An untrained classifier; scene.0 shows both classes, scene.3 none; no masks: the export opens none."""
    shutil.rmtree(scenes.root / "SegmentationClass")
    (scenes.root / "labels.csv").write_text("image,classes\nscene.0,cube;ball\nscene.1,cube\nscene.2,ball\nscene.3,\n")
    torch.manual_seed(0)
    architecture = Architecture(backbone=tiny, output_stride=16, frozen_stages=2, phi_init="identity")
    network = checkpoint.build("explicit", "s2k2-s3k3", 2, architecture, weights="none")
    stored = {"architecture": plain(architecture), "training": {}, "method": "explicit", "grids": "s2k2-s3k3"}
    path = tmp_path / "classifier.pt"
    checkpoints.save(path, network, kind=checkpoint.KIND, settings=stored, code="test", classes=["ball", "cube"])
    return Settings(
        data=scenes.root, split="all", classifier=path, out=tmp_path / "cams.h5",
        cam=Cam(maps=Maps(scales=(1, 0.5), batch_size=2)), hardware=Hardware(gpu=0, workers=0, precision="32-true"),
    )  # fmt: skip


def _exported(settings: Settings) -> dict[str, StoredCam]:
    export.main(settings)
    with open_store([settings.out]) as cams:
        return {image: cams.read(image) for image in cams.images}


@pytest.mark.parametrize("fusion", ["mean", "sum"])
def test_every_photo_has_the_fused_maps_of_its_labels_and_no_others(settings: Settings, fusion: str) -> None:
    cam_settings = replace(settings.cam, maps=replace(settings.cam.maps, fusion=fusion))
    dataset, cams = Dataset.open(settings.data), _exported(replace(settings, cam=cam_settings))
    assert sorted(cams) == dataset.split("all")
    network, _ = checkpoint.load(settings.classifier)
    for image, cam in cams.items():
        photo = read_photo(dataset.photo(image))
        labels = dataset.labels[image]
        assert cam.size == photo.shape[:2]
        assert tuple(cam.classes) == labels
        (expected,) = maps_of(network, photo[None], [labels], cam_settings)
        np.testing.assert_allclose(cam.maps, expected, rtol=0, atol=1e-3)
        assert cam.maps.shape == expected.shape
    assert len(cams["scene.0"].maps) == 2
    assert len(cams["scene.3"].maps) == 0


def test_shards_workers_and_batches_do_not_matter(settings: Settings) -> None:
    whole = _exported(settings)
    parts: dict[str, StoredCam] = {}
    for shard in ("1/2", "2/2"):
        parts |= _exported(replace(settings, shard=shard, out=settings.out.with_name(f"{shard[0]}.h5")))
    one_by_one = replace(settings.cam, maps=replace(settings.cam.maps, batch_size=1))
    workers = _exported(replace(settings, hardware=replace(settings.hardware, workers=1), cam=one_by_one))
    for other in (parts, workers):
        assert other.keys() == whole.keys()
        for image in whole:
            np.testing.assert_allclose(other[image].maps, whole[image].maps, rtol=0, atol=1e-3)
            assert other[image].classes.tolist() == whole[image].classes.tolist()


def test_a_compiled_network_gives_the_same_maps(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With patches and prototypes, which send maps of other sizes through the stages."""
    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "why_not", lambda _: None)
    monkeypatch.setattr(compiled, "BACKEND", "eager")  # code for a CPU takes minutes
    settings = replace(settings, cam=replace(settings.cam, prototypes=Prototypes(rounds=1)))
    expected = _exported(settings)
    others = replace(
        settings, hardware=replace(settings.hardware, compile="always"), out=settings.out.with_name("a.h5")
    )
    maps = _exported(others)
    assert maps.keys() == expected.keys()
    for image in expected:
        np.testing.assert_allclose(maps[image].maps, expected[image].maps, rtol=0, atol=1e-3)  # stored as float16
    messages = capsys.readouterr().err
    assert "compiled in" in messages
    assert "warning" not in messages


def test_a_shard_without_images_is_an_empty_store(settings: Settings) -> None:
    assert _exported(replace(settings, shard="5/5")) == {}


def test_the_store_names_what_made_it(settings: Settings) -> None:
    export.main(settings)
    with open_store([settings.out]) as cams:
        assert cams.class_names == ("ball", "cube")
        attributes = dict(cams._files[0].attrs)
    made_by = json.loads(attributes["settings"])
    assert made_by["cam"]["method"] == "cam"
    assert made_by["cam"]["maps"]["scales"] == [1, 0.5]
    assert made_by["cam"].keys() == {"method", "maps", "prototypes"}  # neither other methods nor the threshold of seeds
    assert (made_by["method"], made_by["grids"]) == ("explicit", "s2k2-s3k3")
    assert attributes["checkpoint"].decode() == file_digest(settings.classifier)


@pytest.mark.parametrize(("file", "damage", "message"), [
    ("classes.txt", lambda _: b"cube\nball\n", "classifier.pt: trained for other classes"),
    ("ImageSets/Segmentation/all.txt", lambda content: content + b"scene.1\n", "listed 2 times"),
    ("JPEGImages/scene.3.jpg", lambda content: content[:-200], "scene.3.jpg: not a readable photo"),  # a whole header
], ids=["classes", "repeated id", "photo"])  # fmt: skip
def test_a_failed_export_names_its_cause_and_leaves_nothing(
    settings: Settings, file: str, damage, message: str
) -> None:
    path = settings.data / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        export.main(settings)
    assert not settings.out.exists()


@pytest.mark.parametrize("method", ["cam", "gradcam_plus_plus"])
def test_threads_compute_the_maps_of_one(settings: Settings, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cam = Cam(method=method, maps=Maps(scales=(1, 0.5), rim=1, batch_size=4), prototypes=Prototypes(rounds=1))
    exported = []
    for threads in (1, 3):
        monkeypatch.setattr("ppl.data.batches.threads_for", lambda *_, threads=threads: threads)
        exported.append(_exported(replace(settings, cam=cam, out=settings.out.with_name(f"{threads}.h5"))))
    assert exported[0].keys() == exported[1].keys()
    for image, expected in exported[0].items():
        np.testing.assert_allclose(exported[1][image].maps, expected.maps, rtol=0, atol=2e-3)


def test_a_method_of_a_user_has_the_network_for_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def compute_batches(*_: object, alone: bool, **__: object) -> list:
        modes.append(alone)
        return []

    monkeypatch.setattr(export, "compute_batches", compute_batches)
    dataset, (network, _) = Dataset.open(settings.data), checkpoint.load(settings.classifier)
    for method in ("cam", "own/mine"):
        list(export.compute(network, dataset, [], Cam(method=method), workers=0))
    assert modes == [False, True]


def test_a_cam_that_cannot_be_written_ends_the_export_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []

    def cams() -> Iterator[tuple[str, StoredCam]]:
        for i in range(1000):
            computed.append(i)
            time.sleep(0.005)
            yield f"image{i}", StoredCam(np.zeros((1, 2, 2), np.float32), np.array([1]), (8, 8))

    def add(group: object, image_id: str, cam: StoredCam) -> None:
        raise OSError(28, "No space left on device", "cams.h5")

    monkeypatch.setattr(store, "_add", add)
    with pytest.raises(OSError, match="No space"):
        store.write(settings.out, cams(), classes=("ball",), settings="{}", checkpoint="")
    assert len(computed) < 500
    assert not settings.out.exists()
