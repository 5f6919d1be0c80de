"""Settings of the dense CRF."""

from dataclasses import dataclass
from typing import Annotated

from ppl.jobs.fields import NotNegative, Positive, Section, Source


@dataclass(frozen=True, kw_only=True)
class Pairwise(Section):
    """The two Potts terms, with IRNet's values: one between near pixels, one between near pixels of similar colour."""

    gaussian_sxy: Annotated[Positive, Source("IRNet")] = 3
    """Standard deviation of the distance, in pixels."""
    gaussian_compat: Annotated[NotNegative, Source("IRNet")] = 3
    """Weight of the first term."""
    bilateral_sxy: Annotated[Positive, Source("IRNet")] = 50
    """Standard deviation of the distance, in pixels."""
    bilateral_srgb: Annotated[Positive, Source("IRNet")] = 5
    """Standard deviation of the colour difference, of 0..255."""
    bilateral_compat: Annotated[NotNegative, Source("IRNet")] = 10
    """Weight of the second term."""


@dataclass(frozen=True, kw_only=True)
class DeepLabPairwise(Pairwise):
    """The two Potts terms, with DeepLab's values."""

    gaussian_sxy: Annotated[Positive, Source("DeepLab")] = 1
    """Standard deviation of the distance, in pixels."""
    gaussian_compat: Annotated[NotNegative, Source("DeepLab")] = 3
    """Weight of the first term."""
    bilateral_sxy: Annotated[Positive, Source("DeepLab")] = 67
    """Standard deviation of the distance, in pixels."""
    bilateral_srgb: Annotated[Positive, Source("DeepLab")] = 3
    """Standard deviation of the colour difference, of 0..255."""
    bilateral_compat: Annotated[NotNegative, Source("DeepLab")] = 4
    """Weight of the second term."""


IRNET = Pairwise()
DEEPLAB = DeepLabPairwise()
