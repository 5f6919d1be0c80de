"""VGG16 of torchvision, without its fully connected layers."""

from itertools import pairwise

from torch import nn
from torchvision import models

from ppl.networks.backbones import Backbone, load_weights


def build(name: str, weights: str) -> Backbone:
    """Return VGG16, each stage of which ends with its pooling; `weights` as of `backbones.build`."""
    net = models.vgg16(init_weights=False)
    load_weights(net, weights, models.VGG16_Weights.IMAGENET1K_V1)
    cuts = [0, 5, 10, 17, 24, 31]
    for module in net.features:
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True  # sizes as those of the other backbones: ceil(side / stride)
    return Backbone([net.features[a:b] for a, b in pairwise(cuts)], (64, 128, 256, 512, 512))
