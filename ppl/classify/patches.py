"""Patch and Merge Operation: split feature maps into a K x K grid and merge them again (Section III-B, Figure 4)."""

import math

from torch import Tensor
from torch.nn import functional as F


def split(x: Tensor, k: int) -> Tensor:
    """Split (B, C, H, W) into K x K patches (B * k * k, C, ceil(H / k), ceil(W / k)), by image, row, column.

    Zeros at the bottom and right fill the last patches if k does not divide H or W.
    """
    b, c, height, width = x.shape
    h, w = math.ceil(height / k), math.ceil(width / k)
    x = F.pad(x, (0, k * w - width, 0, k * h - height))  # (B, C, k*h, k*w)
    return x.reshape(b, c, k, h, k, w).permute(0, 2, 4, 1, 3, 5).reshape(b * k * k, c, h, w)


def merge(patches: Tensor, k: int, size: tuple[int, int]) -> Tensor:
    """Merge patches (B * k * k, C, h, w) and crop to `size` (H, W): the exact inverse of `split`."""
    n, c, h, w = patches.shape
    x = patches.reshape(n // (k * k), k, k, c, h, w).permute(0, 3, 1, 4, 2, 5).reshape(-1, c, k * h, k * w)
    return x[:, :, : size[0], : size[1]]
