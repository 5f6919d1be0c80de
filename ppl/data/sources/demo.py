"""Source `demo`: the embedded dataset, composed of photographed cut-outs on photographed backgrounds with exact masks.

Every image is a function of (random seed, split, index). Backgrounds of `val` and `test` do not occur in `train`, nor
do about half of their objects.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from ppl.data.lists import write_lists
from ppl.data.masks import write_mask
from ppl.data.settings import Demo
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

SPLITS = ("train", "val", "test")
HELD_OUT = slice(2, None, 4)  # of the names in alphabetical order: every fourth, from the third on
# Counts and sizes as in PASCAL VOC's photos of animals: 1.3 to 1.4 classes, a quarter of the median photo foreground.
OBJECT_COUNTS = (0.62, 0.28, 0.1)  # probability of 1, 2, 3 objects
SMALLEST = 0.5  # side, in image sides, of the square as large as an object's box
LARGEST = (0.95, 0.75, 0.6)  # the same in an image of 1, 2, 3 objects
LONGEST = 1.0  # longer side of an object's box, at most, in image sides
DISTRACTOR = 0.3  # probability of an object without a class
ENLARGEMENT = 2.0  # of a cut-out, at most
MIN_AREA = 0.01  # of the image, that every object shows
MIN_VISIBLE = 0.6  # of an object, after occlusion
CHUNK = 50  # images per task of a worker process
ATTEMPTS = 50  # to place an object


@dataclass(frozen=True)
class Source:
    """A cut-out (RGBA) or a background (RGB)."""

    name: str
    image: Image.Image


@dataclass(frozen=True)
class Sources:
    """Photos for a split; `cutouts[k]` holds class k + 1, `unseen[k]` those of it that are not used in train."""

    cutouts: tuple[tuple[Source, ...], ...]
    unseen: tuple[tuple[Source, ...], ...]
    distractors: tuple[Source, ...]
    backgrounds: tuple[Source, ...]


@dataclass(frozen=True)
class Composition:
    """An image (RGB), its mask (h, w) uint8 of class ids without 255, and the names of its photos."""

    image: Image.Image
    mask: np.ndarray
    names: tuple[str, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """Class ids in the mask, sorted, without background."""
        return tuple(int(label) for label in np.unique(self.mask) if label)


def has_masks(settings: Demo) -> bool:
    return True


def prepare(settings: Demo, out: Path, *, workers: int) -> None:
    """Write the dataset folder with all of SPLITS; images do not depend on the number of workers."""
    ids = {split: [_id(split, index) for index in range(getattr(settings, split))] for split in SPLITS}
    chunks = [(split, chunk) for split in SPLITS for chunk in in_chunks(range(len(ids[split])), CHUNK)]
    for folder in ("JPEGImages", "SegmentationClass"):
        (out / folder).mkdir()
    composed = run_all(
        partial(_write, out, settings),
        chunks,
        workers=workers,
        total=sum(map(len, ids.values())),
        size=lambda chunk: len(chunk[1]),
        name="photos composed",
    )
    labels: dict[str, tuple[int, ...]] = {}
    for some in composed:
        labels |= some
    classes = open_photos()[0]
    names = {i: [classes[label - 1] for label in labels[i]] for split in SPLITS for i in ids[split]}
    write_lists(out, classes, names, ids)


def _id(split: str, index: int) -> str:
    return f"{split}_{index + 1:04d}"


def _write(root: Path, settings: Demo, chunk: tuple[str, range]) -> dict[str, tuple[int, ...]]:
    """Compose and write some images of a split; return their class ids by image id."""
    split, indices = chunk
    labels = {}
    for index in indices:
        image_id = _id(split, index)
        rng = generator(settings.random_seed, split, index)
        scene = compose(open_photos()[1][split], size=settings.size, rng=rng)
        scene.image.save(root / "JPEGImages" / f"{image_id}.jpg", quality=90)
        write_mask(root / "SegmentationClass" / f"{image_id}.png", scene.mask)
        labels[image_id] = scene.labels
    return labels


@cache
def open_photos() -> tuple[tuple[str, ...], dict[str, Sources]]:
    """Return class names in the order of their ids, and the photos for each split, from this package."""
    photos = resources.files("ppl.data.sources") / "demo_photos"
    folders = sorted((photos / "cutouts").iterdir(), key=lambda folder: folder.name)
    common, unseen = zip(*(_hold_out(tuple(_open(folder, "RGBA"))) for folder in folders), strict=True)
    distractors = tuple(_open(photos / "distractors", "RGBA"))
    backgrounds, other_backgrounds = _hold_out(tuple(_open(photos / "backgrounds", "RGB")))
    train = Sources(common, common, distractors, backgrounds)
    later = Sources(common, unseen, distractors, other_backgrounds)
    return tuple(folder.name for folder in folders), {"train": train, "val": later, "test": later}


def generator(random_seed: int, split: str, index: int) -> np.random.Generator:
    """Return the random generator of one image, a function of (random_seed, split, index)."""
    return np.random.default_rng((random_seed, SPLITS.index(split), index))


def compose(sources: Sources, *, size: int, rng: np.random.Generator) -> Composition:
    """Return an image of 1 to 3 objects, later ones in front, sometimes with a distractor, background in the mask.

    An object is placed so that at least MIN_AREA of the image and MIN_VISIBLE of every object remain visible; the
    image-level labels are the classes in the mask. A pixel belongs to an object where its opacity exceeds 0.5.
    """
    background = sources.backgrounds[rng.integers(len(sources.backgrounds))]
    image = _background(background.image, size, rng)
    names = [background.name]
    count = int(rng.choice(len(OBJECT_COUNTS), p=OBJECT_COUNTS)) + 1
    labels = [int(label) for label in rng.integers(1, len(sources.cutouts) + 1, size=count)]
    if rng.random() < DISTRACTOR:
        labels.insert(int(rng.integers(count + 1)), 0)
    owner = np.full((size, size), -1, dtype=np.int8)  # number of the object in front, -1 the background
    placed: list[tuple[int, int]] = []  # label and uncovered area of each object
    for label in labels:
        for _ in range(ATTEMPTS):
            pool = sources.distractors if label == 0 else _pool(sources, label, rng)
            source = pool[rng.integers(len(pool))]
            layer = _place(source.image, size, LARGEST[count - 1], rng)
            opaque = np.asarray(layer.getchannel("A")) > 127  # (size, size)
            candidate = np.where(opaque, np.int8(len(placed)), owner)
            if _all_visible(candidate, [*placed, (label, int(opaque.sum()))]):
                image = _paste(image, layer, rng)
                owner = candidate
                placed.append((label, int(opaque.sum())))
                names.append(source.name)
                break
    ids = np.array([label for label, _ in placed] + [0], dtype=np.uint8)  # the last, at -1, is the background
    return Composition(_photograph(image, rng), ids[owner], tuple(names))


def _pool(sources: Sources, label: int, rng: np.random.Generator) -> tuple[Source, ...]:
    return (sources.cutouts if rng.random() < 0.5 else sources.unseen)[label - 1]


def _all_visible(owner: np.ndarray, placed: list[tuple[int, int]]) -> bool:
    """Return whether enough of each labelled object (label, area) is visible in the map of objects (h, w)."""
    visible = np.bincount(owner[owner >= 0], minlength=len(placed))
    return all(
        pixels >= max(MIN_AREA * owner.size, MIN_VISIBLE * area)
        for pixels, (label, area) in zip(visible, placed, strict=True)
        if label
    )


def _background(photo: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """Return a random square of a photo, at least half its shorter side, as (size, size) RGB."""
    side = int(rng.uniform(0.5, 1.0) * min(photo.size))
    left, upper = (int(rng.integers(length - side + 1)) for length in photo.size)
    crop = photo.resize((size, size), Image.Resampling.BICUBIC, box=(left, upper, left + side, upper + side))
    return _jitter(_flip(crop, rng), rng)


def _place(cutout: Image.Image, size: int, largest: float, rng: np.random.Generator) -> Image.Image:
    """Return a cut-out, randomly scaled, flipped, rotated and recoloured, on an empty (size, size) RGBA layer.

    At most 10 % of its bounding box extend over an edge on each side.
    """
    side = rng.uniform(SMALLEST, largest) * size
    scale = min(side / math.sqrt(math.prod(cutout.size)), LONGEST * size / max(cutout.size), ENLARGEMENT)
    width, height = (max(1, round(scale * length)) for length in cutout.size)
    scaled = _flip(cutout.resize((width, height), Image.Resampling.LANCZOS), rng)
    turned = scaled.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    coloured = _jitter(turned.convert("RGB"), rng)
    coloured.putalpha(turned.getchannel("A"))
    corner = tuple(int(rng.uniform(-0.1 * length, size - 0.9 * length)) for length in turned.size)
    layer = Image.new("RGBA", (size, size))
    layer.paste(coloured, corner)
    return layer


def _paste(image: Image.Image, layer: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return an image with a layer blended over it, above a faint, soft shadow."""
    alpha = layer.getchannel("A")
    reach = max(1, image.width // 40)
    offset = [int(step) for step in rng.integers(-reach, reach + 1, size=2)]
    shadow = Image.new("L", image.size)
    shadow.paste(alpha.filter(ImageFilter.GaussianBlur(reach)), tuple(offset))
    darkness = rng.uniform(0.0, 0.4)
    image = ImageChops.multiply(image, shadow.point(lambda value: 255 - int(darkness * value)).convert("RGB"))
    image.paste(layer, mask=alpha)
    return image


def _photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return an image with a slight blur and sensor noise."""
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.6)))
    noise = rng.normal(scale=rng.uniform(0.0, 5.0), size=(image.height, image.width, 3))
    return Image.fromarray((np.asarray(blurred) + noise).round().clip(0, 255).astype(np.uint8))


def _jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(rng.uniform(0.75, 1.25))
    return image


def _flip(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def _hold_out(photos: tuple[Source, ...]) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    names = {photo.name for photo in photos[HELD_OUT]}
    return tuple(photo for photo in photos if photo.name not in names), photos[HELD_OUT]


def _open(folder: Traversable, mode: str) -> Iterator[Source]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        with path.open("rb") as file:
            yield Source(f"{folder.name}/{path.name}", Image.open(file).convert(mode))
