"""Draw the steps on photos outside the training set: map, grown map, seed, pseudo label, and the network's prediction.

python benchmarks/chain.py --classifier classifier.pt --segmenter segmenter.pt --threshold threshold.json
    --settings config/small.yaml --photos astronaut.png=person cat.png=cat --out docs/images/chain.png
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
import yaml
from PIL import Image

from ppl.cam.heat import heat_over
from ppl.cam.maps import maps_of
from ppl.cam.seeds import seed
from ppl.cam.settings import Cam as CamSettings
from ppl.cam.store import Cam
from ppl.cam.threshold import read_threshold
from ppl.classify import build as classifiers
from ppl.classify.network import PatchClassifier
from ppl.data.masks import IGNORE, VOC_COLOURS
from ppl.experiment.settings import Experiment
from ppl.predict.api import Segmenter
from ppl.refine.crf_seeds import seeds_after_crf
from ppl.refine.passes import Crf
from ppl.report.sheet import draw_sheet
from ppl.workflow import config

PHOTO_SHARE = 0.45  # of the grey photo below a label map


@dataclass(frozen=True)
class Settings:
    classifier: Path
    segmenter: Path
    threshold: Path
    """JSON of `ppl.cam.choose_threshold`."""
    settings: Path
    """A file with `defaults:`, such as config/small.yaml."""
    photos: tuple[str, ...]
    """FILE=CLASS each."""
    out: Path
    side: int = 256
    """Longest side of a photo, in pixels."""


def main(settings: Settings) -> None:
    defaults = yaml.safe_load(settings.settings.read_text(encoding="utf-8"))["defaults"]
    experiment = config.resolve({"defaults": defaults, "experiments": {"drawn": {"data": {"source": "demo"}}}})[
        "drawn"
    ].settings
    rows = [row(settings, experiment, *photo.rsplit("=", 1)) for photo in settings.photos]
    draw_sheet(rows).savefig(settings.out, dpi=110, metadata={"Date": None, "Software": None})


def row(settings: Settings, experiment: Experiment, file: str, name: str) -> dict[str, np.ndarray]:
    """Return the tiles of a photo with its class, by their captions."""
    network, content = classifiers.load(settings.classifier)
    class_id = content["classes"].index(name) + 1
    with Image.open(file) as image:
        image = image.convert("RGB")
        image.thumbnail((settings.side, settings.side))
        photo = np.array(image)
    alone = replace(experiment.cam, prototypes=replace(experiment.cam.prototypes, rounds=0))
    cams = {
        "class activation map": _cam(network, photo, class_id, alone),
        "grown by prototypes": _cam(network, photo, class_id, experiment.cam),
    }
    tiles = {f"photo, labelled: {name}": photo, **{title: heat_over(photo, cam, 0) for title, cam in cams.items()}}
    grown, threshold, refine = cams["grown by prototypes"], read_threshold(settings.threshold), experiment.refine
    crf = Crf(refine.reliable.confidence, refine.reliable.iterations, refine.pairwise)
    (label,) = seeds_after_crf(
        [photo], [grown], threshold=threshold, crf=crf, margins=refine.labels.margins, keep=refine.keep_classes
    )
    prediction = experiment.segment.prediction
    segmenter = Segmenter(
        settings.segmenter, photo_scales=prediction.photo_scales, mirror=prediction.mirror, crf=prediction.crf,
        max_side=settings.side,
    )  # fmt: skip
    maps = {"seed": seed(grown, threshold), "pseudo label": label, "prediction": segmenter.segment(photo).labels}
    return {**tiles, **{title: over(photo, labels) for title, labels in maps.items()}}


def _cam(network: PatchClassifier, photo: np.ndarray, class_id: int, cam: CamSettings) -> Cam:
    (maps,) = maps_of(network, photo[None], [[class_id]], cam)
    return Cam(maps, np.array([class_id]), photo.shape[:2])


def over(photo: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a label map (h, w) in VOC's colours over the grey photo; white where undecided."""
    grey = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)
    mixed = PHOTO_SHARE * grey + (1 - PHOTO_SHARE) * VOC_COLOURS[labels]
    mixed = np.where((labels == 0)[..., None], grey, mixed)
    return np.where((labels == IGNORE)[..., None], 128 + grey / 2, mixed).round().astype(np.uint8)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
