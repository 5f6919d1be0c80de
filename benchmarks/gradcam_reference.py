"""Compare Grad-CAM++ and Score-CAM with pytorch-grad-cam, and write the numbers that a test compares with.

    pip install --target build/gradcam --no-deps grad-cam==1.5.7 opencv-python-headless ttach scikit-learn joblib \\
        threadpoolctl narwhals
    PYTHONPATH=$PWD:build/gradcam python benchmarks/gradcam_reference.py                   # some minutes
    PYTHONPATH=$PWD:build/gradcam python benchmarks/gradcam_reference.py --out tests/cam/data/gradcam.npz

Prints the largest difference between the maps before ReLU, as a share of the largest absolute value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from ppl.cam import gradcam_plus_plus, scorecam
from ppl.cam.settings import ScoreCam
from ppl.classify import variants
from ppl.classify.network import PatchClassifier
from ppl.networks import backbones
from ppl.networks.backbones import Backbone

CLASSES = 3


@dataclass(frozen=True)
class Settings:
    out: Path | None = None
    """File for the numbers of the small network; without it the comparison is printed."""


def small_network() -> PatchClassifier:
    """Return a network of two branches and stride 1, at which nothing is enlarged; its weights are to be loaded."""
    stages = [nn.Sequential(nn.Conv2d(width, 6, 3, padding=1), nn.ReLU()) for width in (3, 6)]
    backbone = Backbone([*stages, nn.Identity(), nn.Identity(), nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU())], (6,) * 5)
    backbone.output_stride = 1
    return PatchClassifier(backbone, CLASSES, grids=variants.parse("explicit", "s4k2"), phi_init="identity").eval()


def main(settings: Settings) -> None:
    torch.manual_seed(0)
    if settings.out is None:
        compare()
        return
    network, images = small_network(), torch.randn(2, 3, 6, 8)
    nn.init.normal_(network.classifier.weight)
    numbers = {f"network.{name}": value for name, value in network.state_dict().items()}
    numbers |= {"images": images}
    numbers |= {name: reference(network, images, name) for name in ("gradcam_plus_plus", "scorecam")}
    np.savez_compressed(settings.out, **{name: np.asarray(value) for name, value in numbers.items()})


def compare() -> None:
    """Print the largest differences on random networks, and on EfficientNet-Lite0 with weights of ImageNet."""
    print("| network | method | difference |\n| --- | --- | --- |")
    for name, network, images in networks():
        labels = torch.ones(len(images), CLASSES, dtype=torch.bool)
        for method in ("gradcam_plus_plus", "scorecam"):
            ours = computed(network, images, labels, method)
            theirs = reference(network, images, method)
            difference = ((ours - theirs).abs().amax() / theirs.abs().amax()).item()
            print(f"| {name} | {method} | {difference:.1e} |")


def networks() -> Iterator[tuple[str, PatchClassifier, Tensor]]:
    """Yield networks with normalised images."""
    for backbone, weights, variant in (
        ("resnet18", "none", ("baseline", "plain")),
        ("efficientnet_lite0", "imagenet", ("baseline", "plain")),
        ("efficientnet_lite0", "imagenet", ("explicit", "s4k2")),
    ):
        patched, global_branch = variants.branches(*variant)
        built = backbones.build(backbone, weights=weights)
        network = PatchClassifier(
            built, CLASSES, grids=patched, global_branch=global_branch, phi_init="identity"
        ).eval()  # fmt: skip
        yield f"{backbone}, {weights}, {'/'.join(variant)}", network, torch.randn(1, 3, 48, 64)


def computed(network: PatchClassifier, images: Tensor, labels: Tensor, method: str) -> Tensor:
    """Return the maps (B, branches, classes, h, w) of this package."""
    if method == "scorecam":
        return scorecam.raw_maps(network, images, labels, ScoreCam())
    return gradcam_plus_plus.raw_maps(network, images, labels, None)


def reference(network: PatchClassifier, images: Tensor, method: str) -> Tensor:
    """Return the maps (B, branches, classes, h, w) of pytorch-grad-cam before ReLU."""
    from pytorch_grad_cam import GradCAMPlusPlus, ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    tapped = Tapped(network)
    maps = []
    for tap in tapped.taps:
        cam = {"gradcam_plus_plus": GradCAMPlusPlus, "scorecam": ScoreCAM}[method](tapped, [tap])
        for c in range(CLASSES):
            maps.append(torch.from_numpy(_raw(cam, images, [ClassifierOutputTarget(c)] * len(images))))
    return torch.stack(maps, dim=1).unflatten(1, (-1, CLASSES))


class Tapped(nn.Module):
    """A classifier that returns logits, with a module per branch whose output is its features."""

    def __init__(self, network: PatchClassifier) -> None:
        super().__init__()
        self.network = network
        self.taps = nn.ModuleList(nn.Identity() for _ in range(network.branches))

    def forward(self, x: Tensor) -> Tensor:
        features = self.network.features(x)
        return self.network.logits([tap(f) for tap, f in zip(self.taps, features, strict=True)]).sum(dim=1)


def _raw(cam, images: Tensor, targets: Sequence) -> np.ndarray:
    """Return the maps (B, h, w) of one branch and class before that package rectifies, enlarges and normalises them."""
    captured = []

    def capture(*arguments, **options) -> np.ndarray:
        captured.append(type(cam).get_cam_image(cam, *arguments, **options))
        return captured[-1]

    with mock.patch.object(cam, "get_cam_image", capture):
        cam(images, targets)
    return captured[0]


if __name__ == "__main__":
    main(tyro.cli(Settings))
