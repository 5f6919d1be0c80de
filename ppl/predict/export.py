"""Export a trained network as ONNX or for torch.export, from photo to result.

python -m ppl.predict.export --weights results/demo/explicit/s4k2/segmenter.pt --to model.onnx

Normalisation, scales of the photo and mirror images are part of the model, names of classes and colours of its
metadata. A segmenter.pt yields labels and probabilities, a classifier.pt scores and class activation maps. The file is
compared with the original on photos of three sizes, and written only if both agree.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import FlagCreatePairsOff

# Before torch starts its threads, whose busy waiting would occupy other processes' cores.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from PIL import Image
from torch.onnx.errors import OnnxExporterError

import ppl
from ppl.cam.maps import maps_of
from ppl.cam.settings import Cam
from ppl.data.masks import VOC_COLOURS
from ppl.data.sources import demo
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.fields import plain
from ppl.jobs.files import atomic, file_digest
from ppl.predict.api import Classifier, Segmenter, load
from ppl.predict.exportable import ClassifierFromPhoto, SegmenterFromPhoto
from ppl.predict.inference_settings import OF_MAPS
from ppl.segment.logits import resize

ONNX, TORCH = ".onnx", ".pt2"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
METADATA = "metadata.json"
"""Extra file of a .pt2 with what an .onnx has as metadata."""
TRACED = (2, 150, 166)  # photos, height, width while tracing: sizes of no special form
SIZES = ((192, 256), (257, 190), (129, 161))  # (h, w) on which the file is compared; each above 20,000 pixels
SHARE = 1e-4  # of the labels, or of other values, that may differ
TOLERANCES = {"probabilities": 1e-3, "scores": 0.02, "maps": 1e-3}
"""Differences that do not count; a score may differ by the rounding of a resized photo to whole grey levels."""

Trained = Segmenter | Classifier
Run = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Settings:
    weights: Path
    """segmenter.pt or classifier.pt of a finished run."""
    to: Path
    """File to write: NAME.onnx, or NAME.pt2 (torch.export)."""
    settings: Path | None = None
    """settings.yaml of an experiment; by default the one two directories above the weights."""
    photo_scales: tuple[float, ...] | None = None
    """Factors by which a segmenter resizes the photo, instead of the experiment's."""
    mirror: FlagCreatePairsOff[bool] = False
    """Average with the mirror image, even if the experiment does not."""
    no_mirror: FlagCreatePairsOff[bool] = False
    """Do not average with the mirror image, even if the experiment does."""
    max_side: int | None = None
    """Longest side of photos named in the metadata; by default the size of training photos."""

    def __post_init__(self) -> None:
        if self.mirror and self.no_mirror:
            raise UserError("--mirror, --no-mirror", "mutually exclusive", "name one of them")
        if self.to.suffix not in (ONNX, TORCH):
            raise UserError(self.to, f"the format is chosen by the suffix {ONNX} or {TORCH}", "rename it")


def main(settings: Settings) -> None:
    if settings.to.suffix == ONNX:
        check_packages(settings.to)
    trained = load_trained(settings)
    print(trained)
    module, outputs = from_photo(trained)
    metadata = describe(trained, outputs)
    print("tracing takes half a minute per scale, or more", flush=True)
    program = trace(module, settings.weights)
    with atomic(settings.to) as temporary:
        run = (write_onnx if settings.to.suffix == ONNX else write_torch)(program, temporary, outputs, metadata)
        for line in compare(trained, run, outputs):
            print(line)
    print(f"{settings.to}: photo (B, h, w, 3) uint8 RGB -> {', '.join(outputs)}")


def check_packages(path: Path) -> None:
    """Raise UserError if a package that ONNX needs is missing."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        remedy = f"pip install {' '.join(PACKAGES)} (extra `export`), or name a file {TORCH}, which needs none"
        raise UserError(path, f"ONNX needs {', '.join(missing)}, not installed", remedy)


def load_trained(settings: Settings) -> Trained:
    """Load the network with the requested settings; UserError for one that cannot be exported."""
    common = {"settings": settings.settings, "max_side": settings.max_side, "device": "cpu"}
    trained = load(settings.weights, **common)
    if isinstance(trained, Segmenter):
        mirror = settings.mirror or (False if settings.no_mirror else None)
        return Segmenter(settings.weights, photo_scales=settings.photo_scales, mirror=mirror, crf=False, **common)
    if settings.photo_scales is not None or settings.mirror or settings.no_mirror:
        what = "--photo-scales and --mirror belong to a segmenter, this is a classifier"
        raise UserError(
            settings.weights, what, "leave them out: its maps have the scales and mirror images of cam.maps"
        )
    if trained.cam_settings.method != "cam":
        what = f"cam.method {trained.cam_settings.method} needs gradients or masked photos; a model has neither"
        raise UserError(settings.weights, what, "name with --settings a settings.yaml of cam.method cam")
    return trained


def from_photo(trained: Trained) -> tuple[torch.nn.Module, tuple[str, str]]:
    """Return the module from photo to result, and the names of its outputs."""
    if isinstance(trained, Segmenter):
        scales, mirror = trained.setting("photo_scales"), trained.setting("mirror")
        return SegmenterFromPhoto(trained.network, scales, mirror=mirror).eval(), ("labels", "probabilities")
    maps = trained.cam_settings.maps
    return ClassifierFromPhoto(trained.network, trained.training.crop, maps).eval(), ("scores", "maps")


def describe(trained: Trained, outputs: Sequence[str]) -> dict[str, str]:
    """Return the metadata of a model, as texts; lists and settings are JSON."""
    common = {
        "ppl": ppl.__version__,
        "weights_sha256": file_digest(trained.weights),
        "input": "photo (B, h, w, 3) uint8 RGB, upright; photos with a side above max_side should be shrunk to it",
        "max_side": str(trained.setting("max_side")),
    }
    if isinstance(trained, Segmenter):
        names = ["background", *trained.classes]
        applied = {name: trained.setting(name) for name in ("photo_scales", "mirror")}
        return {
            **common,
            "kind": "segmenter",
            "classes": json.dumps(names, ensure_ascii=False),
            "palette": json.dumps(VOC_COLOURS[: len(names)].tolist()),
            outputs[0]: "(B, h, w) uint8, indices of classes",
            outputs[1]: "(B, len(classes), h, w) float32, their sum over the classes is 1",
            "settings": json.dumps(applied),
            "note": "without dense CRF",
        }
    return {
        **common,
        "kind": "classifier",
        "classes": json.dumps(trained.classes, ensure_ascii=False),
        outputs[0]: f"(B, len(classes)) float32 in 0..1, of the photo resized to {trained.training.crop} pixels",
        outputs[1]: "(B, len(classes), ceil(h / 4), ceil(w / 4)) float32 in 0..1, meaningful for classes of the photo",
        "settings": json.dumps({"method": trained.cam_settings.method, **_applied(trained)}),
        "note": "maps before any refinement by cam.prototypes",
    }


def _applied(classifier: Classifier) -> dict[str, Any]:
    maps = plain(classifier.cam_settings.maps)
    return {name: maps[name] for name in OF_MAPS}


def trace(module: torch.nn.Module, weights: Path) -> torch.export.ExportedProgram:
    """Return the module as a program for photos of any number and size; UserError if it cannot be traced."""
    count, height, width = TRACED
    dynamic = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    photos = torch.zeros(count, height, width, 3, dtype=torch.uint8)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(module, (photos,), dynamic_shapes=(dynamic,), strict=False)
    except Exception as error:  # torch.export raises anything for code that it cannot trace
        what = f"torch.export cannot trace this network for photos of any size ({reason(error)})"
        raise UserError(weights, what, "export a network of another backbone or architecture") from error


def write_torch(
    program: torch.export.ExportedProgram, path: Path, outputs: Sequence[str], metadata: dict[str, str]
) -> Run:
    """Write a .pt2 with the metadata as an extra file; return a function that runs the written file."""
    with quiet():
        torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata, indent=2, ensure_ascii=False)})
        # Guards hold for the form of the traced sizes, such as odd ones; the program itself has no such form.
        module = torch.export.load(path).module(check_guards=False)

    def run(photos: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in module(torch.from_numpy(photos))]

    return run


def write_onnx(
    program: torch.export.ExportedProgram, path: Path, outputs: Sequence[str], metadata: dict[str, str]
) -> Run:
    """Write an .onnx with metadata; return a function that runs the written file by onnxruntime."""
    import onnx
    import onnxruntime

    options = {"dynamo": True, "external_data": False, "verbose": False, "optimize": False}
    try:
        with quiet():
            exported = torch.onnx.export(program, (), input_names=["photo"], output_names=[*outputs], **options)
    except OnnxExporterError as error:
        what = f"torch cannot write this network as ONNX ({reason(error)})"
        raise UserError("ONNX", what, f"name a file {TORCH}") from error
    model = exported.model_proto
    symbols = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim[:3]]
    names = dict(zip(symbols, ("batch", "height", "width"), strict=True))
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda match: names.get(match[0], match[0]), dim.dim_param)
    del model.graph.value_info[:]  # under the former names
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class of errors
        what = f"version {onnxruntime.__version__} cannot load the model ({reason(error)})"
        raise UserError("onnxruntime", what, f"install a newer version, or name a file {TORCH}") from error
    return lambda photos: session.run([*outputs], {"photo": photos})


def compare(trained: Trained, run: Run, outputs: Sequence[str]) -> Iterator[str]:
    """Yield for each of three sizes how the model differs from the original; UserError if it differs too much."""
    for size, photo in zip(SIZES, photos_of(SIZES), strict=True):
        named = f"photo of {size[1]}x{size[0]}"
        parts = []
        for name, value, expected in zip(outputs, run(photo[None]), original(trained, photo), strict=True):
            if value.shape[1:] != expected.shape:
                what = (
                    f"the exported model returns {name} of shape {value.shape[1:]}, not {expected.shape}, for a {named}"
                )
                raise UserError(trained.weights, what, "nothing was written; export it in the other format")
            difference = np.abs(value[0].astype(np.float64) - expected)
            count = int((~(difference <= TOLERANCES.get(name, 0))).sum())  # NaN counts
            if count > SHARE * expected.size:
                what = f"the exported model computes {count} of {expected.size} {name} otherwise for a {named}"
                raise UserError(trained.weights, what, "nothing was written; export it in the other format")
            parts.append(f"{count} {name} differ" if name == "labels" else f"{name} within {difference.max():.1e}")
        yield f"{named}: {', '.join(parts)}"


def original(trained: Trained, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the original network says about a photo (h, w, 3), in the form of the model's outputs."""
    if isinstance(trained, Segmenter):
        (prediction,) = trained.predict([""], photo[None])
        probabilities = resize(torch.from_numpy(prediction.scores)[None], photo.shape[:2]).softmax(dim=1)
        return prediction.labels, probabilities[0].numpy()
    scores = trained.classify(photo)
    ids = range(1, len(trained.classes) + 1)
    (maps,) = maps_of(trained.network, photo[None], [ids], Cam(maps=trained.cam_settings.maps))
    return np.array([scores[name] for name in trained.classes]), maps


def photos_of(sizes: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Yield a photo of the demo resized to each size (h, w)."""
    files = sorted((Path(demo.__file__).parent / "demo_photos" / "backgrounds").glob("*.jpg"))
    for (height, width), file in zip(sizes, files, strict=False):
        with Image.open(file) as image:
            yield np.array(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress what torch warns of while it exports: internals that a user cannot change."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


if __name__ == "__main__":
    command(main, Settings)
