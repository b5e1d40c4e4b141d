"""What most kinds after the paper's share: a decoder bias, a tied start, unit-norm atoms, a count of dead latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from otoscope.errors import InputError
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.config import SAEConfig

MANY_ROWS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class AuxConfig(SAEConfig):
    """Options of kinds that revive dead latents with AuxK (Gao et al. 2024, appendix A.2)."""

    aux_coefficient: float = 1 / 32
    """Weight of the auxiliary loss; 0 switches it off."""
    aux_k: int | None = None
    """Dead latents that model the residual; half of `n_inputs` by default."""
    dead_after_rows: int | None = None
    """A latent is dead once it has been silent for this many rows; by default for as many as an epoch has, but no
    more than the 10 million of Gao et al., who saw each row once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            self.aux_coefficient < 0
            or (self.dead_after_rows is not None and self.dead_after_rows < 1)
            or (self.aux_k is not None and self.aux_k < 1)
        ):
            raise InputError("aux_coefficient must be at least 0, aux_k and dead_after_rows at least 1")


class TiedSAE(SparseAutoencoder):
    """Encoder and decoder that start as each other's transpose, with a decoder bias.

    Parameters are ``encoder_weight``, ``decoder_weight`` [n_latents, n_inputs], ``encoder_bias`` [n_latents] and
    ``decoder_bias`` [n_inputs], which starts as the mean of the data; the buffer ``rows_since_fired``
    [n_latents] counts how long each latent has been silent.
    """

    stackable = True
    subtracts_bias: ClassVar[bool] = True
    """Whether the encoder reads ``x - decoder_bias``."""
    unit_norm: ClassVar[bool] = True
    """Whether decoder rows are kept at norm 1."""
    start_norm: ClassVar[float] = 1.0
    """Norm of the decoder's rows at the start."""

    encoder_weight: Tensor
    decoder_weight: Tensor
    encoder_bias: Tensor
    decoder_bias: Tensor
    rows_since_fired: Tensor

    def __init__(self, config: Any, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(config.n_latents, n_inputs, generator=generator)
        directions = nn.functional.normalize(directions, dim=-1) * self.start_norm
        self.encoder_weight = nn.Parameter(directions.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(config.n_latents))
        self.decoder_weight = nn.Parameter(directions)
        self.decoder_bias = nn.Parameter(torch.zeros(n_inputs))
        self.register_buffer("rows_since_fired", torch.zeros(config.n_latents, dtype=torch.int64))

    @torch.no_grad()
    def init_from_data(self, x: Tensor) -> None:
        self.decoder_bias.copy_(x.mean(0))

    def pre_codes(self, x: Tensor) -> Tensor:
        """Return the encoder's output [rows, latents] before any activation."""
        self.check_input(x)
        if self.subtracts_bias:
            x = x - self.decoder_bias.unsqueeze(-2)
        return x @ self.encoder_weight.mT + self.encoder_bias.unsqueeze(-2)

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.decoder_weight + self.decoder_bias.unsqueeze(-2)

    @torch.no_grad()
    def count_silence(self, z: Tensor) -> None:
        """Update for how many rows each latent has been silent."""
        TiedSAE.note_active(self, (z != 0).any(-2), None, z.shape[-2])

    def note_active(self, fired: Tensor, smallest: Tensor | None, n_rows: int) -> None:
        """Update for how many rows each latent has been silent."""
        self.rows_since_fired += n_rows
        self.rows_since_fired.masked_fill_(fired, 0)

    def needs_autograd(self, n_rows: int) -> bool:
        """Whether AuxK may have to act on the next `n_rows` rows."""
        config = self.config
        if not isinstance(config, AuxConfig) or config.aux_coefficient == 0:
            return False
        return bool((self.rows_since_fired + n_rows >= self._dead_after).any())

    @property
    def _dead_after(self) -> int:
        asked = self.config.dead_after_rows
        return min(self.rows_per_epoch or MANY_ROWS, MANY_ROWS) if asked is None else asked

    def aux_loss(self, pre: Tensor, error: Tensor) -> Tensor:
        """AuxK: how badly the dead latents, were they used, would model the residual (Gao et al. 2024, A.2).

        Unlike there, no ReLU is applied to them: a dead latent whose pre-code is negative gets a gradient too.

        Parameters
        ----------
        pre : [..., rows, n_latents]
            Pre-codes, part of the graph.
        error : [..., rows, n_inputs]
            ``x - reconstruction``; no gradient flows into it.
        """
        config = self.config
        dead = (self.rows_since_fired >= self._dead_after).unsqueeze(-2)
        if config.aux_coefficient == 0 or not bool(dead.any()):
            return pre.new_zeros(pre.shape[:-2])
        k = min(config.aux_k or max(self.n_inputs // 2, 1), config.n_latents)
        top = pre.masked_fill(~dead, -torch.inf).topk(k, dim=-1, sorted=False)
        values = torch.where(top.values.isinf(), 0.0, top.values)  # fewer than k are dead
        z = torch.zeros_like(pre).scatter(-1, top.indices, values)
        loss = (z @ self.decoder_weight - error.detach()).square().mean(dim=(-2, -1))
        return config.aux_coefficient * torch.where(dead.flatten(-2).any(-1), loss, 0.0)

    def adjust_gradients(self) -> None:
        """Keep the gradient of unit-norm atoms tangent to the sphere (Gao et al. 2024, A.1)."""
        gradient = self.decoder_weight.grad
        if self.unit_norm and gradient is not None:
            along = (gradient * self.decoder_weight.detach()).sum(-1, keepdim=True)
            gradient.addcmul_(along, self.decoder_weight.detach(), value=-1)

    @torch.no_grad()
    def after_step(self) -> None:
        if self.unit_norm:
            norms = self.decoder_weight.norm(dim=-1, keepdim=True)
            self.decoder_weight.div_(norms.clamp_min(torch.finfo(norms.dtype).tiny))


def sum_of_squares(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Squared error of [rows, features], a sum over features, mean over rows: L1 and L0 penalties are weighed so."""
    return (reconstruction - x).square().sum(-1).mean(-1)
