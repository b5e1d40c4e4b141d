"""Products with sparse codes that touch only the active latents.

A code with k of N latents active needs k / N of the multiplications of a dense product in the decoder, in its
gradient and in the encoder's gradient. On a CPU these kernels win below :data:`SPARSE_BELOW` (measured by
``benchmarks/saes.py crossover``); on a GPU dense products run on matrix units and are kept.

All of them see a stack of S autoencoders on B rows as one matrix: row ``s * B + b``, column ``s * N + n``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

SPARSE_BELOW = 0.16
"""Share of active latents below which sparse products are faster on a CPU."""


@dataclass(frozen=True)
class Active:
    """The active entries of codes ``[rows, columns]``, row by row (compressed sparse rows)."""

    values: Tensor
    """[entries]"""
    columns: Tensor
    """[entries], int32"""
    starts: Tensor
    """[rows + 1], int32: the entries of row i are ``starts[i]:starts[i + 1]``."""
    rows: Tensor
    """[entries], int32: the row of each entry."""


def decode(active: Active, decoder: Tensor) -> Tensor:
    """Multiply codes with ``decoder [columns, width]``: each row sums the decoder rows of its latents."""
    return _sum_rows(decoder, active.columns, active.starts, active.values)


def code_gradient(active: Active, error: Tensor, decoder: Tensor) -> Tensor:
    """Return ``error @ decoder.T`` at the active entries only; ``error`` is [rows, width]."""
    with warnings.catch_warnings():  # torch says once that its CSR tensors are in beta
        warnings.simplefilter("ignore", UserWarning)
        pattern = torch.sparse_csr_tensor(
            active.starts,
            active.columns,
            active.values,
            (error.shape[0], decoder.shape[0]),
            check_invariants=False,
        )
    return torch.sparse.sampled_addmm(pattern, error, decoder.mT, beta=0.0).values()


class ByColumn:
    """The active entries sorted by column, to sum over rows for each latent."""

    def __init__(self, active: Active, n_columns: int) -> None:
        self._order = torch.sort(active.columns, stable=True).indices  # int32 sorts by radix
        self._rows = active.rows[self._order]
        self._n_rows = len(active.starts) - 1
        counts = torch.bincount(active.columns, minlength=n_columns)
        self._starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()

    def sort(self, values: Tensor) -> Tensor:
        """Bring values of the active entries into the order that `outer` and `total` read."""
        return values[self._order]

    def outer(self, values: Tensor, sources: Tensor) -> Tensor:
        """Return ``codes.T @ sources`` for codes with these sorted `values`; [columns, width].

        `sources` may have fewer rows than the codes: the stack then shares them.
        """
        rows = self._rows if sources.shape[0] == self._n_rows else self._rows % sources.shape[0]
        return _sum_rows(sources, rows, self._starts, values)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of the sorted `values` of each column."""
        return torch.segment_reduce(values, "sum", offsets=self._starts.long(), axis=0, initial=0)


def _sum_rows(table: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(
        indices, table, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )
