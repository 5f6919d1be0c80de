"""MobileNetV2 of torchvision, without its classifier."""

from itertools import pairwise

from torchvision import models

from ppl.networks.backbones import Backbone, load_weights


def build(name: str, weights: str) -> Backbone:
    """Return MobileNetV2, of whose stages 1 to 4 each begins with the block that halves the sides.

    `weights` as of `backbones.build`.
    """
    net = models.mobilenet_v2()
    load_weights(net, weights, models.MobileNet_V2_Weights.IMAGENET1K_V2)
    cuts = [0, 2, 4, 7, 14, 19]
    return Backbone([net.features[a:b] for a, b in pairwise(cuts)], (16, 24, 32, 96, 1280))
