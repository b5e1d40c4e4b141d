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
    from otoscope.saes.adam import Adam
    from otoscope.saes.lanes import Lanes


@dataclass(frozen=True, kw_only=True)
class TopKConfig(SAEConfig):
    """Options of :class:`TopK`. Give `k` or `sparsity`, not both."""

    kind: ClassVar[str] = "topk"

    k: int | None = None
    """Latents that may be active for one row."""
    sparsity: float | None = None
    """Fraction of latents kept silent: k = floor((1 - sparsity) n_latents)."""
    decoder_bias: bool = False
    """Whether the decoder adds a bias; the paper's does not. Folding a normalisation in needs one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.n_latents}-{k_label(self)}"

    @property
    def active(self) -> int:
        return self.k if self.k is not None else k_of_sparsity(self.sparsity or 0.0, self.n_latents)


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


def k_of_sparsity(sparsity: float, n_latents: int) -> int:
    """Return floor((1 - sparsity) n_latents), exact for the decimal number written."""
    return int((1 - Fraction(repr(float(sparsity)))) * n_latents)


def check_k(config: SAEConfig) -> None:
    """Refuse a config whose `k` and `sparsity` are both given, both missing or out of range."""
    k, sparsity = getattr(config, "k", None), getattr(config, "sparsity", None)
    if (k is None) == (sparsity is None):
        raise InputError(f"give k or sparsity, one of the two (got k={k}, sparsity={sparsity})")
    if sparsity is not None and not 0 <= sparsity < 1:
        raise InputError(f"sparsity is a fraction from 0 to below 1 (0.95 for 95 %), got {sparsity}")
    active = k if k is not None else k_of_sparsity(sparsity or 0.0, config.n_latents)
    if not 1 <= active <= config.n_latents:
        raise InputError(f"k must be from 1 to n_latents = {config.n_latents}, got k = {active}")


def k_label(config: SAEConfig) -> str:
    """Return how a name says the sparsity asked for: ``s0.95`` or ``k102``."""
    sparsity = getattr(config, "sparsity", None)
    return f"s{sparsity:g}" if sparsity is not None else f"k{getattr(config, 'k', None)}"
