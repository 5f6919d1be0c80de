"""Settings of backbones."""

from typing import Annotated

from ppl.jobs.slots import Slot

BACKBONES = {
    "resnet18": "ppl.networks.resnet",
    "resnet34": "ppl.networks.resnet",
    "resnet50": "ppl.networks.resnet",
    "resnet101": "ppl.networks.resnet",
    "vgg16": "ppl.networks.vgg16",
    "efficientnet_lite0": "ppl.networks.efficientnet_lite0",
    "timm/": "ppl.networks.timm_backbone",
}
"""Backbones by name; each module has `build(name, weights) -> Backbone`."""

BackboneName = Annotated[str, Slot(BACKBONES, needs=("build",))]
