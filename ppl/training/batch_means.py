"""Means over a batch that is shared by several processes."""

import torch
from torch import Tensor, distributed


def mean_count(counts: Tensor) -> Tensor:
    """Return counts of pixels or pairs, averaged over the processes of a data-parallel training.

    Gradients are averaged over processes. A local sum divided by this count therefore becomes the mean over the whole
    batch; a mean over the pixels of each process would give sparsely labelled shares more weight. In a single process
    the counts stay as they are.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return counts
    total = counts.detach().to(torch.float64)
    distributed.all_reduce(total)
    return (total / distributed.get_world_size()).to(counts.dtype if counts.is_floating_point() else torch.float32)
