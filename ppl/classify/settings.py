"""Settings of step `classify`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from ppl.classify.variants import METHODS
from ppl.jobs.fields import (
    Count,
    Distinct,
    Matches,
    Momentum,
    NotNegative,
    OutputStride,
    PixelRange,
    Pixels,
    Positive,
    Section,
    Share,
    Source,
)
from ppl.networks.settings import BackboneName
from ppl.training import settings as training

VARIANT = r"[a-z]+/[a-z0-9-]+"
Variant = Annotated[str, Matches(VARIANT, "METHOD/GRIDS, such as explicit/s4k6")]
AnyVariant = Annotated[str, Matches(rf"([A-Za-z0-9_-]+/)?{VARIANT}", "METHOD/GRIDS or EXPERIMENT/METHOD/GRIDS")]
PhiInit = Literal["kaiming", "identity"]


@dataclass(frozen=True, kw_only=True)
class Architecture(Section):
    """The shape of a classifier; part of its checkpoint."""

    backbone: Annotated[BackboneName, Source("paper")] = "resnet50"
    """The backbone."""
    output_stride: Annotated[OutputStride, Source("paper")] = 16
    """8, 16 or 32."""
    dilated: Annotated[bool, Source("IRNet, paper IV-B; AffinityNet: true")] = False
    """Whether the filters behind a removed stride are dilated, so that they cover the pixels that they were trained
    on."""
    frozen_stages: Annotated[int, Ge(-1), Le(3), Source("IRNet")] = 2
    """Stages up to this number get no gradient from the global branch: -1 none, 0 the stem, 2 the stem and stages 1
    and 2. The later steps of `implicit` freeze all stages before their patches instead (Algorithm 1)."""
    phi_init: Annotated[PhiInit, Source("paper IV-B: Kaiming uniform")] = "kaiming"
    """Initial values of phi1 and phi2: `kaiming` (He's uniform distribution, zero bias), or `identity` (near the
    identity)."""


@dataclass(frozen=True, kw_only=True)
class Training(training.Training):
    """The training of the baseline."""

    epochs: Annotated[Count, Source("paper")] = 5
    """Passes over the training split."""
    batch_size: Annotated[Count, Source("paper")] = 16
    """Crops per step, of all GPUs together."""
    lr: Annotated[Positive, Source("paper")] = 0.1
    """Learning rate of the backbone at the first step."""
    momentum: Annotated[Momentum, Source("IRNet's code; paper: 0.9")] = 1e-4
    """Momentum of SGD; AdamW has its own. **Doubtful**: the paper writes 0.9, most likely the exponent of its poly
    schedule, as the public code of this family passes the weight decay as momentum (docs/departures.md). Trainings of a
    few hundred steps at a rate of 0.01 or less need 0.9."""
    new_lr_factor: Annotated[Positive, Source("paper")] = 10
    """Learning rate of the classifier, as a multiple of `lr`."""
    phi_lr_factor: Annotated[Positive, Source("paper")] = 10
    """Learning rate of phi1 and phi2, as a multiple of `lr`; with `phi_init: identity`, 1 is better."""
    weight_decay: Annotated[NotNegative, Source("paper")] = 1e-4
    """Weight decay."""
    bias_lr_factor: Annotated[Positive, Source("IRNet; AffinityNet: 2")] = 1
    """Learning rate of biases, including those of BatchNorm, as a multiple of the rate of their weights."""
    decay_biases: Annotated[bool, Source("IRNet; AffinityNet: false")] = True
    """Whether `weight_decay` applies to biases."""
    keep_classifier: Annotated[
        tuple[Literal["implicit", "explicit", "local"], ...], Distinct(), Source("paper III-D; Algorithm 1: no method")
    ] = ("explicit", "local")
    """Methods whose steps also start from the classifier of the earlier step, each branch from the corresponding one;
    the others start only from its backbone."""
    branch_loss: Annotated[NotNegative, Source("paper; above 0: ours")] = 0
    """Weight of the mean loss of the single branches; without it a patched branch may stop learning once the global
    branch fits, see docs/earlier-results.md."""
    long_side: Annotated[PixelRange, Source("paper")] = (320, 640)
    """Range of the longest side after random rescaling, in pixels."""
    crop: Annotated[Pixels, Source("paper")] = 512
    """Side of the square crops, in pixels."""
    jitter: Annotated[Share, Source("paper; AffinityNet: 0.3")] = 0
    """Strength of random colour changes, 0 (none) to 1; 0.3 changes brightness, contrast and saturation by factors of
    0.7 to 1.3, hue by up to a tenth of a turn."""


@dataclass(frozen=True, kw_only=True)
class PatchTraining(Training):
    """The training of all methods but the baseline: the keys of `training`, whose values it takes where it has none."""

    lr: Annotated[Positive, Source("paper")] = 0.01
    """Learning rate of the backbone at the first step."""


@dataclass(frozen=True, kw_only=True)
class Classify(Section):
    """The classifier with patch learning (Sections III-B to III-D)."""

    architecture: Architecture = Architecture()
    training: Training = Training()
    patch_training: PatchTraining = PatchTraining()

    def training_of(self, method: str) -> Training:
        """Return the training of a method's classifiers."""
        return self.patch_training if METHODS[method].patches else self.training
