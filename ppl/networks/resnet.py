"""ResNets of torchvision."""

from torch import nn
from torchvision import models

from ppl.networks.backbones import Backbone, load_weights


def build(name: str, weights: str) -> Backbone:
    """Return resnet18, 34, 50 or 101; `weights` as of `backbones.build`."""
    net = getattr(models, name)()
    load_weights(net, weights, models.get_model_weights(name).IMAGENET1K_V1)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    width = net.fc.in_features // 8
    stages = [stem, net.layer1, net.layer2, net.layer3, net.layer4]
    return Backbone(stages, (64, width, width * 2, width * 4, width * 8))
