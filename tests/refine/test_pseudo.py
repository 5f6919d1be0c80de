from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl.cam import store
from ppl.cam.store import Cam, open_store
from ppl.crf.dense import IRNET
from ppl.data.crops import normalise
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.jobs.devices import Hardware
from ppl.jobs.errors import UserError
from ppl.networks import checkpoints
from ppl.refine import build as checkpoint
from ppl.refine import pseudo
from ppl.refine.irnet import boundary_map
from ppl.refine.pseudo import Settings, walk_boundaries
from ppl.refine.train_irnet import Training
from ppl.refine.walk import propagate
from ppl.refine.walked import Walk


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    def one_by_one(function: Callable, items: Iterable, **_) -> Iterator:
        return map(function, items)

    monkeypatch.setattr(pseudo, "run_all", one_by_one)  # processes are a matter of tests/test_parallel.py
    torch.manual_seed(0)
    training = Training(
        backbone=tiny, weights="none", output_stride=16, epochs=1, batch_size=2, lr=0.1, displacement_lr_factor=10,
        momentum=0.9, weight_decay=1e-4, power=0.9, scale=(0.5, 1.5), crop=40, radius=4, seed=0,
    )  # fmt: skip
    irnet = tmp_path / "irnet.pt"
    network = checkpoint.build(tiny, 16, weights="none")
    checkpoints.save(irnet, network, kind=checkpoint.KIND, settings=asdict(training), code="", classes=["ball", "cube"])
    cams = tmp_path / "cams.h5"
    store.write(cams, _cams(scenes), classes=["ball", "cube"], settings="{}", checkpoint="")
    return Settings(
        data=scenes.root,
        split="all",
        cams=(cams,),
        network=irnet,
        kind="irnet",
        out=tmp_path / "pseudo",
        walk=Walk(radius=3, beta=10, steps=16, background=0.3, batch_size=2, crf=False),
        pairwise=IRNET,
        hardware=Hardware(devices=0, workers=0, precision="32-true"),
    )


def _cams(scenes) -> Iterator[tuple[str, Cam]]:
    """Maps of the true object with noise; the last image is one without labels."""
    dataset, rng = Dataset.open(scenes.root), np.random.default_rng(0)
    for image in scenes.images:
        mask = read_mask(dataset.mask(image))
        labels = np.array(dataset.labels_of(image) if image != scenes.images[-1] else (), dtype=np.int64)
        shown = np.stack([mask[::4, ::4] == label for label in labels]) if len(labels) else np.zeros((0, 13, 10))
        yield image, Cam((0.8 * shown + 0.2 * rng.random(shown.shape)).astype(np.float32), labels, mask.shape)


def _labels(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_mask(path) for path in sorted(folder.iterdir())}


def test_labels_hold_classes_of_their_image_only(settings: Settings, scenes) -> None:
    pseudo.main(settings)
    dataset, labels = Dataset.open(scenes.root), _labels(settings.out)
    assert sorted(labels) == sorted(scenes.images)
    for image in scenes.images[:-1]:
        assert labels[image].shape == read_photo(dataset.photo(image)).shape[:2]
        assert set(np.unique(labels[image])) == {0, *dataset.labels_of(image)}
        truth = read_mask(dataset.mask(image))
        assert (labels[image] == truth).mean() > 0.6
    assert not labels[scenes.images[-1]].any()


def test_scores_are_those_of_the_walk_relative_to_the_strongest(settings: Settings, scenes) -> None:
    network, dataset = checkpoint.load(settings.network)[0], Dataset.open(scenes.root)
    with open_store(settings.cams) as cams:
        spread = {s.image: s for s in walk_boundaries(network, dataset, scenes.images, cams, settings.walk, workers=0)}
        for image in scenes.images[:-1]:
            photo = normalise(read_photo(dataset.photo(image)), network.backbone.mean, network.backbone.std)
            with torch.inference_mode():
                boundary = boundary_map(network, photo.permute(2, 0, 1)[None])[0]
            alone = propagate(torch.from_numpy(cams.read(image).maps), boundary, radius=3, beta=10, steps=16)
            np.testing.assert_allclose(spread[image].scores, (alone / alone.max()).numpy(), rtol=1e-3, atol=1e-5)
            assert spread[image].scores.max() == 1
    assert spread[scenes.images[-1]].scores.shape[0] == 0


def test_a_higher_background_score_gives_less_foreground_and_the_crf_another_label(settings: Settings) -> None:
    areas = []
    for background in (0.1, 0.4, 0.8):
        pseudo.main(replace(settings, walk=replace(settings.walk, background=background)))
        areas.append(sum((label > 0).sum() for label in _labels(settings.out).values()))
    assert areas[0] > areas[1] > areas[2] > 0
    pseudo.main(settings)
    plain = _labels(settings.out)
    pseudo.main(replace(settings, walk=replace(settings.walk, crf=True)))
    refined = _labels(settings.out)
    assert any((plain[image] != refined[image]).any() for image in plain)


def test_shards_together_are_the_whole_split(settings: Settings, tmp_path: Path) -> None:
    single = replace(settings, walk=replace(settings.walk, batch_size=1))
    pseudo.main(single)
    parts = {}
    for i in (1, 2):
        shard = replace(single, shard=f"{i}/2", out=tmp_path / f"shard-{i}")
        pseudo.main(shard)
        parts |= _labels(shard.out)
    whole = _labels(settings.out)
    assert parts.keys() == whole.keys()
    assert all(np.array_equal(parts[image], whole[image]) for image in whole)


def test_an_image_without_cam_is_named_and_nothing_is_left(settings: Settings, scenes, tmp_path: Path) -> None:
    fewer = [pair for pair in _cams(scenes) if pair[0] != scenes.images[1]]
    store.write(tmp_path / "fewer.h5", fewer, classes=["ball", "cube"], settings="{}", checkpoint="")
    with pytest.raises(UserError, match=r"scene.1.*no CAM"):
        pseudo.main(replace(settings, cams=(tmp_path / "fewer.h5",)))
    assert not settings.out.exists()
