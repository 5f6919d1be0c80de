"""Random training crops of photos and their label maps: rescaled, flipped, padded and recoloured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional as F
from torch.utils import data

from ppl.data.masks import IGNORE, read_mask
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError


@dataclass(frozen=True)
class Augmentation:
    """Random rescaling to a longest side (pixels) or by a factor, then a square crop (pixels) and a random flip.

    `long_side` and `scale` are ranges, `scales` are single factors, and one of the three is set. A photo smaller than
    the crop lies anywhere in it; with `pad_end` it lies at the top left, before the flip, so that only the bottom and
    the right are padded. `jitter` is the strength of `jitter_colours`.
    """

    crop: int
    long_side: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    scales: tuple[float, ...] | None = None
    pad_end: bool = False
    jitter: float = 0


@dataclass(frozen=True)
class Window:
    """A window of a photo: `box` (left, top, right, bottom) in pixels of the photo, `size` and `offset` in the crop.

    Sizes and offsets are (vertical, horizontal). With `flip` the window is mirrored inside its place in the crop.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    offset: tuple[int, int]
    flip: bool


def draw_window(size: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator) -> Window:
    """Sample a window of a photo of `size` (h, w): the crop lies anywhere in the rescaled photo.

    A photo smaller than the crop lies anywhere in it, or at its start with `pad_end`. Boxes consist of whole pixels of
    the photo, so that the scale of a crop is exact within half a pixel.
    """
    if augmentation.long_side is not None:
        factor = rng.uniform(*augmentation.long_side) / max(size)
    elif augmentation.scale is not None:
        factor = rng.uniform(*augmentation.scale)
    else:
        factor = augmentation.scales[rng.integers(len(augmentation.scales))]
    start, length, offset, end = [], [], [], []
    for side in size:
        rescaled = max(1, round(side * factor))
        visible = min(rescaled, augmentation.crop)
        length_in_photo = max(1, round(side * visible / rescaled))
        start.append(int(rng.integers(side - length_in_photo + 1)))
        end.append(start[-1] + length_in_photo)
        offset.append(0 if augmentation.pad_end else int(rng.integers(augmentation.crop - visible + 1)))
        length.append(visible)
    flip = bool(rng.integers(2))
    if augmentation.pad_end and flip:
        offset[1] = augmentation.crop - length[1]  # the padding is mirrored with the photo
    box = (start[1], start[0], end[1], end[0])
    return Window(box, (length[0], length[1]), (offset[0], offset[1]), flip)


def whole_window(size: tuple[int, int], crop: int) -> Window:
    """Return the window that shows a whole photo of `size` (h, w), with its longest side as long as the crop."""
    h, w = size
    resized = tuple(max(1, round(side * crop / max(h, w))) for side in size)
    return Window((0, 0, w, h), resized, (0, 0), flip=False)


def jitter_colours(photo: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Return a photo (h, w, 3) uint8 RGB with randomly changed colours; unchanged at strength 0.

    In random order, brightness, contrast and saturation are multiplied by factors between 1 - `strength` and 1 +
    `strength` (at most 1), and the hue is shifted by up to `strength` / 3 of the colour circle. AffinityNet's
    classifier uses 0.3: factors of 0.7 to 1.3 and a tenth of the circle.
    """
    image = Image.fromarray(photo)
    factors, shift = rng.uniform(1 - strength, 1 + strength, 3), rng.uniform(-strength / 3, strength / 3)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for change in rng.permutation(4):
        image = enhancers[change](image).enhance(factors[change]) if change < 3 else _shift_hue(image, shift)
    return np.array(image)


class Crop(NamedTuple):
    """A window of a photo in its crop, or a batch of these (dimensions ...).

    `pixels` (..., 3, crop, crop) uint8 RGB, 0 around the window; `place` (..., 4) int64: the first row of the window,
    the row after its last, and the same of columns. Worker processes send crops, which one thread of the training
    copies for the GPU. Normalised images are four times as large, too much for that thread.
    """

    pixels: Tensor
    place: Tensor


def cut_photo(photo: np.ndarray, window: Window, crop: int) -> Crop:
    """Return the window of a photo (h, w, 3) uint8 in a square crop of `crop` pixels."""
    part = torch.from_numpy(_crop(photo, window)).permute(2, 0, 1)[None]  # (1, 3, h', w')
    # Within one grey level of Pillow's bicubic resizing, and four times faster.
    resized = F.interpolate(part, window.size, mode="bicubic", antialias=True, align_corners=False)[0]
    (top, left), (n, m) = window.offset, window.size
    pixels = torch.zeros(3, crop, crop, dtype=torch.uint8)
    pixels[:, top : top + n, left : left + m] = resized.flip(2) if window.flip else resized
    return Crop(pixels, torch.tensor([top, top + n, left, left + m]))


def normalise_crops(crops: Crop, mean: Sequence[float], std: Sequence[float], device: torch.device) -> Tensor:
    """Return crops as (..., 3, crop, crop) float32 on a device, normalised, with 0 around the windows."""
    scale, shift = (torch.from_numpy(values).to(device)[:, None, None] for values in _by_row(mean, std, 1))
    images = crops.pixels.to(device, non_blocking=True).float().mul_(scale)
    first_row, end_row, first_column, end_column = crops.place.to(device, non_blocking=True)[..., None].unbind(-2)
    index = torch.arange(images.shape[-1], device=device)
    rows = ((first_row <= index) & (index < end_row)).float()[..., None, :, None]  # (..., 1, crop, 1), 1 inside
    columns = ((first_column <= index) & (index < end_column)).float()[..., None, None, :]
    return images.addcmul_(rows, columns * shift, value=-1)  # 0 - 0 around the window


def cut_labels(labels: np.ndarray, window: Window, crop: int) -> Tensor:
    """Return the window of a label map (h, w) uint8 as (crop, crop) uint8, by nearest neighbour, padded with 255."""
    (top, left), (n, m) = window.offset, window.size
    resized = Image.fromarray(_crop(labels, window)).resize((m, n), Image.Resampling.NEAREST)
    cut = torch.tensor(np.asarray(resized))  # copied, as Pillow's arrays are read-only
    padded = torch.full((crop, crop), IGNORE, dtype=torch.uint8)
    padded[top : top + n, left : left + m] = cut.flip(1) if window.flip else cut
    return padded


def normalise(
    photo: np.ndarray, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
) -> Tensor:
    """Return (..., w, 3) uint8 RGB as float32 on a device, scaled and shifted as the backbone expects it."""
    pixels = torch.from_numpy(np.require(photo, requirements=["C", "W"])).to(device)  # a quarter of the bytes
    # Whole rows: on a CPU a pass over three values at a time is several times slower.
    scale, shift = (torch.from_numpy(values).to(device) for values in _by_row(mean, std, photo.shape[-2]))
    return pixels.flatten(-2).float().mul_(scale).sub_(shift).view(pixels.shape)


def _by_row(mean: Sequence[float], std: Sequence[float], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return factors and subtrahends (3 width,) float32 that normalise a row of uint8 pixels."""
    scale = 1 / (255 * np.asarray(std, dtype=np.float32))
    shift = np.asarray(mean, dtype=np.float32) / np.asarray(std, dtype=np.float32)
    return np.tile(scale, width), np.tile(shift, width)


class TrainingCrops(data.Dataset):
    """Training samples (`Crop`, target), each a function of its index and a random seed.

    `normalise` makes images of a batch of crops. `targets` are image-level label vectors (N, C), or paths of label
    maps, which are cropped like the photo to (crop, crop) uint8.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        targets: Tensor | Sequence[Path],
        augmentation: Augmentation,
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        if len(photos) != len(targets):
            raise ValueError(f"{len(photos)} photos but {len(targets)} targets")
        self.photos, self.targets, self.augmentation = photos, targets, augmentation
        self.mean, self.std = mean, std

    def __len__(self) -> int:
        return len(self.photos)

    def normalise(self, crops: Crop, device: torch.device) -> Tensor:
        """Return a batch of crops as normalised images (B, 3, crop, crop) float32 on a device."""
        return normalise_crops(crops, self.mean, self.std, device)

    def __getitem__(self, sample: tuple[int, int]) -> tuple[Crop, Tensor]:
        index, seed = sample
        photo = read_photo(self.photos[index])
        rng = np.random.default_rng(seed)
        window = draw_window(photo.shape[:2], self.augmentation, rng)
        if self.augmentation.jitter:  # sampled last, so that windows do not depend on it
            photo = jitter_colours(photo, self.augmentation.jitter, rng)
        crop = cut_photo(photo, window, self.augmentation.crop)
        if isinstance(self.targets, Tensor):
            return crop, self.targets[index]
        labels = read_mask(self.targets[index])
        if labels.shape != photo.shape[:2]:
            what = f"shape mismatch: expected {photo.shape[:2]}, as the photo, got {labels.shape}"
            raise UserError(self.targets[index], what, "make it again")
        return crop, cut_labels(labels, window, self.augmentation.crop)


class ResizedImages(data.Dataset):
    """Whole photos for validation, rescaled so that the longest side fills a square crop.

    They are (3, crop, crop) float32, normalised.
    """

    def __init__(self, photos: Sequence[Path], crop: int, *, mean: Sequence[float], std: Sequence[float]) -> None:
        self.photos, self.crop, self.mean, self.std = photos, crop, mean, std

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        photo = read_photo(self.photos[index])
        crop = cut_photo(photo, whole_window(photo.shape[:2], self.crop), self.crop)
        return normalise_crops(crop, self.mean, self.std, crop.pixels.device)


def label_vectors(labels: Sequence[tuple[int, ...]], classes: int) -> Tensor:
    """Return image-level labels as (N, C) float32 of zeros and ones."""
    vectors = torch.zeros(len(labels), classes)
    for row, ids in zip(vectors, labels, strict=True):
        row[[i - 1 for i in ids]] = 1
    return vectors


def _shift_hue(image: Image.Image, shift: float) -> Image.Image:
    """Return an RGB image with its hue shifted by a share of the colour circle, in steps of 1/256."""
    steps = round(shift * 256)
    if not steps:  # the conversion to HSV and back is not exact
        return image
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += np.uint8(steps % 256)  # wraps around
    return Image.frombytes("HSV", image.size, hsv.tobytes()).convert("RGB")


def _crop(image: np.ndarray, window: Window) -> np.ndarray:
    """Return the part of a photo (h, w, 3) or a label map (h, w) inside a window's box."""
    left, top, right, bottom = window.box
    return image[top:bottom, left:right]
