"""Settings of step `segment`."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le, Len

from ppl.crf.settings import DEEPLAB, DeepLabPairwise
from ppl.jobs.fields import (
    Count,
    Factors,
    File,
    FrozenStages,
    Matches,
    NotNegative,
    OneOf,
    Pixels,
    Positive,
    Section,
    Share,
    Source,
)
from ppl.jobs.slots import Slot
from ppl.networks.settings import BackboneName
from ppl.training import settings as training

NETWORKS = {"deeplab_v2": "ppl.segment.deeplab_v2", "smp/": "ppl.segment.smp"}
"""Segmentation networks by name; docs/extending.md describes what each module contains."""
NEEDED = ("build", "loss", "parameter_groups")
"""What a user's own module contains."""


EncoderName = Annotated[str, Len(1, 100), Matches(r"[A-Za-z0-9_][\w./:-]*", "the name of an encoder")]


@dataclass(frozen=True, kw_only=True)
class DeepLabV2(Section):
    """Network `deeplab_v2`; part of its checkpoint."""

    backbone: Annotated[BackboneName, Source("paper")] = "resnet101"
    """The backbone, dilated."""
    output_stride: Annotated[int, OneOf(8, 16), Source("DeepLab")] = 8
    """8 or 16: the last stages are dilated instead of strided."""
    rates: Annotated[tuple[Annotated[int, Ge(1), Le(512)], ...], Len(1, 16), Source("DeepLab")] = (6, 12, 18, 24)
    """Dilation of each ASPP convolution, in cells of the last stage."""
    aspp_std: Annotated[Positive, Source("DeepLab")] = 0.01
    """Standard deviation of the initial ASPP weights; EfficientNet-Lite0 learns faster from 0.001."""
    scales: Annotated[Factors, Source("DeepLab")] = (1, 0.75, 0.5)
    """Scales of the input, in training and prediction; the maximum of the logits is used, and the first sets their
    size."""


@dataclass(frozen=True, kw_only=True)
class Smp(Section):
    """Networks `smp/NAME` of segmentation_models.pytorch; part of their checkpoints."""

    encoder: Annotated[EncoderName, Source("ours")] = "resnet50"
    """Encoder, by its name in segmentation_models.pytorch."""


@dataclass(frozen=True, kw_only=True)
class Training(training.Training):
    """The training on pseudo labels."""

    weights: Annotated[File, Source("ours")] = "imagenet"
    """Initial weights of the backbone: `imagenet`, `none`, or the file of a state dict. **Caution**: COCO segmentation
    weights add about 3 mIoU, but then training no longer uses image-level labels alone."""
    frozen_stages: Annotated[FrozenStages, Source("DeepLab")] = -1
    """Stages of the backbone up to this number keep `weights`: -1 none, 0 the stem, 4 all."""
    steps: Annotated[Count, Source("DeepLab")] = 20_000
    """Training steps."""
    batch_size: Annotated[Count, Source("DeepLab")] = 10
    """Crops per step, of all GPUs together."""
    lr: Annotated[Positive, Source("DeepLab")] = 2.5e-4
    """Learning rate of the backbone at the first step; EfficientNet-Lite0 diverges with SGD at 2.5e-4."""
    head_lr_factor: Annotated[Positive, Source("DeepLab")] = 10
    """Learning rate of new layers' weights, as a multiple of `lr`; that of DeepLab's biases is twice as high, without
    decay."""
    weight_decay: Annotated[NotNegative, Source("DeepLab")] = 5e-4
    """Weight decay."""
    confidence_exponent: Annotated[Share, Source("ours")] = 0
    """Weigh the gradient of a label by the network's own probability of it, raised to this exponent (generalised
    cross-entropy), so that labels that it contradicts teach less; 0: cross-entropy."""
    crop: Annotated[Pixels, Source("DeepLab")] = 321
    """Side of the square crops, in pixels."""
    crop_scales: Annotated[Factors, Source("DeepLab")] = (0.5, 0.75, 1, 1.25, 1.5)
    """Factors by which photos are resized before the crop is cut; each crop draws one of them."""


@dataclass(frozen=True, kw_only=True)
class Prediction(Section):
    """Predictions of a trained network, alone and after a dense CRF."""

    photo_scales: Annotated[Factors, Source("DeepLab")] = (1,)
    """Photos are resized by each of these factors and probabilities averaged; choose values
    near `training.crop_scales`."""
    mirror: Annotated[bool, Source("ours")] = False
    """Average each photo's probabilities with those of its mirror image, which doubles the time."""
    batch_size: Annotated[Count, Source("ours")] = 4
    """Photos of equal size per batch."""
    crf: Annotated[bool, Source("DeepLab")] = True
    """Also predict with a dense CRF."""
    iterations: Annotated[Count, Source("DeepLab")] = 10
    """Iterations of the CRF."""
    pairwise: DeepLabPairwise = DEEPLAB
    """Pairwise terms of the CRF (DeepLab's values)."""


@dataclass(frozen=True, kw_only=True)
class Segment(Section):
    """The segmentation network (Section III-F)."""

    network: Annotated[str, Slot(NETWORKS, needs=NEEDED), Source("paper, DeepLab")] = "deeplab_v2"
    """The network."""
    deeplab_v2: DeepLabV2 = DeepLabV2()
    smp: Smp = Smp()
    own: dict[str, Any] = field(default_factory=dict)
    """Settings of a network `own/MODULE` (docs/extending.md)."""
    training: Training = Training()
    prediction: Prediction = Prediction()
