"""Trained networks for scripts and notebooks: inference on photos in a few lines.

import ppl

model = ppl.load("results/demo/explicit/s4k2/segmenter.pt")
result = model.segment("photo.jpg")     # a notebook shows it as a picture
result.shares                           # {'bird': 0.31}
result.labels                           # (h, w) uint8
result.save("predictions/photo.png")    # and predictions/photo-overlay.jpg

classifier = ppl.load("results/demo/explicit/s4k2/classifier.pt")
classifier.classify("photo.jpg")        # {'bird': 0.98, 'insect': 0.12, ...}
classifier.cam("photo.jpg")
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ppl.cam.maps import maps_of
from ppl.cam.store import Cam
from ppl.classify import build as classifiers
from ppl.classify import settings as classify_settings
from ppl.data.crops import cut_photo, normalise_crops, whole_window
from ppl.data.resize import upsample
from ppl.jobs import fields
from ppl.jobs.devices import autocast, set_arithmetic
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Precision
from ppl.networks import checkpoints
from ppl.networks.backbones import fold_batchnorm
from ppl.predict.inference_settings import Setting, find, longest_side, of_maps, of_segmentation, photo_bits
from ppl.predict.segmentation import Photo, Segmentation, png, prepare, segmentation
from ppl.segment import build as segmenters
from ppl.segment import settings as segment_settings
from ppl.segment.inference import log_probabilities, predict_batch
from ppl.segment.logits import resize
from ppl.segment.postprocess import Crf, Prediction
from ppl.training.settings import Training

PRESENT = 0.5  # least probability of a class for which a map is computed by default


def load(weights: Path | str, **options: Any) -> "Segmenter | Classifier":
    """Load a trained network: a `Segmenter` from segmenter.pt, a `Classifier` from classifier.pt.

    Inference settings are read from settings.yaml two directories above the weights, if it exists; printing the network
    lists them with their origin. Options, all by name:

        settings      another settings.yaml
        max_side      longest side of photos for the network; larger ones are shrunk to it
        device        such as "cpu"; by default a GPU if there is one
        precision     "32-true" (default), "bf16-mixed" or "16-mixed"
        photo_scales  of a segmenter: factors by which photos are resized for the network
        mirror        of a segmenter: True or False, average with the mirror image
        crf           of a segmenter: True or False

    UserError for a file that cannot be read or belongs to another kind of network.
    """
    what, remedy = "a readable checkpoint", "name the segmenter.pt or classifier.pt of a finished run"
    content = checkpoints.read(weights, what, remedy)
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in (segmenters.KIND, classifiers.KIND):
        raise UserError(weights, "neither a segmentation network nor a classifier", remedy)
    return Segmenter(weights, **options) if kind == segmenters.KIND else Classifier(weights, **options)


class _Trained:
    """A trained network on a device, with its `classes` and `settings_in_use`."""

    settings_in_use: dict[str, Setting]
    bits: int | None
    """How many bits of photos of 16 count; None if each photo decides for itself."""

    def __init__(
        self,
        weights: Path | str,
        load: Callable[[Path], tuple[nn.Module, dict[str, Any]]],
        training: type[Training],
        device: torch.device | str | None,
        precision: Precision,
    ) -> None:
        self.weights, self.precision = Path(weights), precision
        network, content = load(self.weights)
        fold_batchnorm(network)
        set_arithmetic()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.classes: tuple[str, ...] = tuple(content["classes"])
        self.training = fields.read(training, content["settings"].get("training"), weights, checkpoints.REMEDY)

    def setting(self, name: str) -> Any:
        """Return the value of a setting in use."""
        return self.settings_in_use[name].value

    def __repr__(self) -> str:
        head = f"{self.weights}: {len(self.classes)} classes, on {self.device} in {self.precision}"
        return "\n  ".join(
            [head, *(f"{name} {_describe(s.value)} ({s.origin})" for name, s in self.settings_in_use.items())]
        )


class Segmenter(_Trained):
    """A segmentation network."""

    def __init__(
        self,
        weights: Path | str,
        *,
        settings: Path | str | None = None,
        photo_scales: Sequence[float] | None = None,
        mirror: bool | None = None,
        crf: bool | None = None,
        max_side: int | None = None,
        device: torch.device | str | None = None,
        precision: Precision = "32-true",
    ) -> None:
        super().__init__(weights, segmenters.load, segment_settings.Training, device, precision)
        stored = find(self.weights, settings)
        self.bits = photo_bits(stored)
        in_crop = math.ceil(self.training.crop / min(self.training.crop_scales))
        self.settings_in_use = of_segmentation(stored, photo_scales=photo_scales, mirror=mirror, crf=crf)
        self.settings_in_use["max_side"] = longest_side(stored, max_side, in_crop)

    def segment(self, photo: Photo) -> Segmentation:
        """Return the label map of a photo: a path, an image of Pillow, or an array (h, w, 3) uint8 RGB."""
        prepared = prepare(photo, self.setting("max_side"), self.bits)
        (prediction,) = self.predict([""], prepared.image[None])
        return segmentation(prepared, prediction, self.setting("crf"), self.classes)

    def predict(self, names: Sequence[str], photos: np.ndarray) -> list[Prediction]:
        """Return the network's predictions, before any CRF, for photos (B, h, w, 3) uint8 called `names`."""
        with autocast(self.device, self.precision):
            scales, mirror = self.setting("photo_scales"), self.setting("mirror")
            return predict_batch(self.network, names, photos, scales, mirror=mirror)

    def predict_tiles(self, name: str, tiles: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield log-probabilities (C+1, h', w') at the network's stride and probabilities (C+1, h, w) before any CRF.

        They are of tiles (B, h, w, 3) uint8 of the photo `name`.
        """
        with autocast(self.device, self.precision):
            scales, mirror = self.setting("photo_scales"), self.setting("mirror")
            scores = log_probabilities(self.network, tiles, scales, mirror=mirror)
        if not scores.isfinite().all():
            what = f"its scores of {name!r} are not finite"
            raise UserError("segmentation network", what, "train again with a lower lr, or use precision 32-true")
        for of_tile in scores:
            probabilities = resize(of_tile[None], tiles.shape[1:3])[0].softmax(dim=0)
            yield of_tile.cpu().numpy(), probabilities.cpu().numpy()


class Classifier(_Trained):
    """A classifier: image-level scores and class activation maps."""

    def __init__(
        self,
        weights: Path | str,
        *,
        settings: Path | str | None = None,
        max_side: int | None = None,
        device: torch.device | str | None = None,
        precision: Precision = "32-true",
    ) -> None:
        super().__init__(weights, classifiers.load, classify_settings.Training, device, precision)
        stored = find(self.weights, settings)
        self.bits = photo_bits(stored)
        self.cam_settings = stored.experiment.cam
        self.settings_in_use = of_maps(stored)
        self.settings_in_use["max_side"] = longest_side(stored, max_side, self.training.long_side[1])

    def classify(self, photo: Photo) -> dict[str, float]:
        """Return the probability of each class, the highest first.

        The longest side of the photo is resized to the training crop, as in the classifier's validation.
        """
        pixels = prepare(photo, self.training.crop, self.bits).image
        window = whole_window(pixels.shape[:2], self.training.crop)
        backbone, crop = self.network.backbone, cut_photo(pixels, window, self.training.crop)
        with torch.inference_mode(), autocast(self.device, self.precision):
            image = normalise_crops(crop, backbone.mean, backbone.std, self.device)[None]
            logits = self.network(image.to(memory_format=torch.channels_last)).float().sum(dim=1)[0]  # (C,)
        scores = zip(self.classes, logits.sigmoid().tolist(), strict=True)
        return dict(sorted(scores, key=lambda score: -score[1]))

    def cam(self, photo: Photo, classes: Sequence[str] | None = None) -> "ClassActivation":
        """Return class activation maps of a photo for some classes.

        By default for those of a probability of at least 0.5, or else the most probable one. ValueError for an unknown
        class.
        """
        if classes is None:
            scores = self.classify(photo)
            classes = [name for name, score in scores.items() if score >= PRESENT] or list(scores)[:1]
        if unknown := sorted({*classes} - {*self.classes}):
            raise ValueError(
                f"{unknown[0]!r} is not a class of {self.weights}; its classes are {', '.join(self.classes)}"
            )
        prepared = prepare(photo, self.setting("max_side"), self.bits)
        ids = [self.classes.index(name) + 1 for name in classes]
        with autocast(self.device, self.precision):
            (maps,) = maps_of(self.network, prepared.image[None], [ids], self.cam_settings)  # (K, h4, w4)
        return ClassActivation(Cam(maps, np.array(ids), prepared.size), tuple(classes), prepared.display)


@dataclass(frozen=True, eq=False, repr=False)
class ClassActivation:
    """Class activation maps of a photo; a notebook shows them side by side."""

    cam: Cam
    """At a fourth of the size of the network's input."""
    classes: tuple[str, ...]
    """Name of each map."""
    photo: np.ndarray
    """(h', w', 3) uint8 RGB, shrunk if the photo is larger than a picture on a screen."""

    @property
    def maps(self) -> np.ndarray:
        """(K, h, w) float32 in 0..1 at the photo's full size, computed on access."""
        return upsample(self.cam.maps, self.cam.size)

    def overlay(self) -> Image.Image:
        """Return the heat of each class over the photo in grey, side by side."""
        from ppl.cam.heat import heat_over  # imports matplotlib, which takes a second and is not needed for masks

        cam = self.cam._replace(size=self.photo.shape[:2])
        heats = [heat_over(self.photo, cam, plane) for plane in range(len(self.classes))]
        return Image.fromarray(np.concatenate(heats or [self.photo], axis=1))

    def _repr_png_(self) -> bytes:
        return png(self.overlay())

    def __repr__(self) -> str:
        return f"class activation maps of {', '.join(self.classes) or 'no class'}"


def _describe(value: Any) -> str:
    """Return the value of a setting as text."""
    if isinstance(value, Crf):
        return f"of {value.iterations} iterations"
    if isinstance(value, tuple):
        return " ".join(f"{part:g}" for part in value)
    if value is None or isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
