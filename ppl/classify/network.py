"""The patch-learning classifier: a global branch and patched branches over one shared backbone (Figures 2 and 5)."""

from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppl.classify.patches import merge, split, without_rim
from ppl.classify.settings import PhiInit
from ppl.classify.variants import Grid
from ppl.networks.backbones import Backbone, scaled_once

Observe = Callable[[int, Tensor, Tensor], None]
"""Takes a stage, the images of a call of `features`, and the output of the stage for them as a whole."""


class PatchClassifier(nn.Module):
    """Multi-label classifier on the concatenated features of its branches, with a bias-free 1x1 classifier.

    A patched branch splits the input of `grid.stage` into patches, re-encodes each by phi1, passes them through the
    remaining stages as one batch, and merges them after phi2. The global branch sends no gradient into the stem (0) and
    the stages up to `frozen_stages`, -1 for none, a patched branch none below its patch point where `stop_at_patches`
    (explicit fusion, III-D).

    `with_rim`, patches see that many cells of the output beyond their sides, which are cut off before they are merged.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        *,
        grids: Sequence[Grid] = (),
        global_branch: bool = True,
        frozen_stages: int = 2,
        stop_at_patches: bool = False,
        phi_init: PhiInit = "kaiming",
    ) -> None:
        super().__init__()
        if not grids and not global_branch:
            raise ValueError("a classifier needs at least one branch")
        self.backbone = backbone
        self.grids, self.global_branch = tuple(grids), global_branch
        self.frozen_stages, self.stop_at_patches = frozen_stages, stop_at_patches
        self.rim, self.observe = 0, None
        self.phi1 = nn.ModuleList(_phi(backbone.channels[grid.stage - 1], phi_init) for grid in self.grids)
        self.phi2 = nn.ModuleList(_phi(backbone.channels[-1], phi_init) for _ in self.grids)
        self.classifier = nn.Conv2d(backbone.channels[-1] * self.branches, classes, 1, bias=False)
        for stage in backbone.stages[: min([frozen_stages + 1, *(grid.stage for grid in self.grids)])]:
            stage.requires_grad_(False)

    @property
    def branches(self) -> int:
        """Return the number of concatenated features."""
        return len(self.grids) + int(self.global_branch)

    def with_rim(self, rim: int, observe: Observe | None = None) -> "PatchClassifier":
        """Return this network, with the same weights, whose patches see `rim` cells of their neighbours.

        Without them maps break off at the sides of patches. `observe` is called by `features` after each stage that
        processes whole images.
        """
        network = copy(self)
        network.rim, network.observe = rim, observe
        return network

    def phi_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of phi1 and phi2 of all branches."""
        return [*self.phi1.parameters(), *self.phi2.parameters()]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the features (B, C, h, w) of each branch, the global one first, of normalised images (B, 3, H, W)."""
        inputs = {}  # of each stage, for the patched branches
        patched = {grid.stage for grid in self.grids}
        last = len(self.backbone.stages) if self.global_branch else max(patched)
        with scaled_once(self.backbone):  # branches share stages
            for index, stage in enumerate(self.backbone.stages[:last]):
                inputs[index] = x
                with torch.set_grad_enabled(torch.is_grad_enabled() and index > self.frozen_stages):
                    x = stage(x)
                if self.observe is not None:
                    self.observe(index, inputs[0], x)
            inputs[last] = x
            outputs = [x] if self.global_branch else []
            for grid, phi1, phi2 in zip(self.grids, self.phi1, self.phi2, strict=True):
                outputs.append(self._patched(inputs[grid.stage], grid, phi1, phi2))
        return outputs

    def _patched(self, x: Tensor, grid: Grid, phi1: nn.Module, phi2: nn.Module) -> Tensor:
        x = x.detach() if self.stop_at_patches else x
        # If a stride does not divide a patch's side, each patch becomes up to a cell too large, and the k of them
        # would not align with the global branch: they are resized to the extent that they cover.
        stride = self.backbone.output_stride // min(2**grid.stage, self.backbone.output_stride)
        rim = self.rim * stride
        patches = phi1(split(x, grid.k, rim))  # (B*k*k, C1, ceil(H/k) + 2 rim, ceil(W/k) + 2 rim)
        side = [length - 2 * rim for length in patches.shape[-2:]]
        for stage in self.backbone.stages[grid.stage :]:
            patches = stage(patches)
        patches = without_rim(phi2(patches), self.rim)  # (B*k*k, C2, h, w)
        covered = tuple(-(-grid.k * s // stride) for s in side)
        merged = merge(patches, grid.k, tuple(grid.k * s for s in patches.shape[-2:]))
        if merged.shape[-2:] != covered:
            merged = F.interpolate(merged, covered, mode="bilinear", align_corners=False)
        return merged[:, :, : -(-x.shape[2] // stride), : -(-x.shape[3] // stride)]

    def maps(self, x: Tensor) -> Tensor:
        """Return the class activation maps of each branch, not normalised: (B, branches, classes, h, w), Equation 2."""
        weights = self.classifier.weight.chunk(self.branches, dim=1)
        return torch.stack([F.conv2d(f, w) for f, w in zip(self.features(x), weights, strict=True)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the contributions of the branches to the logits, (B, branches, classes); their sum is the logits.

        Equal to the 1x1 classifier on globally averaged concatenated features.
        """
        return self.logits(self.features(x))

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """Return the contributions (B, branches, classes) of the branches' features (B, C, h, w) to the logits."""
        pooled = [f.mean(dim=(2, 3)) for f in features]  # each (B, C)
        weights = self.classifier.weight.flatten(1).chunk(self.branches, dim=1)  # each (classes, C)
        return torch.stack([p @ w.t() for p, w in zip(pooled, weights, strict=True)], dim=1)


def _phi(channels: int, init: PhiInit) -> nn.Conv2d:
    """Return a 3x3 convolution on `channels`, without bias at first: Kaiming uniform, or near the identity.

    Kaiming uniform (Section IV-B) is He's distribution for layers before a ReLU, of variance 2 / fan-in.
    Near the identity a patched branch starts from ImageNet features, which short trainings need.
    """
    conv = nn.Conv2d(channels, channels, 3, padding=1)  # torch's own weights are smaller by the root of 6
    nn.init.zeros_(conv.bias)
    if init == "identity":
        with torch.no_grad():
            conv.weight.mul_(0.1)
            conv.weight[range(channels), range(channels), 1, 1] += 1
    else:
        nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")
    return conv
