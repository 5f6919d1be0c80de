"""Thumbnails of photos, CAMs and label maps, side by side."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import matplotlib
import numpy as np
from PIL import Image

from ppl.cam.store import Cam, open_store, seed, upsample
from ppl.data.dataset import IGNORE, VOC_COLOURS, Dataset, read_mask, read_photo
from ppl.data.labels import find_maps

MAX_SIDE = 192
HEAT = matplotlib.colormaps["inferno"]

Item = TypeVar("Item")


class Tile(NamedTuple):
    """A picture as data URI, with a short caption and a description in words."""

    caption: str
    alt: str
    uri: str


class Sample(NamedTuple):
    """What became of one image."""

    image: str
    tiles: list[Tile]


class Swatch(NamedTuple):
    """A name of the legend and its colour as CSS writes it."""

    name: str
    colour: str


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items at even distances, the first and the last among them; all where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def seed_samples(
    dataset: Dataset,
    images: Sequence[str],
    *,
    cams: Sequence[Path],
    threshold: float,
    confident: Sequence[Path],
    pseudo: Sequence[Path],
) -> list[Sample]:
    """Photo, CAM, seed at `threshold`, confident label, pseudo label and truth of each image; what there is of them.

    `confident` and `pseudo` are the folders of label maps; no folder of `confident`: no network learned from any.
    """
    captions = {"confident": confident, "pseudo label": pseudo}
    found = {caption: find_maps(folders, images) for caption, folders in captions.items() if folders}
    samples = []
    with ExitStack() as stack:
        store = stack.enter_context(open_store(cams))
        for number, image in enumerate(images):
            photo, cam = read_photo(dataset.photo(image)), store.read(image)
            maps = {f"seed at {threshold:.2f}": seed(cam, threshold)}
            maps |= {caption: read_mask(paths[number]) for caption, paths in found.items()}
            tiles = [photo_tile(photo, image), cam_tile(photo, cam, dataset.classes)]
            samples.append(Sample(image, [*tiles, *_label_tiles(dataset, image, maps)]))
    return samples


def val_samples(dataset: Dataset, images: Sequence[str], predictions: Mapping[str, Sequence[Path]]) -> list[Sample]:
    """Photo, predictions by caption (folders of label maps) and truth, if there is one, of each image."""
    found = {caption: find_maps(folders, images) for caption, folders in predictions.items()}
    samples = []
    for number, image in enumerate(images):
        maps = {caption: read_mask(paths[number]) for caption, paths in found.items()}
        tiles = _label_tiles(dataset, image, maps)
        samples.append(Sample(image, [photo_tile(read_photo(dataset.photo(image)), image), *tiles]))
    return samples


def photo_tile(photo: np.ndarray, image: str) -> Tile:
    """The photo (h, w, 3) uint8 itself."""
    return Tile("photo", f"photo {image}", data_uri(photo, Image.Resampling.LANCZOS, lossless=False))


def cam_tile(photo: np.ndarray, cam: Cam, classes: Sequence[str]) -> Tile:
    """Heat of the class with the largest activated area over the photo (h, w, 3) uint8 in grey."""
    if not len(cam.classes):
        return Tile(
            "CAM: no class", "grey photo: no class", data_uri(_grey(photo), Image.Resampling.LANCZOS, lossless=False)
        )
    # Every map reaches 1 somewhere, so that only its extent tells classes apart.
    strongest = int(cam.maps.sum(axis=(1, 2)).argmax())
    name = classes[cam.classes[strongest] - 1]
    uri = data_uri(heat_over(photo, cam, strongest), Image.Resampling.LANCZOS, lossless=False)
    return Tile(f"CAM: {name}", f"heat map of class {name} over the photo", uri)


def heat_over(photo: np.ndarray, cam: Cam, plane: int) -> np.ndarray:
    """Heat of one plane of a CAM over the photo (h, w, 3) uint8 in grey, (h, w, 3) uint8."""
    heat = 255 * HEAT(upsample(cam.maps[plane : plane + 1], cam.size)[0])[..., :3]  # (h, w, 3)
    return (0.4 * _grey(photo) + 0.6 * heat).round().astype(np.uint8)


def _grey(photo: np.ndarray) -> np.ndarray:
    return photo.mean(axis=2, keepdims=True).repeat(3, axis=2)  # (h, w, 3)


def label_tile(labels: np.ndarray, caption: str, names: Sequence[str]) -> Tile:
    """A label map (h, w) uint8 in VOC's colours; `names` of the ids from 0, background."""
    shown = [("ignored" if i == IGNORE else names[i]) for i in np.unique(labels)]
    uri = data_uri(VOC_COLOURS[labels], Image.Resampling.NEAREST, lossless=True)
    return Tile(caption, f"{caption}: {', '.join(shown)}", uri)


def legend(classes: Sequence[str]) -> list[Swatch]:
    """Colours of background, the classes and ignored pixels."""
    names = [*enumerate(["background", *classes]), (IGNORE, "ignored")]
    return [Swatch(name, "#" + bytes(VOC_COLOURS[i]).hex()) for i, name in names]


def data_uri(rgb: np.ndarray, resampling: Image.Resampling, *, lossless: bool) -> str:
    """(h, w, 3) in 0..255 as a WebP data URI, shrunk where a side is longer than 192 pixels."""
    image = Image.fromarray(rgb.round().astype(np.uint8))
    image.thumbnail((MAX_SIDE, MAX_SIDE), resampling)
    encoded = BytesIO()
    image.save(encoded, format="WEBP", lossless=lossless, quality=80)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _label_tiles(dataset: Dataset, image: str, maps: Mapping[str, np.ndarray]) -> list[Tile]:
    truth = {"truth": read_mask(dataset.mask(image))} if dataset.has_masks else {}
    names = ("background", *dataset.classes)
    return [label_tile(labels, caption, names) for caption, labels in {**maps, **truth}.items()]
