"""IRNet (Ahn, Cho and Kwak, CVPR 2019): class boundaries from frozen backbone features (Sec. III-F).

IRNet's second branch, displacements to instance centres, is needed only for instance masks and is omitted.
"""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.data.crops import Augmentation
from ppl.networks import backbones
from ppl.networks.backbones import Backbone, fold_batchnorm
from ppl.refine.losses import pair_losses, total
from ppl.refine.settings import IRNet as Settings
from ppl.training import optimizers
from ppl.training.label_grids import nearest
from ppl.training.optimizers import Group

NAME = "IRNet"
STRIDE = 4
WIDTH, GROUPS = 32, 4  # channels of each stage's projection, and the groups of their normalisation


class IRNet(nn.Module):
    """A boundary branch on the features of all five stages of a backbone; it predicts at stride 4.

    The backbone is frozen: it stays in evaluation mode, its BatchNorm is folded, and no gradient enters it.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        fold_batchnorm(backbone.requires_grad_(False).eval())
        self.backbone = backbone
        self.boundary_stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, WIDTH, 1, bias=False), nn.GroupNorm(GROUPS, WIDTH))
            for channels in backbone.channels
        )
        self.boundary_logit = nn.Conv2d(len(backbone.channels) * WIDTH, 1, 1)

    def train(self, mode: bool = True) -> "IRNet":
        """Set the mode of the branch; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return boundary logits (B, h4, w4) of normalised RGB (B, 3, H, W).

        (h4, w4) is the size of the stage at stride 4, (ceil(H / 4), ceil(W / 4)).
        """
        with torch.no_grad():
            features = self.backbone.features(x)
        size = features[1].shape[-2:]
        maps = [project(f) for project, f in zip(self.boundary_stages, features, strict=True)]  # 5 x (B, 32, h_i, w_i)
        maps = [F.relu(_resize(m, size)) for m in maps]  # 5 x (B, 32, h4, w4)
        return self.boundary_logit(torch.cat(maps, 1)).squeeze(1)  # (B, h4, w4)

    def boundary_parameters(self) -> Iterator[nn.Parameter]:
        """Return the trained weights."""
        return chain(self.boundary_stages.parameters(), self.boundary_logit.parameters())


def build(settings: Settings, weights: str) -> IRNet:
    """Return a new IRNet; `weights` of its frozen backbone are imagenet, none, or the path of a state dict."""
    training = settings.training
    return IRNet(backbones.build(training.backbone, weights=weights, output_stride=training.output_stride))


def parameter_groups(network: IRNet, settings: Settings) -> list[Group]:
    """Return the optimiser group of the boundary branch."""
    training = settings.training
    rates = [(1.0, network.boundary_parameters())]
    return optimizers.parameter_groups(rates, lr=training.lr, weight_decay=training.weight_decay)


def augmentation(settings: Settings) -> Augmentation:
    """Return the random changes of training crops."""
    return Augmentation(settings.training.crop, scale=settings.training.scale)


def loss(network: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return the loss of images (B, 3, H, W) with reliable labels (B, H, W), taken at the centres of cells of 4 px."""
    boundary = network(images)
    small = nearest(labels, boundary.shape[-2:])  # (B, h, w)
    return total(pair_losses(boundary.float().sigmoid(), small, settings.training.radius))


def boundary_map(network: IRNet, x: Tensor, crop: int = 0) -> Tensor:
    """Return the probability of a class boundary, (B, h4, w4), from the mean logit of images and their mirror images.

    x (B, 3, H, W) normalised RGB. Both views are padded with zeros at the right and the bottom to sides of at least
    `crop`, as training crops are, whose statistics the normalisation of each map then has; the logits are cut to the
    image. The two views go through the network one after the other: half the peak memory.
    """
    straight, mirrored = (_padded_logits(network, view, crop) for view in (x, x.flip(-1)))
    return torch.sigmoid((straight + mirrored.flip(-1)) / 2)


def _padded_logits(network: IRNet, x: Tensor, crop: int) -> Tensor:
    """Return boundary logits (B, h4, w4) of images (B, 3, H, W), padded to sides of at least `crop` for the network."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (0, max(0, crop - width), 0, max(0, crop - height)))
    return network(padded)[..., : -(-height // STRIDE), : -(-width // STRIDE)]


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
