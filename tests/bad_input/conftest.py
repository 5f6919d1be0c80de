"""Fixtures for tests of bad input: a small dataset, the steps, and the form of an error."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl.data import check
from ppl.data.masks import write_mask
from ppl.jobs.errors import UserError

Refused = Callable[..., str]
LABELS = {"t1": "cat", "t2": "dog", "v1": "cat", "e1": ""}
SPLITS = {"train": ["t1", "t2"], "val": ["v1"], "test": ["e1"]}


def text_of(error: UserError, *named: str) -> str:
    """The text of a UserError: a line that names the culprit and a remedy, or a list of such lines below a head."""
    head, *listed = str(error).splitlines()
    assert all(line.startswith("  ") for line in listed), error
    for line in listed or [head]:
        assert "; " in line.strip(), f"no remedy: {line}"
        assert len(line) < 1000, f"longer than anybody reads: {line}"
    for name in named:
        assert name in str(error), f"{name} is not named: {error}"
    assert "\x1b" not in str(error)
    return str(error)


@pytest.fixture(scope="session")
def one_line() -> Callable[..., str]:
    """`text_of`, for tests that catch the error themselves."""
    return text_of


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Runs `main(settings)`, which must end in a text that names `named` (of `lines` lines).

    It must write nothing but the list of findings of the check.
    """

    def run(main: Callable[[Any], Any], settings: Any, *named: str, lines: int | None = None) -> str:
        before = [path for path in sorted(tmp_path.rglob("*")) if not path.name.endswith("check.txt")]
        with pytest.raises(UserError) as error:
            main(settings)
        after = [path for path in sorted(tmp_path.rglob("*")) if not path.name.endswith("check.txt")]
        assert after == before
        text = text_of(error.value, *named)
        assert lines in (None, len(text.splitlines())), text
        return text

    return run


@pytest.fixture(scope="session")
def valid_or_one_line(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Reads a file of any bytes: returns what `read(path)` returns, or None where it refuses them in one line."""
    path = tmp_path_factory.mktemp("any") / "any"

    def run(read: Callable[[Path], Any], content: bytes) -> Any:
        path.write_bytes(content)
        try:
            return read(path)
        except UserError as error:
            text_of(error, str(path))

    return run


@pytest.fixture
def spoil() -> Callable[[Path, bytes | str], None]:
    """Replaces a file by other bytes, or by something that is not a file: nothing, a folder, a link to nowhere."""

    def put(path: Path, kind: bytes | str) -> None:
        path.unlink(missing_ok=True)
        if isinstance(kind, bytes):
            path.write_bytes(kind)
        elif kind == "folder":
            path.mkdir()
        elif kind in ("loop", "dangling"):
            path.symlink_to(path if kind == "loop" else path.with_name("nowhere"))

    return put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A valid dataset of PNG photos of 8x6 (w, h), with masks."""
    root = tmp_path / "data"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, images in SPLITS.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{image}\n" for image in images))
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "labels.csv").write_text("image,classes\n" + "".join(f"{i},{c}\n" for i, c in LABELS.items()))
    noise = np.random.default_rng(0).integers(0, 256, (len(LABELS), 6, 8, 3), dtype=np.uint8)
    for image, photo in zip(LABELS, noise, strict=True):
        Image.fromarray(photo).save(root / "JPEGImages" / f"{image}.png")
        write_mask(root / "SegmentationClass" / f"{image}.png", np.array([[0, 1, 2, 255] * 2] * 6, dtype=np.uint8))
    return root


@pytest.fixture
def checking(root: Path) -> check.Settings:
    """Settings of the check of that dataset."""
    return check.Settings(
        data=root, train_split="train", seed_split="train", val_split="val", test_split="test",
        out=root.with_name("check.json"), workers=0,
    )  # fmt: skip


@pytest.fixture
def steps(root: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Settings of the steps that run networks, on untrained ones and on the split train of that dataset."""
    import torch  # here: most tests of bad input do without torch

    from ppl.cam import export
    from ppl.cam.settings import Cam, Maps
    from ppl.classify import build as classifiers
    from ppl.classify import train
    from ppl.classify.settings import Architecture, Classify, PatchTraining
    from ppl.jobs.fields import plain
    from ppl.jobs.settings import Hardware
    from ppl.networks import checkpoints
    from ppl.refine import build as refiners
    from ppl.refine import walk_split
    from ppl.refine.settings import Refine
    from ppl.segment import build as segmenters
    from ppl.segment import predict_split
    from ppl.segment.settings import DeepLabV2, Prediction, Segment, Training

    monkeypatch.setattr(walk_split, "run_all", lambda function, items, **_: map(function, items))
    torch.manual_seed(0)
    hardware = Hardware(gpu=0, workers=0, precision="32-true")
    architecture = Architecture(backbone=tiny)
    classify = Classify(
        architecture=architecture,
        patch_training=PatchTraining(
            weights="none", epochs=1, batch_size=2, lr=0.01, long_side=(32, 40), crop=32, keep_classifier=("explicit",)
        ),
    )
    segment = Segment(
        deeplab_v2=DeepLabV2(backbone=tiny, rates=(1, 2), scales=(1, 0.5)),
        training=Training(weights="none"),
        prediction=Prediction(batch_size=2, iterations=2),
    )
    refine = {"irnet": Refine(), "affinitynet": Refine(network="affinitynet")}
    for name, section in refine.items():
        entry = getattr(section, name)
        small = replace(
            entry,
            training=replace(entry.training, backbone=tiny, weights="none"),
            walk=replace(entry.walk, radius=3, steps=4, batch_size=2),
        )
        refine[name] = replace(section, **{name: small})

    variant = {"method": "explicit", "grids": "s2k2-s3k3"}
    classifier = classifiers.build(**variant, classes=2, architecture=architecture, weights="none")
    networks = {
        "classifier": (classifier, "classifier", {**variant, "architecture": plain(architecture)}),
        "segmenter": (segmenters.build(segment, 2), "segmenter", segmenters.stored(segment)),
    }
    for name, section in refine.items():
        entry, settings = refiners.entry_of(section)
        networks[name] = (entry.build(settings, "none"), "refiner", refiners.stored(section))
    files = {name: tmp_path / f"{name}.pt" for name in networks}
    for name, (network, kind, settings) in networks.items():
        checkpoints.save(files[name], network, kind=kind, settings=settings, code="", classes=["cat", "dog"])
    cams = tmp_path / "cams.h5"
    return SimpleNamespace(
        files=files,
        exporting=export.Settings(
            data=root, split="train", classifier=files["classifier"], out=cams, hardware=hardware,
            cam=Cam(maps=Maps(scales=(1, 0.5), batch_size=2)),
        ),
        walking={
            name: walk_split.Settings(
                data=root, split="train", cams=(cams,), network=files[name], out=tmp_path / f"labels-{name}",
                refine=section, hardware=hardware,
            )
            for name, section in refine.items()
        },
        predicting=predict_split.Settings(
            data=root, split="train", checkpoint=files["segmenter"], out=tmp_path / "predictions", segment=segment,
            hardware=hardware,
        ),
        training=train.Settings(
            data=root, train_split="train", val_split="val", method="explicit", grids="s2k2", code="", random_seed=0,
            classify=classify, out=tmp_path / "trained.pt", log=tmp_path / "trained.csv", start=files["classifier"],
            hardware=hardware,
        ),
    )  # fmt: skip
