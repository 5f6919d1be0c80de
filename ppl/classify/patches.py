"""Patch and Merge Operation: split feature maps into a K x K grid and merge them again (Section III-B, Figure 4)."""

import math

from torch import Tensor
from torch.nn import functional as F


def split(x: Tensor, k: int, rim: int = 0) -> Tensor:
    """Split (B, C, H, W) into K x K patches (B * k * k, C, ceil(H / k), ceil(W / k)), by image, row, column.

    Zeros at the bottom and right fill the last patches if k does not divide H or W. With a `rim` patches are larger by
    that many cells at each side: those of their neighbours, zeros beyond the image.
    """
    b, c, height, width = x.shape
    h, w = math.ceil(height / k), math.ceil(width / k)
    x = F.pad(x, (rim, k * w - width + rim, rim, k * h - height + rim))
    x = x.unfold(2, h + 2 * rim, h).unfold(3, w + 2 * rim, w)  # (B, C, k, k, h + 2 rim, w + 2 rim)
    return x.permute(0, 2, 3, 1, 4, 5).reshape(b * k * k, c, h + 2 * rim, w + 2 * rim)


def without_rim(patches: Tensor, rim: int) -> Tensor:
    """Cut the rim off patches (N, C, h + 2 rim, w + 2 rim): (N, C, h, w)."""
    return patches[:, :, rim : patches.shape[2] - rim, rim : patches.shape[3] - rim]


def merge(patches: Tensor, k: int, size: tuple[int, int]) -> Tensor:
    """Merge patches (B * k * k, C, h, w) and crop to `size` (H, W): the exact inverse of `split`."""
    n, c, h, w = patches.shape
    x = patches.reshape(n // (k * k), k, k, c, h, w).permute(0, 3, 1, 4, 2, 5).reshape(-1, c, k * h, k * w)
    return x[:, :, : size[0], : size[1]]
