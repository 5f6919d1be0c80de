"""A backbone that trains in milliseconds, `own/tiny_backbone`; its weights are the path of a state dict, or none."""

import torch
from torch import nn

from ppl.networks.backbones import Backbone


def build(name: str, weights: str) -> Backbone:
    """Return the backbone."""
    stages = [_stage(3, 8, 4), _stage(8, 8, 1), _stage(8, 16, 2), _stage(16, 16, 2), _stage(16, 32, 2)]
    backbone = Backbone(stages, (8, 8, 16, 16, 32))
    if weights != "none":
        backbone.load_state_dict(torch.load(weights, weights_only=True))
    return backbone


def _stage(width: int, out: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(width, out, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")  # BatchNorm is frozen: nothing else scales
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())
