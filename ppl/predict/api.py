"""Trained networks for scripts and notebooks: one's own photos in a few lines.

import ppl

model = ppl.load("results/demo/explicit/s4k2/deeplab.pt")
found = model.segment("photo.jpg")      # a notebook shows it as a picture
found.shares                            # {'bird': 0.31}
found.labels                            # (h, w) uint8
found.save("predictions/photo.png")     # and predictions/photo-overlay.jpg

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

from ppl.cam.maps import branch_maps, fuse
from ppl.cam.store import Cam
from ppl.classify import build as classifiers
from ppl.data.crops import Window, cut_photo
from ppl.data.resize import upsample
from ppl.jobs.devices import Precision, autocast, set_arithmetic
from ppl.jobs.errors import UserError
from ppl.networks import checkpoints
from ppl.networks.backbones import fold_batchnorm
from ppl.predict import settings as experiment
from ppl.predict.segmentation import Photo, Segmentation, png, segmentation, view
from ppl.predict.settings import Choice
from ppl.segment import build as segmenters
from ppl.segment.inference import predict_batch
from ppl.segment.postprocess import Crf, Prediction

PRESENT = 0.5  # probability from which on a class counts as found


def load(weights: Path | str, **options: Any) -> "Segmenter | Classifier":
    """A trained network: a `Segmenter` from deeplab.pt, a `Classifier` from classifier.pt.

    What its experiment sets for inference is taken from settings.yaml two folders above, where that is; printing the
    network tells what and from where. Options, all by name:

        settings      another such file
        max_side      longest side of photos for the network, which larger ones are shrunk to
        device        such as "cpu"; by default a GPU where there is one
        precision     "32-true" (default), "bf16-mixed" or "16-mixed"
        photo_scales  of a segmenter: factors at which the network sees photos
        crf           of a segmenter: True or False

    UserError, one line with the remedy, for files that do not fit.
    """
    what, remedy = "a readable checkpoint", "name the deeplab.pt or classifier.pt of a finished run"
    content = checkpoints.read(weights, what, remedy)
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in (segmenters.KIND, classifiers.KIND):
        raise UserError(weights, "is neither a segmentation network nor a classifier", f"{remedy}")
    return Segmenter(weights, **options) if kind == segmenters.KIND else Classifier(weights, **options)


class _Trained:
    """What both networks share: `classes`, and the settings in use as `chosen`, each with where it comes from."""

    chosen: dict[str, Choice]

    def __init__(
        self,
        weights: Path | str,
        load: Callable[[Path], tuple[nn.Module, dict[str, Any]]],
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
        self.training = content["settings"].get("training")

    def setting(self, name: str) -> Any:
        """The value of a setting in use."""
        return self.chosen[name].value

    def __repr__(self) -> str:
        head = f"{self.weights}: {len(self.classes)} classes, on {self.device} in {self.precision}"
        return "\n  ".join([head, *(f"{name} {_in_words(c.value)} ({c.source})" for name, c in self.chosen.items())])


class Segmenter(_Trained):
    """A segmentation network."""

    def __init__(
        self,
        weights: Path | str,
        *,
        settings: Path | str | None = None,
        photo_scales: Sequence[float] | None = None,
        crf: bool | None = None,
        max_side: int | None = None,
        device: torch.device | str | None = None,
        precision: Precision = "32-true",
    ) -> None:
        super().__init__(weights, segmenters.load, device, precision)
        found = experiment.find(self.weights, settings)
        with checkpoints.rebuilding(weights):
            seen = math.ceil(self.training["crop"] / self.training["scale"][0])
        self.chosen = experiment.of_segmentation(found, photo_scales=photo_scales, crf=crf)
        self.chosen["max_side"] = experiment.longest_side(found, max_side, seen)

    def segment(self, photo: Photo) -> Segmentation:
        """The label map of a photo: a path, an image of Pillow, or an array (h, w, 3) uint8 RGB."""
        looked_at = view(photo, self.setting("max_side"))
        (prediction,) = self.predict([""], looked_at.seen[None])
        return segmentation(looked_at, prediction, self.setting("crf"), self.classes)

    def predict(self, images: Sequence[str], photos: np.ndarray) -> Iterator[Prediction]:
        """What the network alone says about photos (B, h, w, 3) uint8 named `images`."""
        with autocast(self.device, self.precision):
            yield from predict_batch(self.network, images, photos, self.setting("photo_scales"))


class Classifier(_Trained):
    """A classifier: image-level scores, and where in a photo its classes are (class activation maps)."""

    def __init__(
        self,
        weights: Path | str,
        *,
        settings: Path | str | None = None,
        max_side: int | None = None,
        device: torch.device | str | None = None,
        precision: Precision = "32-true",
    ) -> None:
        super().__init__(weights, classifiers.load, device, precision)
        found = experiment.find(self.weights, settings)
        with checkpoints.rebuilding(weights):
            self.crop, seen = int(self.training["crop"]), int(self.training["long_side"][1])
        self.chosen = experiment.of_maps(found)
        self.chosen["max_side"] = experiment.longest_side(found, max_side, seen)

    def classify(self, photo: Photo) -> dict[str, float]:
        """Probability of each class, the highest first; the photo fills the crop of training, as in its validation."""
        seen = view(photo, self.crop).seen
        h, w = seen.shape[:2]
        size = tuple(max(1, round(side * self.crop / max(h, w))) for side in (h, w))
        whole = Window((0, 0, w, h), size, (0, 0), flip=False)
        image = cut_photo(seen, whole, self.crop, self.network.backbone.mean, self.network.backbone.std)
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.network(image[None].to(self.device)).float().sum(dim=1)[0]  # (C,)
        scores = zip(self.classes, logits.sigmoid().tolist(), strict=True)
        return dict(sorted(scores, key=lambda score: -score[1]))

    def cam(self, photo: Photo, classes: Sequence[str] | None = None) -> "ClassActivation":
        """Class activation maps of a photo for some classes, by default for those that the classifier finds in it.

        It finds those of a probability of at least 0.5, or else the most probable one. ValueError for another class.
        """
        if classes is None:
            scores = self.classify(photo)
            classes = [name for name, score in scores.items() if score >= PRESENT] or list(scores)[:1]
        if unknown := sorted({*classes} - {*self.classes}):
            raise ValueError(f"{unknown[0]!r} is no class of {self.weights}; there are {', '.join(self.classes)}")
        looked_at = view(photo, self.setting("max_side"))
        ids = [self.classes.index(name) for name in classes]
        with autocast(self.device, self.precision):
            maps = branch_maps(self.network, looked_at.seen[None], self.setting("scales"), power=self.setting("power"))
        fused = fuse(maps[0][:, ids], self.setting("fusion")).cpu().numpy()  # (K, h4, w4)
        return ClassActivation(Cam(fused, np.array(ids) + 1, looked_at.size), tuple(classes), looked_at.shown)


@dataclass(frozen=True, eq=False, repr=False)
class ClassActivation:
    """Class activation maps of a photo; a notebook shows them side by side."""

    cam: Cam
    """At a fourth of the size at which the network has seen the photo."""
    classes: tuple[str, ...]
    """Name of each map."""
    photo: np.ndarray
    """(h', w', 3) uint8 RGB, shrunk where the photo is larger than a picture on a screen."""

    @property
    def maps(self) -> np.ndarray:
        """(K, h, w) float32 in 0..1 at the photo's full size, computed when asked for."""
        return upsample(self.cam.maps, self.cam.size)

    def overlay(self) -> Image.Image:
        """Heat of each class over the photo in grey, side by side."""
        from ppl.cam.heat import heat_over  # with matplotlib, a second that segmenting photos does without

        shown = self.cam._replace(size=self.photo.shape[:2])
        heats = [heat_over(self.photo, shown, plane) for plane in range(len(self.classes))]
        return Image.fromarray(np.concatenate(heats or [self.photo], axis=1))

    def _repr_png_(self) -> bytes:
        return png(self.overlay())

    def __repr__(self) -> str:
        return f"class activation maps of {', '.join(self.classes) or 'no class'}"


def _in_words(value: Any) -> str:
    """A setting as a line shows it."""
    if isinstance(value, Crf):
        return f"of {value.iterations} iterations"
    if isinstance(value, tuple):
        return " ".join(f"{part:g}" for part in value)
    return "off" if value is None else str(value)
