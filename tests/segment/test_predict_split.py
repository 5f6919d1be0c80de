import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ppl.crf.dense import KEEP
from ppl.crf.interface import Problem
from ppl.crf.settings import Pairwise
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware
from ppl.networks import checkpoints
from ppl.segment import build as checkpoint
from ppl.segment import inference, postprocess, predict_split
from ppl.segment.inference import log_probabilities
from ppl.segment.logits import resize
from ppl.segment.predict_split import Settings, predict_all
from ppl.segment.settings import DeepLabV2, Prediction, Segment, Training

PAIRWISE = Pairwise(gaussian_sxy=1, bilateral_sxy=67, bilateral_srgb=3, bilateral_compat=4)


@pytest.fixture
def settings(scenes, tiny: str, tmp_path: Path) -> Settings:
    torch.manual_seed(0)
    deeplab = DeepLabV2(backbone=tiny, output_stride=8, rates=(1, 2), scales=(1, 0.75, 0.5))
    trained = Segment(deeplab_v2=deeplab, training=Training(weights="none"))
    network = checkpoint.build(trained, 2)
    for conv in network.aspp:
        nn.init.normal_(conv.weight, std=1.0)  # so that all classes appear
    path, stored = tmp_path / "segmenter.pt", checkpoint.stored(trained)
    checkpoints.save(path, network, kind="segmenter", settings=stored, code="test", classes=["ball", "cube"])
    prediction = Prediction(batch_size=2, crf=False, iterations=3, pairwise=PAIRWISE)
    return Settings(
        data=scenes.root, split="all", checkpoint=path, out=tmp_path / "predictions",
        segment=Segment(prediction=prediction), hardware=Hardware(gpu=0, workers=0, precision="32-true"),
    )  # fmt: skip


def changed(settings: Settings, **values: Any) -> Settings:
    """Return settings with other values of `segment.prediction`."""
    return replace(settings, segment=Segment(prediction=replace(settings.segment.prediction, **values)))


def _maps(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: read_mask(path) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("scales", [(1,), (1, 2)])
def test_maps_hold_the_most_probable_classes_in_the_size_of_their_photos(
    settings: Settings, scenes, scales: tuple[int, ...]
) -> None:
    predict_split.main(changed(settings, photo_scales=scales))
    assert [path.name for path in settings.out.iterdir()] == ["raw"]
    maps = _maps(settings.out / "raw")
    network, dataset = checkpoint.load(settings.checkpoint)[0], Dataset.open(scenes.root)
    assert set(maps) == {f"{image}.png" for image in scenes.images}
    assert set(np.unique(np.concatenate([m.ravel() for m in maps.values()]))) == {0, 1, 2}
    for image in scenes.images:
        photo = read_photo(dataset.photo(image))
        cells = log_probabilities(network, photo[None], scales)
        assert cells.shape[2:] == tuple(-(-max(scales) * side // 8) for side in photo.shape[:2])  # the largest photo
        likely = resize(cells, photo.shape[:2])[0]
        assert maps[f"{image}.png"].shape == photo.shape[:2]
        assert (likely.argmax(dim=0).numpy() == maps[f"{image}.png"]).mean() > 0.999  # batches of another size


@pytest.mark.compiler
def test_a_compiled_network_predicts_the_same_labels(settings: Settings, capsys: pytest.CaptureFixture) -> None:
    torch._dynamo.reset()
    settings = changed(settings, batch_size=1)  # larger batches are compiled apart from those of one image
    predict_split.main(settings)
    expected = _maps(settings.out / "raw")
    others = replace(settings, out=settings.out.with_name("compiled"))
    predict_split.main(replace(others, hardware=replace(settings.hardware, compile="always")))
    labels = _maps(others.out / "raw")
    assert labels.keys() == expected.keys()
    assert np.mean([(labels[name] == expected[name]).mean() for name in labels]) > 0.999
    messages = capsys.readouterr().err
    assert "compiled in" in messages
    assert "warning" not in messages


def test_probabilities_are_the_mean_over_scales(settings: Settings, scenes) -> None:
    network, dataset = checkpoint.load(settings.checkpoint)[0], Dataset.open(scenes.root)
    photo = read_photo(dataset.photo(scenes.images[0]))[None]
    single = [log_probabilities(network, photo, [scale]).exp() for scale in (2, 1)]
    assert torch.allclose(single[0].sum(dim=1), torch.ones(()))
    grown = resize(single[1].log(), single[0].shape[2:]).softmax(dim=1)
    mean = log_probabilities(network, photo, [1, 2]).exp()
    torch.testing.assert_close(mean, (single[0] + grown) / 2, rtol=1e-4, atol=1e-6)


def test_mirrored_photos_get_mirrored_probabilities(settings: Settings, scenes) -> None:
    network, dataset = checkpoint.load(settings.checkpoint)[0], Dataset.open(scenes.root)
    photo = read_photo(dataset.photo(scenes.images[0]))[None]
    turned = np.ascontiguousarray(photo[:, :, ::-1])
    alone, of_turned = (log_probabilities(network, each, (1, 2)).exp() for each in (photo, turned))
    assert not torch.allclose(alone, of_turned.flip(3), atol=1e-3)
    both, turned_both = (log_probabilities(network, each, (1, 2), mirror=True).exp() for each in (photo, turned))
    torch.testing.assert_close(both, turned_both.flip(3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both, (alone + of_turned.flip(3)) / 2, rtol=1e-4, atol=1e-5)


def test_the_crf_gets_the_photo_and_the_probabilities(
    settings: Settings, scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def crf(problems: list[Problem], *, iterations: int, pairwise: Pairwise, solver) -> list[list[np.ndarray]]:
        ((photo, (energy,), ids),) = problems
        seen.append(photo)
        assert (iterations, pairwise) == (3, PAIRWISE)
        likely = np.exp(-energy).reshape(-1, *photo.shape[:2])
        assert likely.sum(axis=0).max() < 1 + 1e-4
        assert likely.sum(axis=0).min() > 1 - KEEP * (3 - len(ids)) - 1e-4
        return [[ids[likely.argmax(axis=0)] + 1]]

    monkeypatch.setattr(postprocess, "solve", crf)
    predict_split.main(changed(settings, crf=True))
    photos = [read_photo(Dataset.open(scenes.root).photo(image)) for image in scenes.images]
    assert len(seen) == len(photos)
    assert all(any(np.array_equal(photo, other) for other in seen) for photo in photos)
    raw, refined = (_maps(settings.out / kind) for kind in ("raw", "crf"))
    assert all((raw[name] + 1 == refined[name]).mean() > 0.999 for name in raw)  # upsampled by torch and by Pillow


def test_worker_processes_change_nothing(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []

    def pool(function, items, *, workers: int, threads: bool, total: int, size, name: str):
        """What crosses the border of a process is a pickled function and its pickled argument."""
        for item in items:
            if threads or not workers:
                yield function(item)
                continue
            jobs.append(pickle.dumps((function, item)))
            function, argument = pickle.loads(jobs[-1])
            yield function(argument)

    monkeypatch.setattr(predict_split, "run_all", pool)
    pooled = replace(settings, hardware=replace(settings.hardware, workers=1))
    predict_split.main(replace(pooled, out=tmp_path / "plain"))
    assert not jobs  # without a CRF threads write the maps
    predict_split.main(replace(changed(pooled, crf=True), out=tmp_path / "pool"))
    assert len(jobs) == 4
    predict_split.main(changed(settings, crf=True))
    for kind in ("raw", "crf"):
        alone, together = _maps(settings.out / kind), _maps(tmp_path / "pool" / kind)
        assert alone.keys() == together.keys()
        assert all(np.array_equal(alone[name], together[name]) for name in alone)


def test_a_gpu_refines_several_photos_at_once_as_worker_processes_do(settings: Settings, as_on_a_gpu) -> None:
    settings = changed(settings, crf=True)
    predict_split.main(settings)
    at_once = as_on_a_gpu(predict_split)
    others = replace(settings, out=settings.out.with_name("at-once"))
    predict_split.main(others)
    assert sorted(at_once) == [1, 3]
    for kind in ("raw", "crf"):
        alone, together = _maps(settings.out / kind), _maps(others.out / kind)
        assert alone.keys() == together.keys()
        assert all((alone[name] != together[name]).mean() < 1e-3 for name in alone)


def test_threads_write_the_same_label_maps_and_their_errors_leave_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_split.main(settings)
    in_threads = replace(
        settings, hardware=replace(settings.hardware, workers=2), out=settings.out.with_name("threads")
    )
    predict_split.main(in_threads)
    alone, others = _maps(settings.out / "raw"), _maps(in_threads.out / "raw")
    assert alone.keys() == others.keys()
    assert all(np.array_equal(alone[name], others[name]) for name in alone)

    def fail(*_: Any) -> None:
        raise OSError("no device")

    monkeypatch.setattr(predict_split, "write_predictions", fail)
    failing = replace(in_threads, out=settings.out.with_name("failed"))
    with pytest.raises(OSError, match="no device"):
        predict_split.main(failing)
    assert not [path for path in settings.out.parent.iterdir() if "failed" in path.name]


def test_shards_together_are_the_whole_split(settings: Settings, scenes, tmp_path: Path) -> None:
    single = changed(settings, batch_size=1)
    predict_split.main(single)
    shards = [replace(single, shard=f"{i}/6", out=tmp_path / f"shard-{i}") for i in range(1, 7)]
    for shard in shards:
        predict_split.main(shard)
    parts = [_maps(shard.out / "raw") for shard in shards]
    assert [len(part) for part in parts] == [1, 1, 1, 1, 0, 0]  # more shards than photos
    whole = _maps(settings.out / "raw")
    assert all(np.array_equal(map_, whole[name]) for part in parts for name, map_ in part.items())


def test_photos_are_read_while_predictions_are_taken(
    settings: Settings, scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    def counted(network: nn.Module, photos: np.ndarray, scales: tuple[float, ...], *, mirror: bool) -> torch.Tensor:
        batches.append(len(photos))
        return log_probabilities(network, photos, scales, mirror=mirror)

    monkeypatch.setattr(inference, "log_probabilities", counted)
    monkeypatch.setattr("ppl.data.batches.threads_for", lambda *_: 1)
    network, dataset = checkpoint.load(settings.checkpoint)[0], Dataset.open(scenes.root)
    stream = predict_all(network, dataset, scenes.images, batch_size=2, scales=(1,), workers=0)
    next(stream)
    assert len(batches) == 1
    assert len(list(stream)) == 3
    assert sorted(batches) == [1, 1, 2]  # two photos share a size


def test_threads_predict_what_one_predicts(settings: Settings, scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    network, dataset = checkpoint.load(settings.checkpoint)[0], Dataset.open(scenes.root)
    predictions = []
    for threads in (1, 3):
        monkeypatch.setattr("ppl.data.batches.threads_for", lambda *_, threads=threads: threads)
        of_split = predict_all(network, dataset, scenes.images, batch_size=4, scales=(1, 0.5), mirror=True, workers=0)
        predictions.append({prediction.image_id: prediction.scores for prediction in of_split})
    assert predictions[0].keys() == predictions[1].keys() == set(scenes.images)
    for image, scores in predictions[0].items():
        np.testing.assert_allclose(predictions[1][image], scores, rtol=1e-3, atol=1e-3)


def test_workers_need_no_torch() -> None:
    code = "import sys, ppl.segment.postprocess, ppl.measure.label_maps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("file", "text", "message"), [
    ("JPEGImages/scene.3.jpg", "no photo", "scene.3.jpg"), ("classes.txt", "cube\nball\n", "other classes"),
])  # fmt: skip
def test_a_failed_run_names_the_file_and_leaves_nothing(
    settings: Settings, scenes, file: str, text: str, message: str
) -> None:
    (scenes.root / file).write_text(text)
    with pytest.raises(UserError, match=message):
        predict_split.main(settings)
    assert not settings.out.exists()
