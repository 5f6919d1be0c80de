"""Sparse matrices by rows, without torch's warnings in the log of a step."""

import warnings

import torch
from torch import Tensor


def csr(row_ends: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int], *, check: bool) -> Tensor:
    """Return a sparse CSR tensor of row_ends (rows + 1,), columns and values (N,); `check` has torch verify them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_csr_tensor(row_ends, columns, values, shape, check_invariants=check)
