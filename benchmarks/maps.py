"""Class activation maps as the export computes them, for the benchmarks."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ppl.cam import cam
from ppl.cam.maps import branch_maps
from ppl.cam.settings import Maps
from ppl.classify.network import PatchClassifier


def class_maps(network: PatchClassifier, photos: np.ndarray, scales: Sequence[float]) -> Tensor:
    """Return the maps (B, branches, classes, h4, w4) of all classes of photos (B, h, w, 3) uint8 by Equation 2."""
    labels = torch.ones(len(photos), network.classifier.out_channels, dtype=torch.bool)
    return branch_maps(network, photos, labels, partial(cam.raw_maps, settings=None), Maps(scales=tuple(scales)))
