"""Relaxed archetypal (RA-SAE): atoms are convex combinations of data points, plus a bounded relaxation.

Fel et al., "Archetypal SAE: Adaptive and Stable Dictionary Learning for Concept Extraction in Large Vision Models"
(2025): V = A C + Lambda with A row-stochastic, C data points, ||Lambda_i|| <= delta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from otoscope.errors import InputError
from otoscope.saes.base import SparseAutoencoder, linear_bias, linear_weight
from otoscope.saes.kinds.topk import KConfig
from otoscope.saes.selection import Selection


@dataclass(frozen=True, kw_only=True)
class ArchetypalConfig(KConfig):
    """Options of :class:`Archetypal`. Give `k` or `sparsity`, not both."""

    kind: ClassVar[str] = "archetypal"

    decoder_bias: bool = False
    """Whether the decoder adds a bias; folding a normalisation in needs one."""
    n_points: int = 1024
    """Data points that span the hull: centres of k-means, or all rows where there are fewer."""
    delta: float = 1.0
    """Largest norm of an atom's relaxation, in units of the points' mean norm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_points < 1 or self.delta < 0:
            raise InputError("n_points must be at least 1, delta at least 0")


class Archetypal(SparseAutoencoder):
    """A TopK encoder with an archetypal dictionary.

    Parameters are ``encoder_weight`` [n_latents, n_inputs], ``encoder_bias`` [n_latents], ``mixture``
    [n_latents, n_points] (A) and ``relaxation`` [n_latents, n_inputs] (Lambda); the buffers ``points``
    [n_points, n_inputs] (C) and ``radius`` [] (delta in the data's units) come from the training rows.
    """

    config_class = ArchetypalConfig
    stackable = True
    points: Tensor
    radius: Tensor

    def __init__(self, config: ArchetypalConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        self.selection = Selection("row", (config.active,))
        generator = torch.Generator().manual_seed(seed)
        self.encoder_weight = nn.Parameter(linear_weight(config.n_latents, n_inputs, generator))
        self.encoder_bias = nn.Parameter(linear_bias(config.n_latents, n_inputs, generator))
        near = torch.randint(config.n_points, (config.n_latents,), generator=generator)
        mixture = torch.rand(config.n_latents, config.n_points, generator=generator) / config.n_points
        mixture[torch.arange(config.n_latents), near] += 1.0  # each atom starts close to one point
        self.mixture = nn.Parameter(mixture / mixture.sum(-1, keepdim=True))
        self.relaxation = nn.Parameter(torch.zeros(config.n_latents, n_inputs))
        self.decoder_bias = nn.Parameter(torch.zeros(n_inputs)) if config.decoder_bias else None
        self.register_buffer("points", torch.randn(config.n_points, n_inputs, generator=generator))
        self.register_buffer("radius", torch.tensor(config.delta))

    @torch.no_grad()
    def init_from_data(self, x: Tensor) -> None:
        """Take the points from ``x [rows, features]``: k-means centres, after Fel et al.'s distilled dictionary."""
        points = _centres(x, self.config.n_points, self.seed)
        self.points.copy_(points)
        self.radius.copy_(self.config.delta * points.norm(dim=-1).mean())

    @property
    def decoder_weight(self) -> Tensor:
        """The atoms, [n_latents, n_inputs]."""
        return self.mixture @ self.points + self.relaxation

    def encode(self, x: Tensor) -> Tensor:
        self.check_input(x)
        pre = x @ self.encoder_weight.mT + self.encoder_bias.unsqueeze(-2)
        return self.selection.keep(pre.relu())

    def decode(self, z: Tensor) -> Tensor:
        reconstruction = z @ self.decoder_weight
        return (
            reconstruction if self.decoder_bias is None else reconstruction + self.decoder_bias.unsqueeze(-2)
        )

    @torch.no_grad()
    def after_step(self) -> None:
        """Project the mixture's rows back to the simplex and the relaxation into its ball."""
        self.mixture.copy_(project_to_simplex(self.mixture))
        norms = self.relaxation.norm(dim=-1, keepdim=True)
        self.relaxation.mul_((self.radius[..., None, None] / norms.clamp_min(1e-12)).clamp_max(1.0))


def project_to_simplex(rows: Tensor) -> Tensor:
    """Return the nearest rows [rows, points] whose entries are at least 0 and sum to 1 (Duchi et al. 2008, fig. 1)."""
    ordered = rows.sort(dim=-1, descending=True).values
    counts = torch.arange(1, rows.shape[-1] + 1, device=rows.device)
    excess = (ordered.cumsum(-1) - 1) / counts
    last = (ordered > excess).sum(-1, keepdim=True) - 1
    return (rows - excess.gather(-1, last)).clamp_min(0)


def _centres(x: Tensor, n_points: int, seed: int) -> Tensor:
    from sklearn.cluster import MiniBatchKMeans

    rows = x.detach().cpu()
    if len(rows) <= n_points:  # too few rows to cluster: all of them, the first ones twice
        repeated = torch.arange(n_points) % len(rows)
        return rows[repeated].to(x)
    means = MiniBatchKMeans(n_points, random_state=seed, n_init=1, batch_size=4096).fit(rows.double().numpy())
    return torch.from_numpy(means.cluster_centers_).to(x)
