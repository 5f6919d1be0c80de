import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import settings
from PIL import Image

from ppl.data.masks import write_mask
from ppl.jobs import slots

settings.register_profile("ppl", deadline=None)  # machines may be busy
settings.load_profile("ppl")

COLOURS = np.array([(40, 160, 60), (220, 60, 50), (50, 70, 220)], dtype=np.uint8)  # background, ball, cube
SIZES = ((40, 52), (33, 47), (40, 52), (52, 40))


@dataclass(frozen=True)
class Scenes:
    """Four photos whose colours give the class, their masks, and the masks as pseudo labels in two shard folders."""

    root: Path
    images: tuple[str, ...]
    labels: tuple[Path, Path]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a GPU, or torch's compiler, where there is none."""
    if item.get_closest_marker("gpu"):
        import torch  # here: tests that do without torch start in a tenth of the time

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
    if item.get_closest_marker("compiler"):
        import torch

        from ppl.jobs.compiled import why_not

        if reason := why_not(torch.device("cpu")):
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def _no_entries_of_other_tests() -> None:
    """Forget the entries that a process has used: a job has its own process."""
    slots.LOADED.clear()


@pytest.fixture
def set_cores() -> Iterator[Callable[[int], None]]:
    """Return a function that gives torch a number of cores until the test ends."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def scenes(tmp_path: Path) -> Scenes:
    root, rng = tmp_path / "scenes", np.random.default_rng(0)
    shards = (tmp_path / "labels-1", tmp_path / "labels-2")
    for folder in (root / "JPEGImages", root / "SegmentationClass", root / "ImageSets" / "Segmentation", *shards):
        folder.mkdir(parents=True)
    images = tuple(f"scene.{i}" for i in range(len(SIZES)))
    for i, (image, (h, w)) in enumerate(zip(images, SIZES, strict=True)):
        mask = np.zeros((h, w), dtype=np.uint8)
        mask[8:26, 6 + i : 30 + i] = 1 + i % 2
        noise = rng.integers(-20, 20, (h, w, 3))
        photo = np.clip(COLOURS[mask] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(root / "JPEGImages" / f"{image}.jpg", quality=95)
        write_mask(root / "SegmentationClass" / f"{image}.png", mask)
        write_mask(shards[i % 2] / f"{image}.png", mask)
    (root / "ImageSets" / "Segmentation" / "all.txt").write_text("\n".join(images) + "\n")
    (root / "classes.txt").write_text("ball\ncube\n")
    rows = [f"{image},{('ball', 'cube')[i % 2]}\n" for i, image in enumerate(images)]
    (root / "labels.csv").write_text("image,classes\n" + "".join(rows))
    return Scenes(root, images, shards)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a backbone that trains in milliseconds; its weights are the path of a state dict, or none."""
    monkeypatch.syspath_prepend(Path(__file__).with_name("own"))
    return "own/tiny_backbone"


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """Restore what a training changes in its process: handlers of signals, and the flushing of denormals to 0."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def finish(scenes: Scenes, tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes results/own as a run does, with untrained networks, and returns the networks' folder."""
    import torch  # here: tests that do without torch start in a tenth of the time

    from ppl.cam.settings import Cam, Maps
    from ppl.classify import build as classifiers
    from ppl.classify.settings import Architecture
    from ppl.crf.settings import Pairwise
    from ppl.data.settings import Data
    from ppl.experiment.settings import Experiment
    from ppl.experiment.stored import result_settings
    from ppl.jobs.fields import plain
    from ppl.networks import checkpoints
    from ppl.segment import build as segmenters
    from ppl.segment.settings import DeepLabV2, Prediction, Segment, Training

    def make(backbone: str) -> Path:
        experiment = tmp_path / "results" / "own"
        folder = experiment / "explicit" / "s4k2"
        folder.mkdir(parents=True)
        (experiment / "data").symlink_to(scenes.root)
        pairwise = Pairwise(gaussian_sxy=1, bilateral_sxy=20, bilateral_srgb=6, bilateral_compat=12)
        segment = Segment(
            deeplab_v2=DeepLabV2(backbone=backbone, output_stride=16, rates=(1, 2), scales=(1,)),
            training=Training(weights="none", crop=48),
            prediction=Prediction(photo_scales=(1, 1.5), iterations=2, pairwise=pairwise),
        )
        cam = Cam(maps=Maps(scales=(1, 0.5), batch_size=2))
        resolved = result_settings(Experiment(data=Data(train_split="all"), cam=cam, segment=segment))
        (experiment / "settings.yaml").write_text(yaml.safe_dump(resolved))
        torch.manual_seed(0)
        network = segmenters.build(segment, 2)
        for conv in network.aspp:
            torch.nn.init.normal_(conv.weight, std=1.0)  # so that all classes appear
        settings, classes = segmenters.stored(segment), ["ball", "cube"]
        checkpoints.save(
            folder / "segmenter.pt", network, kind=segmenters.KIND, settings=settings, code="", classes=classes
        )
        classifier = Architecture(backbone=backbone, output_stride=16, frozen_stages=2, phi_init="identity")
        settings = {"method": "explicit", "grids": "s4k2", "architecture": plain(classifier)}
        settings["training"] = {"crop": 48, "long_side": [40, 64]}
        network = classifiers.build("explicit", "s4k2", 2, classifier, weights="none")
        checkpoints.save(
            folder / "classifier.pt", network, kind="classifier", settings=settings, code="", classes=classes
        )
        return folder

    return make


@pytest.fixture
def operations() -> Callable[[Callable[[], Any]], Counter[str]]:
    """Return a function that runs another and returns the number of torch's operations by name."""
    from torch.utils._python_dispatch import TorchDispatchMode  # here, as above

    class Operations(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.counts: Counter[str] = Counter()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.counts[function.overloadpacket.__name__] += 1
            return function(*args, **(kwargs or {}))

    def count(run: Callable[[], Any]) -> Counter[str]:
        run()  # tables that are kept
        with Operations() as mode:
            run()
        return mode.counts

    return count


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[int]]:
    """Return a function that has a step solve CRFs on the CPU as on a GPU: three photos at once, in two threads.

    It returns a list to which the numbers of photos solved at once are appended.
    """

    def replace_solver(step: Any) -> list[int]:
        import torch  # here, as above

        from ppl.crf.solvers import Execution
        from ppl.crf.tensors import on_device

        solver, at_once = on_device(torch.device("cpu")), []

        def counted(problems, pairwise, iterations):
            at_once.append(len(problems))
            return solver(problems, pairwise, iterations)

        monkeypatch.setattr(step, "choose", lambda *_: Execution(counted, 2, 3, threads=True))
        return at_once

    return replace_solver
