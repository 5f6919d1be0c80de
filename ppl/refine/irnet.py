"""IRNet: class boundaries and displacements to instance centres from frozen backbone features (Sec. III-F)."""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.networks.backbones import Backbone, fold_batchnorm


class IRNet(nn.Module):
    """Two branches on the features of all five stages of a backbone; both predict at stride 4.

    The backbone is frozen: it stays in evaluation mode, its BatchNorm is folded, and no gradient enters it. Only the
    branches are trained. `mean_shift` (2,), zero until set, is taken off the displacements in evaluation mode.
    """

    mean_shift: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        fold_batchnorm(backbone.requires_grad_(False).eval())
        self.backbone = backbone
        self.boundary_stages = nn.ModuleList(_projection(channels, 32, groups=4) for channels in backbone.channels)
        self.boundary_logit = nn.Conv2d(5 * 32, 1, 1)
        self.displacement_stages = nn.ModuleList(
            _projection(channels, width, groups=groups)
            for channels, width, groups in zip(
                backbone.channels, (64, 128, 256, 256, 256), (8, 16, 16, 16, 16), strict=True
            )
        )
        self.displacement_deep = _projection(3 * 256, 256, groups=16)
        self.displacement_field = nn.Sequential(
            _projection(64 + 128 + 256, 256, groups=16), nn.ReLU(), nn.Conv2d(256, 2, 1, bias=False)
        )
        self.register_buffer("mean_shift", torch.zeros(2))

    def train(self, mode: bool = True) -> "IRNet":
        """Sets the mode of the branches; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boundary logits (B, h4, w4) and displacements (B, 2, h4, w4) in pixels of that grid, as (dy, dx).

        x (B, 3, H, W) normalised RGB; (h4, w4) is the size of the stage at stride 4, (ceil(H / 4), ceil(W / 4)).
        """
        features = self._features(x)
        return self._boundary(features), self._displacement(features)

    def boundary_logits(self, x: Tensor) -> Tensor:
        """The first output of `forward`, without the cost of the second."""
        return self._boundary(self._features(x))

    def boundary_parameters(self) -> Iterator[nn.Parameter]:
        """Weights of the boundary branch."""
        return chain(self.boundary_stages.parameters(), self.boundary_logit.parameters())

    def displacement_parameters(self) -> Iterator[nn.Parameter]:
        """Weights of the displacement branch."""
        parts = (self.displacement_stages, self.displacement_deep, self.displacement_field)
        return chain.from_iterable(part.parameters() for part in parts)

    @torch.no_grad()
    def _features(self, x: Tensor) -> list[Tensor]:
        return self.backbone.features(x)

    def _boundary(self, features: list[Tensor]) -> Tensor:
        size = features[1].shape[-2:]
        maps = [project(f) for project, f in zip(self.boundary_stages, features, strict=True)]  # 5 x (B, 32, h_i, w_i)
        maps = [F.relu(_resize(m, size)) for m in maps]  # 5 x (B, 32, h4, w4)
        return self.boundary_logit(torch.cat(maps, 1)).squeeze(1)  # (B, h4, w4)

    def _displacement(self, features: list[Tensor]) -> Tensor:
        size, middle = features[1].shape[-2:], features[2].shape[-2:]
        maps = [project(f) for project, f in zip(self.displacement_stages, features, strict=True)]
        shallow = [F.relu(_resize(m, size)) for m in maps[:2]]  # (B, 64, h4, w4), (B, 128, h4, w4)
        deep = torch.cat([F.relu(_resize(m, middle)) for m in maps[2:]], 1)  # (B, 768, h8, w8)
        deep = F.relu(_resize(self.displacement_deep(deep), size))  # (B, 256, h4, w4)
        field = self.displacement_field(torch.cat((*shallow, deep), 1))  # (B, 2, h4, w4)
        return field if self.training else field - self.mean_shift.view(2, 1, 1)


def boundary_map(model: IRNet, x: Tensor) -> Tensor:
    """Probability of a class boundary, (B, h4, w4), from the mean logit of images and their mirror images.

    x (B, 3, H, W) normalised RGB. The two views go through the model one after the other: half the peak memory.
    """
    straight, mirrored = model.boundary_logits(x), model.boundary_logits(x.flip(-1)).flip(-1)
    return torch.sigmoid((straight + mirrored) / 2)


def _projection(channels: int, width: int, *, groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(groups, width))


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
