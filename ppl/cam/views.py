"""The views of a photo that its maps are computed from: each scale, straight and, if asked for, mirrored."""

import torch
from torch import Tensor
from torch.nn import functional as F


def views(images: Tensor, scale: float, *, mirror: bool) -> Tensor:
    """Return images (B, 3, h, w) resized by `scale`, then with `mirror` their mirror images, channels last.

    (V B, 3, h', w') with V = 2 with `mirror`, else 1.
    """
    if scale != 1:
        size = [max(1, round(side * scale)) for side in images.shape[2:]]
        images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
    images = torch.cat([images, images.flip(3)]) if mirror else images
    return images.contiguous(memory_format=torch.channels_last)


def together(x: Tensor, *, mirror: bool) -> Tensor:
    """Return the sum of the outputs (V B, ..., w) of all views, the mirrored ones flipped back: (B, ..., w)."""
    if not mirror:
        return x
    straight, mirrored = x.chunk(2)
    return straight + mirrored.flip(-1)
