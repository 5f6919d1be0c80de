"""What a solver of dense CRFs is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ppl.crf.settings import Pairwise


class Problem(NamedTuple):
    """The dense CRFs on one photo, which differ by their unary terms alone.

    photo (h, w, 3) uint8; energies: of each CRF (L, h w) float32; ids (L,) uint8: the labels in a label map.
    """

    photo: np.ndarray
    energies: Sequence[np.ndarray]
    ids: np.ndarray


Solver = Callable[[Sequence[Problem], Pairwise, int], list[list[np.ndarray]]]
"""From problems of at least two labels, pairwise terms and a number of iterations to the index of the strongest label
of each pixel, (h w,) for each CRF of each problem."""
