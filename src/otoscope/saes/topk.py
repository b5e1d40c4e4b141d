"""TopK as in the paper's eq. 1: z = TopK(ReLU(W x + b)), x_hat = V z, without a decoder bias.

Mariotte et al., "Sparse Autoencoders Make Audio Foundation Models More Explainable" (2025), after
Makhzani & Frey, "k-Sparse Autoencoders" (2014).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from otoscope.errors import InputError
from otoscope.saes import gradients
from otoscope.saes.base import SAEConfig, SparseAutoencoder, linear_bias, linear_weight

if TYPE_CHECKING:
    from otoscope.compute import Lanes
    from otoscope.saes.adam import Adam


@dataclass(frozen=True, kw_only=True)
class KConfig(SAEConfig):
    """Options of kinds that keep the k largest codes. Give `k` or `sparsity`, not both."""

    k: int | None = None
    """Latents that may be active for one row."""
    sparsity: float | None = None
    """Fraction of latents kept silent: k = floor((1 - sparsity) n_latents)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.k is None) == (self.sparsity is None):
            raise InputError(f"give k or sparsity, one of the two (got k={self.k}, sparsity={self.sparsity})")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity is a fraction from 0 to below 1 (0.95 for 95 %), got {self.sparsity}")
        if not 1 <= self.active <= self.n_latents:
            raise InputError(f"k must be from 1 to n_latents = {self.n_latents}, got k = {self.active}")

    @property
    def name(self) -> str:
        asked = f"k{self.k}" if self.sparsity is None else f"s{self.sparsity:g}"
        return f"{self.kind}-{self.n_latents}-{asked}"

    @property
    def active(self) -> int:
        if self.k is not None:
            return self.k
        return int((1 - Fraction(repr(float(self.sparsity or 0.0)))) * self.n_latents)  # exact in decimals


@dataclass(frozen=True, kw_only=True)
class TopKConfig(KConfig):
    """Options of :class:`TopK`. Give `k` or `sparsity`, not both."""

    kind: ClassVar[str] = "topk"

    decoder_bias: bool = False
    """Whether the decoder adds a bias; the paper's does not. Folding a normalisation in needs one."""


class TopK(SparseAutoencoder):
    """The paper's autoencoder, initialised as PyTorch's ``Linear`` does.

    Parameters are ``encoder_weight [n_latents, n_inputs]``, ``encoder_bias [n_latents]`` and
    ``decoder_weight [n_latents, n_inputs]``: row j of the decoder is the direction of latent j.
    """

    config_class = TopKConfig
    stackable = True

    def __init__(self, config: TopKConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        self.encoder_weight = nn.Parameter(linear_weight(config.n_latents, n_inputs, generator))
        self.encoder_bias = nn.Parameter(linear_bias(config.n_latents, n_inputs, generator))
        decoder = linear_weight(n_inputs, config.n_latents, generator)
        self.decoder_weight = nn.Parameter(decoder.T.contiguous())
        self.decoder_bias = nn.Parameter(torch.zeros(n_inputs)) if config.decoder_bias else None

    def encode(self, x: Tensor) -> Tensor:
        self.check_input(x)
        return keep_largest(gradients.affine(self, x).relu(), self._ks)

    def decode(self, z: Tensor) -> Tensor:
        reconstruction = gradients.product(self, z, self.decoder_weight)
        return (
            reconstruction if self.decoder_bias is None else reconstruction + self.decoder_bias.unsqueeze(-2)
        )

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not gradients.sparse_wins(self):
            return super().reconstruct(x)
        from otoscope.saes import sparse

        return sparse.reconstruct(self, x)

    def stack_key(self) -> Hashable:
        config = self.config
        wins = gradients.sparse_wins(self)
        return (type(self), config.n_latents, config.decoder_bias, self.n_inputs, wins)

    @torch.no_grad()
    def backward(self, x: Tensor) -> Tensor:
        if type(self) is not TopK:  # a subclass may have another loss
            return super().backward(x)
        return gradients.dense_backward(self, self.encode(x), x)

    def train_step(self, x: Tensor, optimiser: Adam, lr: float, lanes: Lanes) -> Tensor:
        if not gradients.sparse_wins(self):
            return super().train_step(x, optimiser, lr, lanes)
        from otoscope.saes import sparse

        return sparse.train_step(self, x, optimiser, lr, lanes).mse

    @property
    def _ks(self) -> tuple[int, ...]:
        return tuple(member.active for member in self.members)


def keep_largest(z: Tensor, ks: tuple[int, ...]) -> Tensor:
    """Set all but the k largest entries of each row of `z` to zero; one k for each member of a stack."""
    if len(set(ks)) == 1:
        top = z.topk(ks[0], dim=-1, sorted=False)
        return torch.zeros_like(z).scatter(-1, top.indices, top.values)
    return torch.stack([keep_largest(member, (k,)) for member, k in zip(z, ks)])
