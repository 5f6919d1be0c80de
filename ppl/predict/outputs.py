"""Files that are written for segmented photos, by format, and the COCO file of all photos together.

Worker processes use this module, so it does not import torch.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from ppl.data.masks import write_mask
from ppl.jobs.files import atomic
from ppl.predict.coco import Annotation, polygon_annotations, rle_annotations
from ppl.predict.probability_store import ProbabilityStore, stored_size
from ppl.predict.segmentation import PreparedPhoto, Segmentation, overlay_of, segmentation
from ppl.predict.streams import PngStream
from ppl.segment.postprocess import Crf, Prediction, probabilities

Format = Literal["mask", "overlay", "class-masks", "coco", "coco-polygons", "probabilities"]
FORMATS: tuple[Format, ...] = get_args(Format)
DESCRIBED = {
    "mask": "masks NAME.png",
    "overlay": "pictures NAME-overlay.jpg",
    "class-masks": "masks of each class class-masks/CLASS/NAME.png",
    "coco": "coco.json",
    "coco-polygons": "coco-polygons.json",
    "probabilities": "probabilities NAME.h5",
}
"""What a format writes, for people."""
COCO_FILES = {"coco": "coco.json", "coco-polygons": "coco-polygons.json"}
ANNOTATE = {"coco": rle_annotations, "coco-polygons": polygon_annotations}
CLASS_MASKS = "class-masks"
PRESENT = 255  # value of a class in its own mask; 0 elsewhere
UNSAFE = re.compile(r'[/\\:*?"<>|\0-\x1f]|^[.-]|[. ]$')
"""What the name of a folder may not hold on one of the common systems."""


class Written(NamedTuple):
    """What was written for a photo: its name, full size, shares of classes, and annotations by COCO's format."""

    name: str
    size: tuple[int, int]
    shares: dict[str, float]
    annotations: dict[Format, list[Annotation]]


class Outputs(NamedTuple):
    """Where files are written, in which formats, for which classes."""

    folder: Path
    formats: tuple[Format, ...]
    classes: tuple[str, ...]

    def mask(self, name: str) -> Path:
        """Return the path of the mask of a photo."""
        return self.folder / f"{name}.png"

    def class_masks(self, name: str) -> list[Path]:
        """Return the path of the mask of each class."""
        return [self.folder / CLASS_MASKS / label / f"{name}.png" for label in folder_names(self.classes)]

    def probabilities(self, name: str) -> Path:
        """Return the path of the probabilities of a photo."""
        return self.folder / f"{name}.h5"

    def of_photo(self, name: str) -> list[Path]:
        """Return the paths of all files that are written for one photo."""
        paths = {
            "mask": [self.mask(name)],
            "overlay": [overlay_of(self.mask(name))],
            "class-masks": self.class_masks(name),
            "probabilities": [self.probabilities(name)],
        }
        return [path for kind in self.formats for path in paths.get(kind, ())]

    def main_file(self, name: str) -> Path:
        """Return the path to name in messages about a photo: its first file, or COCO's of all photos."""
        files = self.of_photo(name)
        return files[0] if files else self.folder / COCO_FILES[self.formats[0]]


class Task(NamedTuple):
    """Name of a photo, the photo, and the network's prediction for it."""

    name: str
    photo: PreparedPhoto
    prediction: Prediction


def write(crf: Crf | None, outputs: Outputs, task: Task) -> Written:
    """Write the files of a photo, after the CRF if there is one."""
    return write_all(outputs, task.name, segmentation(task.photo, task.prediction, crf, outputs.classes))


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return a name for the folder of each class: its own, or with its id and safe signs where it cannot be one."""
    lower = [name.casefold() for name in classes]
    return [
        f"{i}-{UNSAFE.sub('_', name)}" if UNSAFE.search(name) or lower.count(name.casefold()) > 1 else name
        for i, name in enumerate(classes, start=1)
    ]


def write_all(outputs: Outputs, name: str, result: Segmentation) -> Written:
    """Write the files of a photo; each replaces an earlier one as a whole."""
    labels, formats = result.labels, outputs.formats
    if "overlay" in formats:
        with atomic(overlay_of(outputs.mask(name))) as temporary:
            result.overlay().save(temporary, quality=90)
    if "mask" in formats:
        with atomic(outputs.mask(name)) as temporary:
            write_mask(temporary, labels)
    for class_id, path in enumerate(outputs.class_masks(name) if "class-masks" in formats else (), start=1):
        with atomic(path) as temporary, temporary.open("wb") as file:
            stream = PngStream(file, labels.shape)
            stream.write((labels == class_id) * np.uint8(PRESENT))
            stream.finish()
    if "probabilities" in formats:
        size = result.input_size
        with (
            atomic(outputs.probabilities(name)) as temporary,
            ProbabilityStore(temporary, labels.shape, size, outputs.classes) as store,
        ):
            store.write(probabilities(result.scores, stored_size(size)))
    annotations = {kind: annotate(labels) for kind, annotate in ANNOTATE.items() if kind in formats}
    return Written(name, labels.shape, result.shares, annotations)
