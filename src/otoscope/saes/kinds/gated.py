"""Gated: one path decides which latents are active, another how strongly.

Rajamanoharan et al., "Improving Dictionary Learning with Gated Sparse Autoencoders" (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from otoscope.saes.base import Loss, mean_squared_error, ramp
from otoscope.saes.kinds.relu import L1Config
from otoscope.saes.kinds.tied import TiedSAE, sum_of_squares


@dataclass(frozen=True, kw_only=True)
class GatedConfig(L1Config):
    """Options of :class:`Gated`."""

    kind: ClassVar[str] = "gated"


class Gated(TiedSAE):
    """z = 1[g > 0] ReLU(m) with g = W (x - b_dec) + b_gate and m = exp(r) W (x - b_dec) + b_mag (their eqs. 6, 7).

    ``encoder_bias`` is b_gate; ``magnitude_scale`` is r, ``magnitude_bias`` b_mag, both [n_latents].
    """

    config_class = GatedConfig

    def __init__(self, config: GatedConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        self.magnitude_scale = nn.Parameter(torch.zeros(config.n_latents))
        self.magnitude_bias = nn.Parameter(torch.zeros(config.n_latents))

    def encode(self, x: Tensor) -> Tensor:
        return self._codes(self.pre_codes(x))

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        """Squared error, L1 on the gate, and the error of reconstructing from the gate alone (their eq. 8)."""
        gate = self.pre_codes(x)
        z = self._codes(gate)
        self.count_silence(z)
        reconstruction = self.decode(z)
        open_gate = gate.relu()
        frozen = open_gate @ self.decoder_weight.detach() + self.decoder_bias.detach().unsqueeze(-2)
        total = (
            sum_of_squares(reconstruction, x)
            + self.config.l1 * ramp(progress, self.config.l1_warmup) * open_gate.sum(-1).mean(-1)
            + sum_of_squares(frozen, x)
        )
        return Loss(total, mean_squared_error(reconstruction, x))

    def _codes(self, gate: Tensor) -> Tensor:
        shared = gate - self.encoder_bias.unsqueeze(-2)
        magnitude = shared * self.magnitude_scale.exp().unsqueeze(-2) + self.magnitude_bias.unsqueeze(-2)
        return magnitude.relu() * (gate > 0)
