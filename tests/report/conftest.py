"""A finished experiment in miniature: every file that the report reads, with distinct numbers."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ppl.cam import settings as cam
from ppl.cam.store import Cam, write
from ppl.cam.threshold import Threshold, write_threshold
from ppl.data.masks import write_mask
from ppl.data.settings import Data
from ppl.experiment import stored
from ppl.experiment.settings import Experiment as ExperimentSettings
from ppl.report.page import Settings
from ppl.segment.settings import Prediction, Segment

CLASSES = ('<b>&"', "null")
IMAGES = [f"photo_{i}" for i in range(4)]
SIZE = (32, 40)
PLAIN, MAIN = "baseline/plain", "explicit/s4k2"


@dataclass(frozen=True)
class Experiment:
    """A folder of results."""

    root: Path

    @property
    def main(self) -> Path:
        return self.root / MAIN

    def settings(self, *, masks: bool = True) -> Settings:
        """Return the page's arguments: all files in the folder. Without masks, delete them and omit all measures."""

        def files(*names: str) -> tuple[Path, ...]:
            return tuple(path for name in names for path in sorted(self.root.glob(f"*/*/{name}")))

        if not masks:
            shutil.rmtree(self.root / "data" / "SegmentationClass")
        return Settings(
            experiment=self.root.name,
            data=self.root / "data",
            settings=self.root / "settings.yaml",
            cams=files("cams/*.h5"),
            reliable=files("reliable/*"),
            pseudo=files("pseudo/*"),
            predictions=files("predictions/*"),
            trainings=files("classify.csv", "refiner.csv", "segmenter.csv"),
            checkpoints=files("*.pt"),
            sweeps=files("sweep.csv") if masks else (),
            thresholds=files("threshold.json"),
            measured=files("pseudo.csv", "val-raw.csv", "val-crf.csv") if masks else (),
            classes=self.main / "classes.csv",
            benchmarks=self.root / "benchmarks",
            out=self.root / "report.html",
        )

    def write(self, name: str, content: str | np.ndarray) -> None:
        """Write a text, a label map (h, w) or a photo (h, w, 3)."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif content.ndim == 2:
            write_mask(path, content)
        else:
            Image.fromarray(content).save(path)

    def write_data(
        self,
        classes: Sequence[str],
        labels: Mapping[str, str],
        photos: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        *,
        crf: bool = True,
    ) -> None:
        """Write settings and a dataset whose two splits hold all images."""
        resolved = ExperimentSettings(
            main=MAIN,
            compare=(PLAIN,),
            data=Data(source="demo", seed_split="seeds", val_split="held_out"),
            cam=cam.Cam(threshold=0.3),
            segment=Segment(prediction=Prediction(crf=crf)),
        )
        self.write("settings.yaml", yaml.safe_dump(stored.result_settings(resolved)))
        self.write("data/classes.txt", "\n".join(classes))
        self.write("data/labels.csv", "\n".join(["image,classes", *map(",".join, labels.items())]))
        for split in ("seeds", "held_out"):
            self.write(f"data/ImageSets/Segmentation/{split}.txt", "\n".join(photos))
        for image, photo in photos.items():
            self.write(f"data/JPEGImages/{image}.jpg", photo)
        for image, mask in masks.items():
            self.write(f"data/SegmentationClass/{image}.png", mask)

    def write_labelled(self, share: float, variant: str = MAIN) -> None:
        """Write the columns of partial label maps to pseudo.csv, with a share of labelled pixels in percent."""
        name = f"{variant}/pseudo.csv"
        header, *rows = [row.split(",")[:3] for row in (self.root / name).read_text(encoding="utf-8").splitlines()]
        lines = [[*header, "labelled", "precision"], *([*row, str(share), "90.00"] for row in rows)]
        self.write(name, "\n".join(map(",".join, lines)))

    def write_cams(self, variant: str, cams: Mapping[str, Cam], classes: Sequence[str]) -> Path:
        """Write the CAMs of a variant and its threshold."""
        file = self.root / variant / "cams" / "seeds-1of1.h5"
        file.parent.mkdir(parents=True)
        write(file, cams.items(), classes=classes, settings="{}", checkpoint="")
        write_threshold(self.root / variant / "threshold.json", Threshold(threshold=0.3, rule="fixed"))
        return file


@pytest.fixture(scope="session")
def experiment_in() -> Callable[[Path], Experiment]:
    return Experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """A miniature that a test may change."""
    return _compose(Experiment(tmp_path / "mini"))


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A miniature that tests only read."""
    return _compose(Experiment(tmp_path_factory.mktemp("report") / "mini"))


def _compose(experiment: Experiment) -> Experiment:
    rng = np.random.default_rng(0)

    def label_maps() -> dict[str, np.ndarray]:
        return {image: rng.choice(np.array([0, 1, 2, 255], np.uint8), SIZE) for image in IMAGES}

    photos = {image: rng.integers(0, 256, (*SIZE, 3), np.uint8) for image in IMAGES}
    experiment.write_data(CLASSES, dict.fromkeys(IMAGES, "null"), photos, label_maps())
    for folder in ("reliable/1of1", "pseudo/1of1", "predictions/held_out-1of1/raw", "predictions/held_out-1of1/crf"):
        for image, labels in label_maps().items():
            experiment.write(f"{MAIN}/{folder}/{image}.png", labels)
    for variant in (PLAIN, MAIN):
        cams = {image: Cam(rng.random((2, 8, 10)), np.array([1, 2]), SIZE) for image in IMAGES}
        experiment.write_cams(variant, cams, CLASSES)

    header = 'threshold,miou,precision,recall,iou_background,"iou_<b>&""",iou_null'
    rows = {PLAIN: ["0.29,31.1,5,6,7,8,9", "0.30,32.2,5,6,7,8,9", "0.31,30.3,5,6,7,8,9"]}
    rows[MAIN] = ["0.29,43.3,5,6,70.1,30.2,29.6", "0.30,42.2,5,6,71.4,28.5,26.7", "0.31,41.1,5,6,7,8,9"]
    for variant, lines in rows.items():
        experiment.write(f"{variant}/sweep.csv", "\n".join([header, *lines]))
    for name, value in {"pseudo": 51.57, "val-raw": 53.33, "val-crf": 55.55}.items():
        lines = ["class,iou,pixels", "background,80.00,100", '"<b>&""",,0', "null,23.14,50", f"mean,{value},150"]
        experiment.write(f"{MAIN}/{name}.csv", "\n".join(lines))
    stages = ("seeds", "labels", "predictions")
    columns = [f"{stage}_{field}" for stage in stages for field in ("photos", "gone", "share")]
    counts = ['"<b>&""",0' + ",0,0," * 3, "null,4,4,1,7.500,4,3,0.250,4,0,5.125"]
    experiment.write(f"{MAIN}/classes.csv", "\n".join([",".join(["class", "alone", *columns]), *counts]))
    losses = "epoch,step,rate,loss,seconds\n1,7,0.5,0.6543,30\n2,14,0.1,0.5432,60\n"
    scored = "epoch,step,rate,loss,seconds,mAP\n1,7,0.5,0.4,30,0.5\n2,14,0.1,0.3,90,0.876\n"
    for name, text in {"refiner": losses, "segmenter": losses, "classify": scored}.items():
        experiment.write(f"{MAIN}/{name}.csv", text)
    experiment.write(f"{MAIN}/classifier.pt", "not read, only digested")
    for shard, seconds, memory in (("1of2", 60, 100), ("2of2", 120, "NA")):
        line = f"s\th:m:s\tmax_rss\n{seconds}\t0:01:00\t{memory}\n"
        experiment.write(f"benchmarks/{MAIN}/cams-seeds-{shard}.tsv", line)
    return experiment
