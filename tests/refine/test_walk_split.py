"""Pseudo labels of a split by the walk of each refinement network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl.cam.store import Cam, open_store
from ppl.crf.settings import Pairwise
from ppl.data.batches import PhotoBatch
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError
from ppl.networks import checkpoints
from ppl.refine import irnet, walk_irnet, walk_split
from ppl.refine.build import KIND, entry_of, stored
from ppl.refine.pseudo import WalkedScores
from ppl.refine.walk import propagate

CLASSES = ["ball", "cube"]
BACKGROUND = {"irnet": {"background": 0.3}, "affinitynet": {"alpha": 4}}  # for an untrained network
STRONGER = [("irnet", "background", (0.1, 0.4, 0.8)), ("affinitynet", "alpha", (2000, 100, 4))]


@pytest.fixture
def settings(refiner: str, refining, walking, tmp_path: Path) -> walk_split.Settings:
    refine = refining(walk=BACKGROUND.get(refiner))
    torch.manual_seed(0)
    entry, section = entry_of(refine)
    path = tmp_path / "network.pt"
    network = entry.build(section, "none")
    checkpoints.save(path, network, kind=KIND, settings=stored(refine), code="", classes=CLASSES)
    return walking(path, refine)


def labels_of(settings: walk_split.Settings) -> dict[str, np.ndarray]:
    walk_split.main(settings)
    return {path.stem: read_mask(path) for path in sorted(settings.out.iterdir())}


def with_walk(settings: walk_split.Settings, **changes) -> walk_split.Settings:
    """Return the settings with changes of the network's walk."""
    name = settings.refine.network
    section = getattr(settings.refine, name)
    section = replace(section, walk=replace(section.walk, **changes))
    return replace(settings, refine=replace(settings.refine, **{name: section}))


def test_labels_hold_classes_of_their_image_only(settings, scenes) -> None:
    dataset, labels = Dataset.open(scenes.root), labels_of(settings)
    assert sorted(labels) == sorted(scenes.images)
    for image_id in scenes.images[:-1]:
        assert labels[image_id].shape == read_photo(dataset.photo(image_id)).shape[:2]
        assert set(np.unique(labels[image_id])) <= {0, *dataset.labels_of(image_id)}
        assert (labels[image_id] == read_mask(dataset.mask(image_id))).mean() > 0.5
    assert not labels[scenes.images[-1]].any()


def test_shards_together_are_the_whole_split(settings, tmp_path: Path) -> None:
    single, parts = with_walk(settings, batch_size=1), {}
    for i in (1, 2):
        parts |= labels_of(replace(single, shard=f"{i}/2", out=tmp_path / f"shard-{i}"))
    whole = labels_of(single)
    assert parts.keys() == whole.keys()
    assert all(np.array_equal(parts[image_id], whole[image_id]) for image_id in whole)


@pytest.mark.parametrize(("refiner", "key", "values"), STRONGER, indirect=["refiner"], ids=str)
def test_a_stronger_background_leaves_less_foreground(settings, key: str, values: tuple[float, ...]) -> None:
    walks = [with_walk(settings, **{key: value}) for value in values]
    areas = [sum((x > 0).sum() for x in labels_of(walk).values()) for walk in walks]
    assert areas[0] >= areas[1] >= areas[2], areas
    assert areas[0] > areas[2]


def test_a_crf_has_the_pairwise_terms_of_the_step(settings) -> None:
    settings = with_walk(settings, steps=0)  # an untrained network may mix all labels
    plain, smoothing = labels_of(settings), Pairwise(gaussian_sxy=50, gaussian_compat=100)
    smooth = replace(settings, refine=replace(settings.refine, pairwise=smoothing))
    without, with_crf = labels_of(smooth), labels_of(with_walk(smooth, crf=True))
    assert all(np.array_equal(plain[image_id], without[image_id]) for image_id in plain)
    assert any((plain[image_id] != with_crf[image_id]).any() for image_id in plain)


def test_a_gpu_labels_several_photos_at_once_as_worker_processes_do(settings, scenes, as_on_a_gpu, tmp_path) -> None:
    settings = with_walk(settings, crf=True)
    walk_split.main(settings)
    at_once = as_on_a_gpu(walk_split)
    walk_split.main(replace(settings, out=tmp_path / "at-once"))
    assert sum(at_once) == len(scenes.images) - 1  # one has no classes
    for image_id in scenes.images:
        alone, together = (read_mask(folder / f"{image_id}.png") for folder in (settings.out, tmp_path / "at-once"))
        assert (alone != together).mean() < 1e-3


def test_an_image_without_cam_is_named_and_nothing_is_left(settings, scenes, write_cams, tmp_path: Path) -> None:
    write_cams(tmp_path / "fewer.h5", without=scenes.images[1])
    with pytest.raises(UserError, match=r"scene.1"):
        walk_split.main(replace(settings, cams=(tmp_path / "fewer.h5",)))
    assert not settings.out.exists()


@torch.inference_mode()
def test_irnet_scores_are_those_of_the_walk_relative_to_the_strongest(scenes, refining, write_cams, tmp_path) -> None:
    torch.manual_seed(0)
    _, section = entry_of(refining("irnet"))
    network = irnet.build(section, "none").eval()
    write_cams(tmp_path / "cams.h5")
    dataset = Dataset.open(scenes.root)
    with open_store([tmp_path / "cams.h5"]) as cams:
        for image_id in scenes.images:
            photo, cam = read_photo(dataset.photo(image_id)), cams.read(image_id)
            (walked,) = walk_irnet.walk(network, PhotoBatch([image_id], photo[None]), [cam], section)
            assert len(walked.scores) == len(cam.classes)
            if len(cam.classes):
                boundary = irnet.boundary_map(network, network.backbone.prepare(photo[None]), section.training.crop)[0]
                alone = propagate(torch.from_numpy(cam.maps), boundary, radius=3, beta=10, steps=16)
                np.testing.assert_allclose(walked.scores, (alone / alone.max()).numpy(), rtol=1e-3, atol=1e-5)
                assert walked.scores.max() == 1


def test_irnet_pads_to_the_crop_of_its_training(refining, scenes, walking, monkeypatch, tmp_path: Path) -> None:
    """The crop is that of the checkpoint, not that of the configuration of the walk."""
    sizes = []
    forward = irnet.IRNet.forward

    def recorded(self, x):
        sizes.append(tuple(x.shape[-2:]))
        return forward(self, x)

    monkeypatch.setattr(irnet.IRNet, "forward", recorded)
    trained = refining("irnet", training={"crop": 48})
    network = irnet.build(trained.irnet, "none")
    checkpoints.save(tmp_path / "n.pt", network, kind=KIND, settings=stored(trained), code="", classes=CLASSES)
    configured = refining("irnet", training={"crop": 64}, walk={"pad": True})
    walk_split.main(walking(tmp_path / "n.pt", configured))
    assert set(sizes) == {(48, 52), (48, 48), (52, 48)}  # of photos of 40x52, 33x47 and 52x40
    sizes.clear()
    unpadded = replace(walking(tmp_path / "n.pt", refining("irnet", walk={"pad": False})), out=tmp_path / "unpadded")
    walk_split.main(unpadded)
    assert set(sizes) == {(40, 52), (33, 47), (52, 40)}


SCORES = np.ones((1, 2, 2), np.float32)


@pytest.mark.parametrize(("changes", "fault"), [
    ({"image_id": "b"}, "'b' in place of image 'a'"),
    ({"scores": SCORES[0]}, "not of 1 planes"),
    ({"threshold": None}, "not of 2 planes"),
    ({"classes": (99,)}, "classes (99,)"),
    ({"scores": SCORES * np.nan}, "not finite"),
])  # fmt: skip
def test_scores_after_a_walk_that_are_wrong_are_named(changes, fault):
    cam, right = Cam(SCORES, np.array([2]), (8, 8)), WalkedScores("a", np.zeros((8, 8, 3), np.uint8), SCORES, (2,), 0.3)
    assert walk_split._fault("a", cam, right) is None
    assert fault in walk_split._fault("a", cam, right._replace(**changes))
    assert walk_split._fault("a", cam, None) == "'nothing' in place of image 'a'"
    assert walk_split._fault(None, None, right) == "'a' in place of image None"
