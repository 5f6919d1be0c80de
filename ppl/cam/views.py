"""The views of a photo that its maps are computed from: each scale, straight and mirrored."""

import torch
from torch import Tensor
from torch.nn import functional as F


def both_views(images: Tensor, scale: float) -> Tensor:
    """Return images (B, 3, h, w) resized by `scale`, then their mirror images: (2B, 3, h', w'), channels last."""
    if scale != 1:
        size = [max(1, round(side * scale)) for side in images.shape[2:]]
        images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([images, images.flip(3)]).contiguous(memory_format=torch.channels_last)


def together(x: Tensor) -> Tensor:
    """Return the sum of the outputs (2B, ..., w) of both views, the mirrored ones flipped back: (B, ..., w)."""
    straight, mirrored = x.chunk(2)
    return straight + mirrored.flip(-1)
