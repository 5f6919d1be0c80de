"""Pseudo labels of a split by the walk of each refinement network."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppl.cam import store
from ppl.cam.store import Cam, open_store
from ppl.crf.dense import IRNET
from ppl.data.batches import PhotoBatch
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError
from ppl.networks import checkpoints
from ppl.refine import irnet, walk_affinitynet, walk_irnet, walk_split
from ppl.refine.pseudo import Walk
from ppl.refine.walk import propagate

CLASSES = ["ball", "cube"]
WALKS = {"irnet": Walk(3, 10, 16, 0.3, 2, crf=False), "affinitynet": Walk(3, 8, 16, 4, 2, crf=False)}


@pytest.fixture
def settings(refiner, scenes, training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> walk_split.Settings:
    monkeypatch.setattr(walk_split, "run_all", lambda function, items, **_: map(function, items))  # in this process
    torch.manual_seed(0)
    stored = training().training
    own = {name: getattr(stored, name) for name in refiner.network.Architecture.__dataclass_fields__}
    network = refiner.network.build(refiner.network.Architecture(**own), weights="none")
    path = tmp_path / "network.pt"
    checkpoints.save(path, network, kind=refiner.name, settings=own, code="", classes=CLASSES)
    write_cams(tmp_path / "cams.h5", scenes)
    return walk_split.Settings(
        data=scenes.root, split="all", cams=(tmp_path / "cams.h5",), network=path, out=tmp_path / "pseudo",
        walk=WALKS[refiner.name], pairwise=IRNET, hardware=training().hardware,
    )  # fmt: skip


def write_cams(path: Path, scenes, *, without: str = "") -> None:
    """Write maps of the true object with noise; the last image has no classes."""

    def cams() -> Iterator[tuple[str, Cam]]:
        dataset, rng = Dataset.open(scenes.root), np.random.default_rng(0)
        for image_id in scenes.images:
            mask = read_mask(dataset.mask(image_id))
            labels = np.array(dataset.labels_of(image_id) if image_id != scenes.images[-1] else (), np.int64)
            shown = np.stack([mask[::4, ::4] == label for label in labels]) if len(labels) else np.zeros((0, 13, 10))
            if image_id != without:
                maps = 0.8 * shown + 0.2 * rng.random(shown.shape)
                yield image_id, Cam(maps.astype(np.float32), labels, mask.shape)

    store.write(path, cams(), classes=CLASSES, settings="{}", checkpoint="")


def labels_of(refiner, settings: Any) -> dict[str, np.ndarray]:
    refiner.walk.main(settings)
    return {path.stem: read_mask(path) for path in sorted(settings.out.iterdir())}


def test_labels_hold_classes_of_their_image_only(refiner, settings, scenes) -> None:
    dataset, labels = Dataset.open(scenes.root), labels_of(refiner, settings)
    assert sorted(labels) == sorted(scenes.images)
    for image_id in scenes.images[:-1]:
        assert labels[image_id].shape == read_photo(dataset.photo(image_id)).shape[:2]
        assert set(np.unique(labels[image_id])) <= {0, *dataset.labels_of(image_id)}
        assert (labels[image_id] == read_mask(dataset.mask(image_id))).mean() > 0.5
    assert not labels[scenes.images[-1]].any()


def test_shards_together_are_the_whole_split(refiner, settings, tmp_path: Path) -> None:
    single = replace(settings, walk=replace(settings.walk, batch_size=1))
    parts = {}
    for i in (1, 2):
        parts |= labels_of(refiner, replace(single, shard=f"{i}/2", out=tmp_path / f"shard-{i}"))
    whole = labels_of(refiner, single)
    assert parts.keys() == whole.keys()
    assert all(np.array_equal(parts[image_id], whole[image_id]) for image_id in whole)


def test_a_stronger_background_leaves_less_foreground(refiner, settings) -> None:
    values = {"irnet": (0.1, 0.4, 0.8), "affinitynet": (2000, 100, 4)}[refiner.name]
    walks = [replace(settings.walk, background=value) for value in values]
    areas = [sum((x > 0).sum() for x in labels_of(refiner, replace(settings, walk=walk)).values()) for walk in walks]
    assert areas[0] >= areas[1] >= areas[2], areas
    assert areas[0] > areas[2]


def test_an_image_without_cam_is_named_and_nothing_is_left(refiner, settings, scenes, tmp_path: Path) -> None:
    write_cams(tmp_path / "fewer.h5", scenes, without=scenes.images[1])
    with pytest.raises(UserError, match=r"scene.1"):
        refiner.walk.main(replace(settings, cams=(tmp_path / "fewer.h5",)))
    assert not settings.out.exists()


def test_a_checkpoint_of_the_other_network_is_refused(refiner, settings) -> None:
    other = {"irnet": walk_affinitynet, "affinitynet": walk_irnet}[refiner.name]
    with pytest.raises(UserError, match=f"expected a checkpoint of kind .* got '{refiner.name}'"):
        other.main(settings)


@torch.inference_mode()
def test_irnet_scores_are_those_of_the_walk_relative_to_the_strongest(tiny, scenes, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = irnet.build(irnet.Architecture(tiny, 16), weights="none").eval()
    write_cams(tmp_path / "cams.h5", scenes)
    dataset, walk = Dataset.open(scenes.root), WALKS["irnet"]
    with open_store([tmp_path / "cams.h5"]) as cams:
        for image_id in scenes.images:
            photo, cam = read_photo(dataset.photo(image_id)), cams.read(image_id)
            (walked,) = walk_irnet.walk_boundaries(network, PhotoBatch([image_id], photo[None]), [cam], walk)
            assert len(walked.scores) == len(cam.classes)
            if len(cam.classes):
                boundary = irnet.boundary_map(network, network.backbone.prepare(photo[None]))[0]
                alone = propagate(torch.from_numpy(cam.maps), boundary, radius=3, beta=10, steps=16)
                np.testing.assert_allclose(walked.scores, (alone / alone.max()).numpy(), rtol=1e-3, atol=1e-5)
                assert walked.scores.max() == 1
