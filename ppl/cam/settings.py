"""Settings of step `cam`."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from ppl.jobs.fields import Count, Factor, Factors, NumberOr, Section, Share, Source
from ppl.jobs.slots import Slot

METHODS = {
    "cam": "ppl.cam.cam",
    "gradcam_plus_plus": "ppl.cam.gradcam_plus_plus",
    "scorecam": "ppl.cam.scorecam",
}
"""CAM methods by name; each module has `raw_maps(network, images, labels, settings)`."""

Fusion = Literal["mean", "sum"]
AUTO = "auto"
"""Value of `threshold` for which each variant's threshold is chosen from its own CAMs."""


@dataclass(frozen=True, kw_only=True)
class Maps(Section):
    """Scales and fusion of the maps (Section III-E)."""

    scales: Annotated[Factors, Source("paper")] = (1.0, 0.5, 1.5, 2.0)
    """Factors by which photos are resized."""
    mirror: Annotated[bool, Source("paper")] = True
    """Each size is also mirrored, for the maps and the features of `prototypes`; this doubles the time."""
    fusion: Annotated[Fusion, Source("paper III-E")] = "mean"
    """`mean`: normalise branches, then average; `sum`: add, then normalise."""
    cam_exponent: Annotated[Factor, Source("paper; AffinityNet: 0.5")] = 1
    """Exponent of each rectified map before scales and mirror images are added; 0.5 flattens peaks."""
    rim: Annotated[int, Ge(0), Le(64), Source("paper: 0; ours")] = 0
    """Cells of the map that each patch sees of its neighbours; without them maps break off at the sides of patches.
    Trainings have none."""
    batch_size: Annotated[Count, Source("ours")] = 8
    """Photos of equal size per batch."""


@dataclass(frozen=True, kw_only=True)
class Prototypes(Section):
    """Maps that grow over whole objects by the features of the photo itself."""

    rounds: Annotated[int, Ge(0), Le(20), Source("ours")] = 0
    """How often prototypes are formed; 0: the maps stay as they are, as in the paper."""
    object: Annotated[Share, Source("ours")] = 0.5
    """Cells that score more form the prototype of their class."""
    background: Annotated[Share, Source("ours")] = 0.1
    """Cells that score no more for any class form the prototype of the background."""
    cam_share: Annotated[Share, Source("ours")] = 0.2
    """Share of the map itself in the result; the rest is nearness to the prototypes."""
    scales: Annotated[Factors, Source("ours")] = (1, 2)
    """Factors by which photos are resized for the features, which are averaged on the grid of the largest."""


@dataclass(frozen=True, kw_only=True)
class ScoreCam(Section):
    """CAM method `scorecam`."""

    channels: Annotated[int, Ge(0), Le(65536), Source("ours")] = 0
    """Channels that mask the image, those of the largest deviation over it; 0: all, as published. The cost is one
    forward pass per channel."""


@dataclass(frozen=True, kw_only=True)
class Cam(Section):
    """Class activation maps and seeds (Section III-E)."""

    method: Annotated[str, Slot(METHODS, needs=("raw_maps",)), Source("paper, Equation 2")] = "cam"
    """How a map is computed from the features of a branch."""
    maps: Maps = Maps()
    prototypes: Prototypes = Prototypes()
    scorecam: ScoreCam = ScoreCam()
    own: dict[str, Any] = field(default_factory=dict)
    """Settings of a method `own/MODULE` (docs/extending.md)."""
    threshold: Annotated[Share | Literal["auto"], NumberOr(AUTO), Source("IRNet")] = 0.15
    """Background threshold of the seeds; `auto`: chosen for each variant from its CAMs and photos, without masks."""
