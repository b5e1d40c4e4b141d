"""How faithful and how sparse codes are, streamed in float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from otoscope.compute import as_tensor
from otoscope.errors import InputError
from otoscope.saes.fast.step import reconstruct

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
    sae: SparseAutoencoder, x: np.ndarray | Tensor | Iterable[np.ndarray], *, chunk_rows: int = 4096
) -> ReconstructionMetrics:
    """Measure reconstruction and sparsity on the rows of `x`.

    Parameters
    ----------
    sae
        The autoencoder.
    x : [rows, n_inputs], or an iterable of such
        Activations, as it was trained on; what does not fit into memory comes in parts.
    chunk_rows
        Rows encoded at a time.

    Raises
    ------
    InputError
        If `x` has no rows or another width.

    Examples
    --------
    >>> import numpy as np
    >>> from otoscope.saes import TopKConfig, build_sae
    >>> rows = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    >>> reconstruction_metrics(build_sae(TopKConfig(n_latents=32, k=1), n_inputs=8), rows).l0
    1.0
    """
    weight = next(sae.parameters())
    tally = Tally(1, sae.n_latents, sae.n_inputs, weight.device)
    is_array = isinstance(x, Tensor) or hasattr(x, "shape")
    with torch.no_grad():
        for part in map(as_tensor, [x] if is_array else x):
            if part.ndim != 2 or len(part) == 0:
                raise InputError(f"metrics need rows x features, got an array of shape {tuple(part.shape)}")
            sae.check_input(part)
            for chunk in part.split(chunk_rows):
                reconstruction, counts = reconstruct(sae, chunk.to(weight))
                tally.add(chunk.to(weight.device), reconstruction, counts)
    return ReconstructionMetrics(
        mse=float(tally.mse[0]),
        fvu=float(tally.fvu[0]),
        l0=float(tally.l0[0]),
        dead_fraction=float(tally.dead_fraction[0]),
        dense_fraction=float(tally.dense_fraction[0]),
        density=tally.density[0],
    )


class Tally:
    """Running sums over rows, for one or several autoencoders on the same rows.

    The rows' variance is pooled chunk by chunk (Chan et al. 1983), which loses no digits to a large mean.
    """

    def __init__(self, n_members: int, n_latents: int, width: int, device: torch.device) -> None:
        self._n_rows = 0
        self._width = width
        self._squared = torch.zeros(n_members, dtype=torch.float64, device=device)
        self._counts = torch.zeros(n_members, n_latents, dtype=torch.int64, device=device)
        self._mean = torch.zeros(width, dtype=torch.float64, device=device)
        self._variation = 0.0

    def add(self, x: Tensor, reconstruction: Tensor, counts: Tensor) -> None:
        """Add rows ``x [rows, width]``, their reconstructions and how many of them each latent is active in."""
        self._squared += (reconstruction - x).square().sum(-1, dtype=torch.float64).sum(-1)
        self._counts += counts
        rows = x.double()
        mean, n_before, n_new = rows.mean(0), self._n_rows, len(x)
        step = mean - self._mean
        self._n_rows = n_before + n_new
        self._variation += float((rows - mean).square().sum())
        self._variation += float(step.square().sum()) * n_before * n_new / self._n_rows
        self._mean += step * n_new / self._n_rows

    @property
    def mse(self) -> np.ndarray:
        """[members]"""
        return (self._squared / (self._n_rows * self._width)).cpu().numpy()

    @property
    def fvu(self) -> np.ndarray:
        """[members]; NaN where all rows are equal."""
        return self._squared.cpu().numpy() / (self._variation if self._variation > 0 else np.nan)

    @property
    def density(self) -> np.ndarray:
        """[members, n_latents]"""
        return (self._counts.double() / self._n_rows).cpu().numpy()

    @property
    def l0(self) -> np.ndarray:
        """[members]"""
        return self.density.sum(-1)

    @property
    def dead_fraction(self) -> np.ndarray:
        """[members]"""
        return (self.density == 0).mean(-1)

    @property
    def dense_fraction(self) -> np.ndarray:
        """[members]"""
        return (self.density > 0.5).mean(-1)
