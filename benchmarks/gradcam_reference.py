"""Compare Grad-CAM++ and Score-CAM with pytorch-grad-cam, and write the numbers that a test compares with.

    pip install --target /tmp/gradcam --no-deps grad-cam==1.5.7 opencv-python-headless ttach scikit-learn joblib \\
        threadpoolctl narwhals
    PYTHONPATH=$PWD:/tmp/gradcam python benchmarks/gradcam_reference.py                   # some minutes
    PYTHONPATH=$PWD:/tmp/gradcam python benchmarks/gradcam_reference.py --out tests/cam/data/gradcam.npz

Prints the largest difference between the maps before ReLU, as a share of the largest absolute value. Two details of
that package are ours differently; the table has rows with and without them:

- It adds 1e-6 to the denominator of alpha. Gradients of pooled features are of the order of weight / cells, so that the
  maps of a photo at several scales would not be comparable. Scaling features by 1/s and gradients by s changes neither
  maps nor alpha, so s = 1e4 makes the 1e-6 negligible.
- Score-CAM enlarges channels with `align_corners=True`; ours, as the authors' code, with False.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
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
NEGLIGIBLE = 1e4
"""Factor of gradients at which 1e-6 is negligible beside their squares."""


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
    numbers |= {name: reference(network, images, name, published=False) for name in ("gradcam_plus_plus", "scorecam")}
    np.savez_compressed(settings.out, **{name: np.asarray(value) for name, value in numbers.items()})


def compare() -> None:
    """Print the largest differences on random networks, and on EfficientNet-Lite0 with weights of ImageNet."""
    print("| network | method | as published | without the two details |\n| --- | --- | --- | --- |")
    for name, network, images in networks():
        labels = torch.ones(len(images), CLASSES, dtype=torch.bool)
        for method in ("gradcam_plus_plus", "scorecam"):
            ours = computed(network, images, labels, method)
            figures = []
            for published in (True, False):
                theirs = reference(network, images, method, published=published)
                figures.append(f"{((ours - theirs).abs().amax() / theirs.abs().amax()).item():.1e}")
            print(f"| {name} | {method} | {' | '.join(figures)} |")


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


def reference(network: PatchClassifier, images: Tensor, method: str, *, published: bool = True) -> Tensor:
    """Return the maps (B, branches, classes, h, w) before ReLU of pytorch-grad-cam, as published or without details."""
    from pytorch_grad_cam import GradCAMPlusPlus, ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    tapped = Tapped(network, 1 if published or method == "scorecam" else NEGLIGIBLE)
    enlarging = nullcontext() if published else mock.patch.object(nn, "UpsamplingBilinear2d", _enlarging)
    maps = []
    for tap in tapped.taps:
        cam = {"gradcam_plus_plus": GradCAMPlusPlus, "scorecam": ScoreCAM}[method](tapped, [tap])
        for c in range(CLASSES):
            targets = [ClassifierOutputTarget(c)] * len(images)
            with enlarging:
                raw = _raw(cam, images, targets)
            maps.append(torch.from_numpy(raw))
    return torch.stack(maps, dim=1).unflatten(1, (-1, CLASSES))


class Tapped(nn.Module):
    """A classifier that returns logits, with a module per branch whose output is its features over `scale`."""

    def __init__(self, network: PatchClassifier, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.taps = nn.ModuleList(nn.Identity() for _ in range(network.branches))

    def forward(self, x: Tensor) -> Tensor:
        features = self.network.features(x)
        tapped = [tap(f / self.scale) * self.scale for tap, f in zip(self.taps, features, strict=True)]
        return self.network.logits(tapped).sum(dim=1)


def _raw(cam, images: Tensor, targets: Sequence) -> np.ndarray:
    """Return the maps (B, h, w) of one branch and class before that package rectifies, enlarges and normalises them."""
    captured = []

    def capture(*arguments, **options) -> np.ndarray:
        captured.append(type(cam).get_cam_image(cam, *arguments, **options))
        return captured[-1]

    with mock.patch.object(cam, "get_cam_image", capture):
        cam(images, targets)
    return captured[0]


def _enlarging(size: Sequence[int]) -> nn.Module:
    return nn.Upsample(size, mode="bilinear", align_corners=False)


if __name__ == "__main__":
    main(tyro.cli(Settings))
