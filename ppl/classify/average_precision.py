"""Mean average precision of image-level predictions."""

import torch
from torch import Tensor


def mean_average_precision(scores: Tensor, targets: Tensor) -> float:
    """Return the mean over the classes that occur of their average precision; NaN if none occurs.

    scores and targets (N, C), the latter zeros and ones.
    """
    classes = targets.bool().any(dim=0).nonzero().flatten()
    return torch.tensor([average_precision(scores[:, c], targets[:, c]) for c in classes]).mean().item()


def average_precision(scores: Tensor, targets: Tensor) -> float:
    """Return the area under the step curve of precision over recall, one step per distinct score.

    sum_i (recall_i - recall_(i-1)) precision_i, in float32; scores (N,), targets (N,) with at least one 1.
    """
    order = scores.argsort(descending=True)
    ends = torch.cat([scores[order].diff() != 0, torch.tensor([True])]).nonzero().flatten()  # of equal scores
    hits = targets[order].long().cumsum(0)[ends]
    precision, recall = (hits / (ends + 1)).flip(0), (hits / hits[-1]).flip(0)
    return (-((torch.cat([recall[1:], recall.new_zeros(1)]) - recall) * precision).sum()).item()
