"""Reimplementations of what public code does at each step: the references of bench.py."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.cam.seeds import hard_labels, seed
from ppl.cam.store import Cam
from ppl.classify.network import PatchClassifier
from ppl.classify.patches import merge, split
from ppl.crf import dense as crf
from ppl.data.crops import Augmentation
from ppl.measure.metrics import confusion, mean_iou
from ppl.refine.lines import lines_within
from ppl.refine.reliable import combine


def reliable_labels(photo: np.ndarray, cam: np.ndarray, classes: Sequence[int], *, labels: int) -> np.ndarray:
    """Return reliable labels by two CRFs on one core, each with its own lattices and over all `labels` of the dataset.

    Energies are those of `ppl.crf.dense.problem_of_labels`; classes absent from the photo get a large energy.
    """
    h, w, _ = photo.shape
    present = [0, *classes]
    passes = []
    for threshold in (0.30, 0.05):
        hard = hard_labels(cam, classes, threshold).reshape(-1)
        energy = np.full((labels, h * w), 1e3, np.float32)
        energy[present] = -np.log(0.3 / (len(present) - 1))
        energy[hard, np.arange(h * w)] = -np.log(0.7)
        problem = crf.Problem(photo, [energy], np.arange(labels, dtype=np.uint8))
        passes += crf.solve([problem])[0]
    return combine(*passes)


def sweep(truths: Sequence[np.ndarray], cams: Sequence[Cam], classes: int, thresholds: np.ndarray) -> np.ndarray:
    """Return the mIoU (T,) by one evaluation of all images per threshold."""
    figures = []
    for threshold in thresholds:
        matrix = sum(confusion(t, seed(c, threshold), classes) for t, c in zip(truths, cams, strict=True))
        figures.append(mean_iou(matrix))
    return np.array(figures)


def write_dictionaries(folder: Path, maps: Sequence[np.ndarray], classes: Sequence[Sequence[int]]) -> None:
    """Write CAMs (K, h, w) as one `npy` file per image: a pickled dictionary, float32 at full size."""
    folder.mkdir(exist_ok=True)
    for i, (of_image, ids) in enumerate(zip(maps, classes, strict=True)):
        np.save(folder / f"{i}.npy", {"keys": np.array(ids), "high_res": of_image.astype(np.float32)})


def read_dictionaries(folder: Path, count: int) -> list[np.ndarray]:
    """Return the maps of all images."""
    return [np.load(folder / f"{i}.npy", allow_pickle=True).item()["high_res"] for i in range(count)]


@torch.inference_mode()
def cams(network: PatchClassifier, photos: np.ndarray, scales: Sequence[float]) -> Tensor:
    """Return each branch's summed maps at stride 4, (B, branches, classes, h4, w4): photo by photo, scale by scale."""
    device = next(network.parameters()).device
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (network.backbone.mean, network.backbone.std))
    outputs = []
    for photo in photos:
        h, w, _ = photo.shape
        total = torch.zeros((), device=device)
        for scale in scales:
            size = (round(w * scale), round(h * scale))
            resized = np.array(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
            x = (torch.from_numpy(resized).to(device).permute(2, 0, 1).float() / 255 - mean) / std
            for flipped in (False, True):
                maps = network.maps(x.flip(2)[None] if flipped else x[None]).relu()
                maps = maps.flip(4) if flipped else maps
                size4 = (-(-h // 4), -(-w // 4))
                total = total + F.interpolate(maps.flatten(1, 2), size4, mode="bilinear", align_corners=False)
        outputs.append(total.unflatten(1, (network.branches, -1))[0])
    return torch.stack(outputs)


def patch_branch(stages: nn.ModuleList, x: Tensor, k: int, phi1: nn.Module, phi2: nn.Module) -> Tensor:
    """Return the merged features of a patched branch, computed by a loop over the k x k patches."""
    patches = split(x, k).unflatten(0, (len(x), k * k))  # (B, k*k, C, h, w)
    outputs = []
    for i in range(k * k):
        y = phi1(patches[:, i])
        for stage in stages:
            y = stage(y)
        outputs.append(phi2(y))
    merged = torch.stack(outputs, dim=1).flatten(0, 1)  # (B*k*k, C, h, w)
    return merge(merged, k, tuple(k * side for side in merged.shape[2:]))


def pair_losses(boundary: Tensor, labels: Tensor, radius: int) -> Tensor:
    """IRNet's total loss from lists of indices: every pixel of every path gathered at once, gradients by autograd."""
    batch, h, w = boundary.shape
    margin = radius - 1
    pixel = torch.arange(h * w, device=boundary.device).view(h, w)

    def at(dy: int, dx: int) -> Tensor:
        return pixel[dy : dy + h - margin, margin + dx : w - margin + dx].flatten()

    source, flat = at(0, 0), boundary.view(batch, -1)
    by_length: dict[int, list] = {}
    for line in lines_within(radius):
        by_length.setdefault(len(line.pixels), []).append(line)
    highest, ends = [], []
    for lines in by_length.values():
        indices = torch.stack([torch.stack([at(y, x) for y, x in line.pixels]) for line in lines])  # (P, length, N)
        gathered = torch.index_select(flat, 1, indices.flatten()).view(batch, *indices.shape)
        highest.append(F.max_pool2d(gathered.flatten(0, 1), (indices.shape[1], 1)).view(batch, len(lines), -1))
        ends += [line.end for line in lines]
    affinity = 1 - torch.cat(highest, dim=1)  # (B, P, N)
    targets = torch.stack([at(*end) for end in ends])
    known = labels.view(batch, -1).long()
    one, other = known[:, source][:, None], known[:, targets]
    valid = (one != 255) & (other != 255)
    equal = (one == other) & valid
    bg_pos, fg_pos, neg = equal & (one == 0), equal & (one > 0), valid & (one != other)

    def mean(values: Tensor, pairs: Tensor) -> Tensor:
        return (values * pairs).sum() / (pairs.sum() + 1e-5)

    attract, repel = -torch.log(affinity + 1e-5), -torch.log(1 + 1e-5 - affinity)
    return (mean(attract, bg_pos) / 2 + mean(attract, fg_pos) / 2 + mean(repel, neg)) / 2


class UnjoinedNorm(nn.Module):
    """A convolution of the backbone with its BatchNorm as a separate layer."""

    def __init__(self, joined: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = joined.conv, joined.norm

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            self.conv(x), self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias,
            training=False, eps=self.norm.eps,
        )  # fmt: skip


def training_view(photo: bytes, augmentation: Augmentation, mean, std, rng: np.random.Generator) -> Tensor:
    """Decode, rescale, normalise and flip a whole photo, then crop it into a padded square (3, crop, crop)."""
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    factor = rng.uniform(*augmentation.long_side) / max(image.size)
    size = tuple(round(side * factor) for side in image.size)
    array = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
    array = (array - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    if rng.integers(2):
        array = array[:, ::-1]
    crop = augmentation.crop
    padded = np.zeros((crop, crop, 3), np.float32)
    spans = []
    for side in array.shape[:2]:
        space = side - crop
        start, offset = (int(rng.integers(space + 1)), 0) if space > 0 else (0, int(rng.integers(-space + 1)))
        spans.append((start, offset, min(side, crop)))
    (top, y, n), (left, x, m) = spans
    padded[y : y + n, x : x + m] = array[top : top + n, left : left + m]
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))
