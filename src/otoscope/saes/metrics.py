"""How faithful and how sparse codes are, streamed in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from otoscope.errors import InputError

if TYPE_CHECKING:
    from otoscope.saes.base import SparseAutoencoder


@dataclass(frozen=True)
class ReconstructionMetrics:
    """What :func:`reconstruction_metrics` measures."""

    mse: float
    """Mean squared error over rows and dimensions."""
    fvu: float
    """Fraction of variance unexplained: squared error over the squared distance from the rows' own mean."""
    l0: float
    """Mean number of active latents in a row."""
    dead_fraction: float
    """Share of latents active in no row."""
    dense_fraction: float
    """Share of latents active in more than half of the rows."""
    density: np.ndarray
    """[n_latents]: the share of rows in which each latent is active."""


def reconstruction_metrics(
    sae: SparseAutoencoder, x: np.ndarray | torch.Tensor, *, chunk_rows: int = 4096
) -> ReconstructionMetrics:
    """Measure reconstruction and sparsity on the rows of `x`.

    Parameters
    ----------
    sae
        The autoencoder.
    x : [rows, n_inputs]
        Activations, as it was trained on.
    chunk_rows
        Rows encoded at a time.

    Raises
    ------
    InputError
        If `x` has no rows or another width.
    """
    x = torch.as_tensor(x)
    if x.ndim != 2 or len(x) == 0:
        raise InputError(f"metrics need rows x features, got an array of shape {tuple(x.shape)}")
    sae.check_input(x)
    weight = next(sae.parameters())
    mean = sum(chunk.double().sum(0) for chunk in x.split(chunk_rows)) / len(x)
    squared_error = variation = 0.0
    fired = torch.zeros(sae.n_latents, dtype=torch.float64)
    with torch.no_grad():
        for chunk in x.split(chunk_rows):
            z = sae.encode(chunk.to(weight))
            error = sae.decode(z).double().cpu() - chunk.double()
            squared_error += error.square().sum().item()
            variation += (chunk.double() - mean).square().sum().item()
            fired += (z > 0).double().sum(0).cpu()
    density = (fired / len(x)).numpy()
    return ReconstructionMetrics(
        mse=squared_error / x.numel(),
        fvu=squared_error / variation if variation > 0 else float("nan"),
        l0=float(density.sum()),
        dead_fraction=float((density == 0).mean()),
        dense_fraction=float((density > 0.5).mean()),
        density=density,
    )
