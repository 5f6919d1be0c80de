"""Settings of step `refine`."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from ppl.classify.settings import AnyVariant
from ppl.crf.settings import IRNET, Pairwise
from ppl.jobs.fields import (
    Count,
    Distinct,
    FactorRange,
    FrozenStages,
    Momentum,
    NotNegative,
    NumberOr,
    OutputStride,
    Pixels,
    Positive,
    Section,
    Share,
    Source,
)
from ppl.jobs.slots import Slot
from ppl.networks.settings import BackboneName
from ppl.training.settings import Training

NETWORKS = {"irnet": "ppl.refine.irnet", "affinitynet": "ppl.refine.affinitynet", "none": None}
"""Refinement networks by name; docs/extending.md tells what each module contains."""
NEEDED = ("NAME", "Settings", "build", "parameter_groups", "augmentation", "loss", "walk")
"""What a user's own module contains."""
WALKS = {"irnet": "ppl.refine.walk_irnet", "affinitynet": "ppl.refine.walk_affinitynet"}
"""The modules of their walks, apart from the networks so that a changed walk retrains nothing; a user's own module
contains both."""
LABELS = {"thresholds": None, "margins": None, "alphas": None}
"""Kinds of background scores of reliable labels."""

Radius = Annotated[int, Ge(2), Le(64)]
Confidence = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class Thresholds(Section):
    """Reliable labels of IRNet: thresholds of CAMs."""

    foreground: Annotated[Share, Source("IRNet")] = 0.30
    """Score above which a class is reliable; users of IRNet set it about 0.1 to 0.15 above the best threshold, which is
    tuned on masks."""
    background: Annotated[Share, Source("IRNet")] = 0.05
    """Score below which background is reliable, about 0.1 below the best threshold."""

    def __post_init__(self) -> None:
        if self.background > self.foreground:
            raise ValueError(f"background {self.background} is greater than foreground {self.foreground}; lower it")


@dataclass(frozen=True, kw_only=True)
class Margins(Section):
    """Distances from the background threshold of a strict pass, for classes, and a lenient one, for background, each
    after its own CRF."""

    foreground: Annotated[Share, Source("IRNet's users")] = 0.1
    """Distance above the threshold from which a pixel has its class."""
    background: Annotated[Share, Source("IRNet's users")] = 0.1
    """Distance below the threshold under which a pixel is background, at most two thirds of the threshold."""


@dataclass(frozen=True, kw_only=True)
class LabelMargins(Margins):
    """The same of pseudo labels: without margins every pixel has a label."""

    foreground: Annotated[float, Ge(-1), Le(1), Source("ours")] = 0
    """Distance above the threshold from which a pixel has its class. Negative: from that far below it, at most a third
    of the threshold: networks learn better from labels that are somewhat too large than from the best seeds."""
    background: Annotated[Share, Source("ours")] = 0
    """Distance below the threshold under which a pixel is background, at most two thirds of that of classes."""

    def __post_init__(self) -> None:
        if self.foreground + self.background < 0:
            what = f"classes from {-self.foreground} below the threshold, background up to {self.background} below it"
            raise ValueError(f"{what}; raise background")


@dataclass(frozen=True, kw_only=True)
class Alphas(Section):
    """Reliable labels of AffinityNet: exponents of a background score (1 - max)^alpha."""

    low: Annotated[NotNegative, Source("AffinityNet")] = 4
    """Exponent of a strong background, above which a class is reliable."""
    high: Annotated[NotNegative, Source("AffinityNet")] = 32
    """Exponent of a weak background, which is reliable where no class exceeds it."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is greater than high {self.high}; write the smaller number first")


@dataclass(frozen=True, kw_only=True)
class Reliable(Section):
    """Reliable labels, on which the refinement network is trained."""

    scores: Annotated[str, Slot(LABELS, own=False), Source("IRNet")] = "thresholds"
    """Background scores: `thresholds` of CAMs, `margins` around `cam.threshold`, or `alphas`: exponents, whose scores
    the CRF uses instead of hard labels."""
    thresholds: Thresholds = Thresholds()
    margins: Margins = Margins()
    alphas: Alphas = Alphas()
    confidence: Annotated[Confidence, Source("IRNet")] = 0.7
    """Probability that the CRF assigns to a hard label."""
    iterations: Annotated[Count, Source("IRNet")] = 10
    """Iterations of the CRF."""


@dataclass(frozen=True, kw_only=True)
class Labels(Section):
    """Pseudo labels, from which the segmentation network learns."""

    margins: LabelMargins = LabelMargins()
    """With margins, pixels whose score lies between stay unlabelled (255), and the network ignores them."""
    agree: Annotated[tuple[AnyVariant, ...], Distinct(), Source("ours")] = ()
    """Variants, METHOD/GRIDS or EXPERIMENT/METHOD/GRIDS on the same photos, whose pseudo labels must be the same; other
    pixels stay unlabelled."""


@dataclass(frozen=True, kw_only=True)
class Walk(Section):
    """The random walk and the labels from its scores."""

    radius: Annotated[Radius, Source("IRNet")] = 5
    """Maximum distance of a pair, in cells."""
    beta: Annotated[Positive, Source("IRNet, paper")] = 10
    """Exponent of the affinities."""
    steps: Annotated[int, Ge(0), Le(1_000_000), Source("IRNet: 2^8")] = 256
    """Steps of the walk."""
    batch_size: Annotated[Count, Source("ours")] = 4
    """Photos of equal size per batch."""
    crf: Annotated[bool, Source("IRNet")] = False
    """Apply a CRF to the pseudo labels."""
    confidence: Annotated[Confidence, Source("IRNet")] = 0.7
    """Probability that this CRF assigns to a label."""
    iterations: Annotated[Count, Source("IRNet")] = 10
    """Iterations of this CRF."""


@dataclass(frozen=True, kw_only=True)
class IRNetTraining(Training):
    """The training of IRNet's boundary branch; its backbone is frozen."""

    backbone: Annotated[BackboneName, Source("paper")] = "resnet50"
    """The frozen backbone."""
    output_stride: Annotated[OutputStride, Source("paper")] = 16
    """8, 16 or 32."""
    epochs: Annotated[Count, Source("paper")] = 3
    """Passes over the training split."""
    batch_size: Annotated[Count, Source("paper")] = 32
    """Crops per step, of all GPUs together."""
    lr: Annotated[Positive, Source("paper")] = 0.1
    """Learning rate at the first step."""
    momentum: Annotated[Momentum, Source("IRNet's code")] = 1e-4
    """Momentum of SGD; AdamW has its own. IRNet's code passes the weight decay as momentum."""
    weight_decay: Annotated[NotNegative, Source("IRNet")] = 1e-4
    """Weight decay."""
    scale: Annotated[FactorRange, Source("IRNet")] = (0.5, 1.5)
    """Range of random scale factors."""
    crop: Annotated[Pixels, Source("IRNet")] = 512
    """Side of the square crops, in pixels."""
    radius: Annotated[Radius, Source("IRNet")] = 10
    """Maximum distance of a pair, in cells of 4 px."""


@dataclass(frozen=True, kw_only=True)
class IRNetWalk(Walk):
    """The walk that stops at IRNet's boundaries, in cells of 4 px."""

    background: Annotated[Share | Literal["seed"], NumberOr("seed"), Source("IRNet")] = 0.25
    """Background score after the walk, relative to the strongest class of the image; `seed`: the score that leaves as
    many pixels of the image to classes as `cam.threshold` does before the walk."""
    pad: Annotated[bool, Source("IRNet")] = True
    """Pad photos with zeros, after normalisation, to `training.crop` at the right and the bottom, so that the network
    sees whole crops as in its training; sides longer than the crop are not padded."""


@dataclass(frozen=True, kw_only=True)
class IRNet(Section):
    """Network `irnet`: its boundary branch. The displacement branch, for instance masks, is not implemented."""

    training: IRNetTraining = IRNetTraining()
    walk: IRNetWalk = IRNetWalk()


@dataclass(frozen=True, kw_only=True)
class AffinityNetTraining(Training):
    """The training of AffinityNet, for the paper's VGG16 rows, at output stride 8, dilated."""

    backbone: Annotated[BackboneName, Source("AffinityNet")] = "vgg16"
    """The backbone. **Doubtful**: AffinityNet's own VGG16 has a large-FOV head that torchvision lacks."""
    frozen_stages: Annotated[FrozenStages, Source("AffinityNet")] = 1
    """Stages up to this number keep their weights: -1 none, 0 the stem; 1: VGG16 is trained from conv3 on."""
    epochs: Annotated[Count, Source("AffinityNet")] = 8
    """Passes over the training split."""
    batch_size: Annotated[Count, Source("AffinityNet")] = 8
    """Crops per step, of all GPUs together."""
    lr: Annotated[Positive, Source("AffinityNet")] = 0.1
    """Learning rate of the backbone at the first step."""
    momentum: Annotated[Momentum, Source("AffinityNet's code")] = 5e-4
    """Momentum of SGD; AdamW has its own. AffinityNet's code passes the weight decay as momentum."""
    new_lr_factor: Annotated[Positive, Source("AffinityNet")] = 10
    """Learning rate of new convolutions, as a multiple of `lr`; their normalisation learns at `lr`."""
    weight_decay: Annotated[NotNegative, Source("AffinityNet")] = 5e-4
    """Weight decay."""
    bias_lr_factor: Annotated[Positive, Source("AffinityNet")] = 2
    """Learning rate of biases, including those of normalisation, as a multiple of the rate of their weights."""
    decay_biases: Annotated[bool, Source("AffinityNet")] = False
    """Whether `weight_decay` applies to biases."""
    scale: Annotated[FactorRange, Source("AffinityNet: none")] = (1, 1)
    """Range of random scale factors."""
    crop: Annotated[Pixels, Source("AffinityNet")] = 448
    """Side of the square crops, in pixels."""
    jitter: Annotated[Share, Source("AffinityNet")] = 0.3
    """Strength of random colour changes, 0 (none) to 1; 0.3 changes brightness, contrast and saturation by factors of
    0.7 to 1.3, hue by up to a tenth of a turn."""
    radius: Annotated[Radius, Source("AffinityNet")] = 5
    """Maximum distance of a pair, in cells of 8 px."""


@dataclass(frozen=True, kw_only=True)
class AffinityNetWalk(Walk):
    """The walk with AffinityNet's affinities, in cells of 8 px."""

    beta: Annotated[Positive, Source("AffinityNet")] = 8
    """Exponent of the affinities."""
    alpha: Annotated[float, Ge(1), Le(1_000_000), Source("AffinityNet")] = 16
    """Exponent of the background score (1 - max)^alpha, which is propagated with the classes."""


@dataclass(frozen=True, kw_only=True)
class AffinityNet(Section):
    """Network `affinitynet`."""

    training: AffinityNetTraining = AffinityNetTraining()
    walk: AffinityNetWalk = AffinityNetWalk()


@dataclass(frozen=True, kw_only=True)
class Refine(Section):
    """Pseudo labels by a random walk that a network guides (Section III-F)."""

    network: Annotated[str, Slot(NETWORKS, needs=NEEDED), Source("paper")] = "irnet"
    """Network that guides the walk; `none`: the pseudo labels are the seeds at `cam.threshold` after a CRF."""
    irnet: IRNet = IRNet()
    affinitynet: AffinityNet = AffinityNet()
    own: dict[str, Any] = field(default_factory=dict)
    """Settings of a network `own/MODULE` (docs/extending.md)."""
    reliable: Reliable = Reliable()
    labels: Labels = Labels()
    keep_classes: Annotated[bool, Source("ours")] = False
    """Whether a class of an image's labels gets its seed back where a CRF or a walk removes it; not with `alphas`."""
    pairwise: Pairwise = IRNET
    """Pairwise terms of all CRFs of this step (IRNet's values)."""
