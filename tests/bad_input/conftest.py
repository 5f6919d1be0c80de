"""What the tests of bad input share: a small dataset, and an entry point that has to refuse it as a user should see."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl.data import check
from ppl.data.dataset import write_mask
from ppl.files import UserError

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
    """Runs `main(settings)`, which has to end in a line that names `named`, and to leave nothing that was not there."""

    def run(main: Callable[[Any], None], settings: Any, *named: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError) as error:
            main(settings)
        assert sorted(tmp_path.rglob("*")) == before
        return text_of(error.value, *named)

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound dataset of photos of 8x6 (w, h), as PNG, with masks."""
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
