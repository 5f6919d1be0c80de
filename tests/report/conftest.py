"""A finished experiment in miniature: every file that the report reads, with distinct numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ppl.cam.store import Cam, write
from ppl.data.masks import write_mask
from ppl.report.page import Settings

CLASSES = ('<b>&"', "null")
IMAGES = [f"photo_{i}" for i in range(4)]
SIZE = (32, 40)
RESOLVED = {
    "main": "explicit/s4k2",
    "compare": ["baseline/plain"],
    "data": {"source": "demo", "seed_split": "seeds", "val_split": "held_out"},
    "cam": {"threshold": 0.3},
    "segment": {"crf": True},
}


@dataclass(frozen=True)
class Experiment:
    """The folder of the miniature."""

    root: Path

    @property
    def main(self) -> Path:
        return self.root / "explicit" / "s4k2"

    def settings(self, *, masks: bool = True) -> Settings:
        """Return arguments of the page; without masks, delete them and omit all measures."""
        if not masks:
            folder = self.root / "data" / "SegmentationClass"
            for mask in folder.iterdir():
                mask.unlink()
            folder.rmdir()
        sweeps = tuple(self.root / v / "sweep.csv" for v in ("baseline/plain", "explicit/s4k2"))
        return Settings(
            experiment="mini",
            data=self.root / "data",
            settings=self.root / "settings.yaml",
            cams=tuple(self.root / v / "cams" / "seeds-1of1.h5" for v in ("baseline/plain", "explicit/s4k2")),
            confident=(self.main / "confident" / "1of1",),
            pseudo=(self.main / "pseudo" / "1of1",),
            predictions=(self.main / "predictions" / "held_out-1of1",),
            trainings=tuple(self.main / f"{kind}.csv" for kind in ("classify", "irnet", "deeplab")),
            checkpoints=(self.main / "classifier.pt",),
            sweeps=sweeps if masks else (),
            measured=tuple(self.main / f"{n}.csv" for n in ("pseudo", "val-raw", "val-crf")) if masks else (),
            benchmarks=self.root / "benchmarks",
            out=self.root / "report.html",
        )


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """A miniature that a test may change."""
    return _compose(tmp_path / "mini")


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A miniature that tests only read."""
    return _compose(tmp_path_factory.mktemp("report") / "mini")


def _compose(root: Path) -> Experiment:
    experiment = Experiment(root)
    rng = np.random.default_rng(0)
    data, main = experiment.root / "data", experiment.main
    maps = {"confident/1of1", "pseudo/1of1", "predictions/held_out-1of1/raw", "predictions/held_out-1of1/crf"}
    folders = [data / "JPEGImages", data / "SegmentationClass", *(main / name for name in maps)]
    for folder in (*folders, data / "ImageSets" / "Segmentation", experiment.root / "baseline" / "plain"):
        folder.mkdir(parents=True)
    _text(experiment.root / "settings.yaml", yaml.safe_dump(RESOLVED))
    _text(data / "classes.txt", "\n".join(CLASSES))
    _text(data / "labels.csv", "\n".join(["image,classes", *(f"{image},null" for image in IMAGES)]))
    for split in ("seeds", "held_out"):
        _text(data / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(IMAGES))
    for image in IMAGES:
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(data / "JPEGImages" / f"{image}.jpg")
        for folder in folders[1:]:
            write_mask(folder / f"{image}.png", rng.choice(np.array([0, 1, 2, 255], np.uint8), SIZE))
    for variant in ("baseline/plain", "explicit/s4k2"):
        cams = ((image, Cam(rng.random((2, 8, 10)), np.array([1, 2]), SIZE)) for image in IMAGES)
        (root / variant / "cams").mkdir()
        write(root / variant / "cams" / "seeds-1of1.h5", cams, classes=CLASSES, settings="{}", checkpoint="")

    header = 'threshold,miou,precision,recall,iou_background,"iou_<b>&""",iou_null'
    rows = {"baseline/plain": ["0.29,31.1,5,6,7,8,9", "0.30,32.2,5,6,7,8,9", "0.31,30.3,5,6,7,8,9"]}
    rows["explicit/s4k2"] = ["0.29,43.3,5,6,70.1,30.2,29.6", "0.30,42.2,5,6,71.4,28.5,26.7", "0.31,41.1,5,6,7,8,9"]
    for variant, lines in rows.items():
        _text(experiment.root / variant / "sweep.csv", "\n".join([header, *lines]))
    for name, value in {"pseudo": 51.57, "val-raw": 53.33, "val-crf": 55.55}.items():
        lines = ["class,iou,pixels", "background,80.00,100", '"<b>&""",,0', "null,23.14,50", f"mean,{value},150"]
        _text(main / f"{name}.csv", "\n".join(lines))
    for name in ("irnet", "deeplab"):
        _text(main / f"{name}.csv", "epoch,step,rate,loss,seconds\n1,7,0.5,0.6543,30\n2,14,0.1,0.5432,60\n")
    _text(main / "classify.csv", "epoch,step,rate,loss,seconds,mAP\n1,7,0.5,0.4,30,0.5\n2,14,0.1,0.3,90,0.876\n")
    _text(main / "classifier.pt", "not read, only digested")
    for shard, seconds, memory in (("1of2", 60, 100), ("2of2", 120, "NA")):
        line = f"s\th:m:s\tmax_rss\n{seconds}\t0:01:00\t{memory}\n"
        _text(experiment.root / "benchmarks" / "explicit" / "s4k2" / f"cams-seeds-{shard}.tsv", line)
    return experiment


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
