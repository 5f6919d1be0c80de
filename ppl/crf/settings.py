"""Settings of the dense CRF."""

from dataclasses import dataclass

from ppl.jobs.fields import NotNegative, Positive, Section


@dataclass(frozen=True, kw_only=True)
class Pairwise(Section):
    """The two Potts terms, with IRNet's values: one between near pixels, one between near pixels of similar colour."""

    gaussian_sxy: Positive = 3
    """Standard deviation of the distance, in pixels."""
    gaussian_compat: NotNegative = 3
    """Weight of the first term."""
    bilateral_sxy: Positive = 50
    """Standard deviation of the distance, in pixels."""
    bilateral_srgb: Positive = 5
    """Standard deviation of the colour difference, of 0..255."""
    bilateral_compat: NotNegative = 10
    """Weight of the second term."""


@dataclass(frozen=True, kw_only=True)
class DeepLabPairwise(Pairwise):
    """The two Potts terms, with DeepLab's values."""

    gaussian_sxy: Positive = 1
    """Standard deviation of the distance, in pixels."""
    bilateral_sxy: Positive = 67
    """Standard deviation of the distance, in pixels."""
    bilateral_srgb: Positive = 3
    """Standard deviation of the colour difference, of 0..255."""
    bilateral_compat: NotNegative = 4
    """Weight of the second term."""


IRNET = Pairwise()
DEEPLAB = DeepLabPairwise()
