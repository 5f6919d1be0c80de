"""What a solver of dense CRFs is."""

from collections.abc import Callable

import numpy as np

from ppl.crf.settings import Pairwise

Infer = Callable[[np.ndarray, int], np.ndarray]
"""From unary energies (L, h w) float32 and a number of iterations to the strongest label of each pixel, (h w,)."""

Solver = Callable[[np.ndarray, int, Pairwise], Infer]
"""From a photo (h, w, 3) uint8, the number of labels L and pairwise terms to a function that infers labels."""
