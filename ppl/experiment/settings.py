"""Settings of an experiment."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Len

from ppl.cam.settings import Cam
from ppl.classify.settings import AnyVariant, Classify, Variant
from ppl.data.settings import Data
from ppl.jobs.fields import Distinct, Matches, RandomSeed, Section, Source
from ppl.jobs.settings import ExperimentHardware
from ppl.refine.settings import Refine
from ppl.segment.settings import Segment

AnyVariants = Annotated[tuple[AnyVariant, ...], Len(1), Distinct()]
ResultName = Annotated[str, Len(1, 100), Matches(r"[A-Za-z0-9][A-Za-z0-9-]*", "a name of letters, digits and -")]


@dataclass(frozen=True, kw_only=True)
class Table(Section):
    """A table of `results/EXPERIMENT/tables`."""

    variants: AnyVariants
    """Rows, as METHOD/GRIDS or EXPERIMENT/METHOD/GRIDS."""
    measures: Annotated[tuple[Literal["seed", "crf", "pseudo", "val"], ...], Len(1), Distinct()]
    """Columns: `seed` (at its own and at the best threshold), `crf` (seed after a CRF), `pseudo`, `val`."""
    per_class: bool = False
    """One column per class."""


@dataclass(frozen=True, kw_only=True)
class Figure(Section):
    """A figure of `results/EXPERIMENT/tables`."""

    shows: Literal["cams", "branches", "stages", "precision_recall", "thresholds", "segmentations"]
    """What it shows of each variant."""
    variants: AnyVariants
    """The variants, as METHOD/GRIDS or EXPERIMENT/METHOD/GRIDS."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Section):
    """A dataset and its settings: one entry below `experiments:` of config/config.yaml."""

    data: Data = Data()
    main: Annotated[Variant, Source("paper")] = "explicit/s2k2-s3k4-s4k6"
    """Variant (METHOD/GRIDS) whose pseudo labels train the network."""
    compare: Annotated[tuple[Variant, ...], Distinct(), Source("paper")] = (
        "baseline/plain",
        "implicit/s2k2-s3k4-s4k6",
    )
    """Variants whose seeds are measured too."""
    random_seeds: Annotated[tuple[RandomSeed, ...], Len(1), Distinct(), Source("ours")] = (0,)
    """Random seeds of all trainings. The first is that of the experiment; NAME-seedS repeats the experiment with random
    seed S on the same data. Tables show mean and standard deviation over them."""
    tables: dict[ResultName, Table] = field(default_factory=dict)
    """Tables by name. With source `voc` or `coco`, I to VIII include the paper's figures."""
    figures: dict[ResultName, Figure] = field(default_factory=dict)
    """Figures by name."""
    hardware: ExperimentHardware = ExperimentHardware()
    classify: Classify = Classify()
    cam: Cam = Cam()
    refine: Refine = Refine()
    segment: Segment = Segment()
