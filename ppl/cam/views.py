"""The views of a photo that its maps are computed from: each scale, and with `mirror` its mirror image too."""

import torch
from torch import Tensor
from torch.nn import functional as F


def views(images: Tensor, scale: float, *, mirror: bool) -> Tensor:
    """Return a copy of images (B, 3, h, w) resized by `scale`, then with `mirror` their mirror images, channels last.

    (B, 3, h', w'), or 2B with `mirror`.
    """
    if scale != 1:
        size = [max(1, round(side * scale)) for side in images.shape[2:]]
        images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
    copies = torch.cat([images, images.flip(3)]) if mirror else images.clone()  # a CAM method may change them
    return copies.contiguous(memory_format=torch.channels_last)


def together(x: Tensor, *, mirror: bool) -> Tensor:
    """Return outputs (B, ..., w), with `mirror` the sums of those (2B, ..., w) of both views, one flipped back."""
    if not mirror:
        return x
    straight, mirrored = x.chunk(2)
    return straight + mirrored.flip(-1)
