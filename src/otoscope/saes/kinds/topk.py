"""TopK as in the paper's eq. 1: z = TopK(ReLU(W x + b)), x_hat = V z, without a decoder bias.

Mariotte et al., "Sparse Autoencoders Make Audio Foundation Models More Explainable" (2025), after
Makhzani & Frey, "k-Sparse Autoencoders" (2014).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor, nn

from otoscope.errors import InputError
from otoscope.saes.base import SparseAutoencoder, linear_bias, linear_weight
from otoscope.saes.config import SAEConfig
from otoscope.saes.selection import Selection


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
        if self.sparsity is not None and self.active < 1:
            raise InputError(f"a sparsity of {self.sparsity} leaves no latent of {self.n_latents}")
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
    ``decoder_weight [n_latents, n_inputs]``: row j of the decoder is the direction of latent j. Training does not go
    through `encode` and `decode`: `otoscope.saes.fast.step` takes the same step by hand-written gradients.
    """

    config_class = TopKConfig
    stackable = True
    closed_form = True

    def __init__(self, config: TopKConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        self.selection = Selection("row", (config.active,))
        generator = torch.Generator().manual_seed(seed)
        self.encoder_weight = nn.Parameter(linear_weight(config.n_latents, n_inputs, generator))
        self.encoder_bias = nn.Parameter(linear_bias(config.n_latents, n_inputs, generator))
        decoder = linear_weight(n_inputs, config.n_latents, generator)
        self.decoder_weight = nn.Parameter(decoder.T.contiguous())
        self.decoder_bias = nn.Parameter(torch.zeros(n_inputs)) if config.decoder_bias else None

    def encode(self, x: Tensor) -> Tensor:
        self.check_input(x)
        return self.selection.keep(self._pre_codes(x).relu())

    def decode(self, z: Tensor) -> Tensor:
        reconstruction = z @ self.decoder_weight
        return (
            reconstruction if self.decoder_bias is None else reconstruction + self.decoder_bias.unsqueeze(-2)
        )

    def stack_key(self) -> Hashable:
        config = self.config
        return (type(self), config.n_latents, config.decoder_bias, self.n_inputs)

    def _pre_codes(self, x: Tensor) -> Tensor:
        weight, bias = self.encoder_weight, self.encoder_bias
        if weight.ndim == x.ndim == 2:
            return torch.addmm(bias, x, weight.T)  # one pass over the codes less
        return (x @ weight.mT).add_(bias.unsqueeze(-2))
