"""Means over a batch that several processes share."""

import torch
from torch import Tensor, distributed


def mean_count(counts: Tensor) -> Tensor:
    """Counts of pixels or pairs, averaged over the processes of a data-parallel training; themselves in a single one.

    Gradients are averaged over processes. A local sum divided by this count therefore becomes the mean over the whole
    batch, while means over each process's own pixels would give those of a sparsely labelled share more weight.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return counts
    total = counts.detach().to(torch.float64)
    distributed.all_reduce(total)
    return (total / distributed.get_world_size()).to(counts.dtype if counts.is_floating_point() else torch.float32)
