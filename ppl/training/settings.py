"""Settings that all trainings have."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ppl.jobs.fields import Count, File, Momentum, NotNegative, Pixels, Positive, Section, Source

OptimizerName = Literal["sgd", "adamw"]


@dataclass(frozen=True, kw_only=True)
class Training(Section):
    """A training with a poly schedule."""

    weights: Annotated[File, Source("paper")] = "imagenet"
    """Initial weights of the backbone: `imagenet`, `none`, or the file of a state dict."""
    batch_size: Count
    """Crops per step, of all GPUs together."""
    optimizer: Annotated[OptimizerName, Source("paper")] = "sgd"
    """`sgd` or `adamw`."""
    lr: Positive
    """Learning rate at the first step."""
    momentum: Annotated[Momentum, Source("paper")] = 0.9
    """Momentum of SGD; AdamW has its own. **Doubtful**: the public references of this family pass the weight decay as
    momentum, so their real momentum is about 1e-4."""
    weight_decay: NotNegative
    """Weight decay."""
    poly_power: Annotated[NotNegative, Source("IRNet")] = 0.9
    """Exponent of the poly schedule."""
    crop: Pixels
    """Side of the square crops, in pixels."""
