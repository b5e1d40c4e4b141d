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
from otoscope.saes import kernels
from otoscope.saes.base import SAEConfig, SparseAutoencoder, linear_bias, linear_weight


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
        self._layouts: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}
        generator = torch.Generator().manual_seed(seed)
        self.encoder_weight = nn.Parameter(linear_weight(config.n_latents, n_inputs, generator))
        self.encoder_bias = nn.Parameter(linear_bias(config.n_latents, n_inputs, generator))
        decoder = linear_weight(n_inputs, config.n_latents, generator)
        self.decoder_weight = nn.Parameter(decoder.T.contiguous())
        self.decoder_bias = nn.Parameter(torch.zeros(n_inputs)) if config.decoder_bias else None

    def encode(self, x: Tensor) -> Tensor:
        self.check_input(x)
        ks = [member.active for member in self.members]
        return keep_largest(self._pre_codes(x).relu(), ks)

    def decode(self, z: Tensor) -> Tensor:
        return self._shifted(self._product(z, self.decoder_weight))

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self._sparse_wins:
            return super().reconstruct(x)
        active = self._select(x)
        shape = self.decoder_weight.shape
        counts = torch.bincount(active.columns[active.values > 0], minlength=shape[:-1].numel())
        reconstruction = kernels.decode(active, self.decoder_weight.view(-1, shape[-1]))
        reconstruction = reconstruction.view(*shape[:-2], *x.shape[-2:])
        return self._shifted(reconstruction), counts.view(shape[:-1])

    def stack_key(self) -> Hashable:
        config = self.config
        return (type(self), config.n_latents, config.decoder_bias, self.n_inputs, self._sparse_wins)

    def backward(self, x: Tensor) -> Tensor:
        """Write out the gradients of the mean squared error; the same as autograd's, tested in float64."""
        with torch.no_grad():
            return self._sparse_backward(x) if self._sparse_wins else self._dense_backward(x)

    @property
    def _sparse_wins(self) -> bool:
        on_cpu = self.encoder_weight.device.type == "cpu"
        return on_cpu and self.config.active < kernels.SPARSE_BELOW * self.config.n_latents

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        """Multiply, with factors rounded to bfloat16 where training asks for it."""
        return (
            (left.bfloat16() @ right.bfloat16()).to(left.dtype)
            if self.half_products and self.training
            else left @ right
        )

    def _pre_codes(self, x: Tensor) -> Tensor:
        weight, bias = self.encoder_weight, self.encoder_bias
        if weight.ndim == 2 and x.ndim == 2 and not self.half_products:
            return torch.addmm(bias, x, weight.T)  # one pass over the pre-codes less
        return self._product(x, weight.mT).add_(bias.unsqueeze(-2))

    def _shifted(self, reconstruction: Tensor) -> Tensor:
        bias = self.decoder_bias
        return reconstruction if bias is None else reconstruction + bias.unsqueeze(-2)

    def _dense_backward(self, x: Tensor) -> Tensor:
        z = self.encode(x)
        error = self.decode(z) - x
        mse = self._start_backward(error, x)
        self.decoder_weight.grad = self._product(z.mT, error)
        d_pre = self._product(error, self.decoder_weight.mT).mul_(z > 0)
        self.encoder_weight.grad = self._product(d_pre.mT, x)
        self.encoder_bias.grad = d_pre.sum(-2)
        return mse

    def _sparse_backward(self, x: Tensor) -> Tensor:
        shape = self.decoder_weight.shape
        n_rows, width = x.shape[-2:]
        decoder = self.decoder_weight.view(-1, width)
        active = self._select(x)
        error = self._shifted(kernels.decode(active, decoder).view(*shape[:-2], n_rows, width)).sub_(x)
        mse = self._start_backward(error, x)
        error = error.view(-1, width)
        by_column = kernels.ByColumn(active, decoder.shape[0])
        d_pre = kernels.code_gradient(active, error, decoder).mul_(active.values > 0)
        self.decoder_weight.grad = by_column.outer(by_column.sort(active.values), error).view(shape)
        d_pre = by_column.sort(d_pre)
        self.encoder_weight.grad = by_column.outer(d_pre, x.reshape(-1, width)).view(shape)
        self.encoder_bias.grad = by_column.total(d_pre).view(shape[:-1])
        return mse

    def _start_backward(self, error: Tensor, x: Tensor) -> Tensor:
        """Turn the error into the gradient of its mean square, in place, and return that mean square."""
        n_values = x.shape[-2] * x.shape[-1]
        mse = torch.linalg.vector_norm(error, dim=(-2, -1)).square() / n_values  # makes no copy
        error.mul_(2 / n_values)
        if self.decoder_bias is not None:
            self.decoder_bias.grad = error.sum(-2)
        return mse

    def _select(self, x: Tensor) -> kernels.Active:
        """Find the active entries of the codes of `x`, without writing the codes."""
        n_latents, n_rows = self.config.n_latents, x.shape[-2]
        pre = self._pre_codes(x).view(-1, n_rows, n_latents)
        values, columns = [], []
        for index, member in enumerate(self.members):
            top = pre[index].topk(member.active, dim=-1, sorted=False)
            values.append(top.values.view(-1))
            columns.append(top.indices.view(-1).int() + index * n_latents)
        starts, rows = self._layout(n_rows, x.device)
        return kernels.Active(torch.cat(values).relu_(), torch.cat(columns), starts, rows)

    def _layout(self, n_rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return where each row's entries start, and the row of each entry: the same for every batch of a size."""
        key = (n_rows, device)
        if key not in self._layouts:
            per_row = torch.tensor([member.active for member in self.members], device=device)
            lengths = per_row.repeat_interleave(n_rows)
            starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            self._layouts = {
                key: (starts, torch.repeat_interleave(lengths)),
                **dict([*self._layouts.items()][:3]),
            }
        return self._layouts[key]


def keep_largest(z: Tensor, ks: list[int]) -> Tensor:
    """Set all but the k largest entries of each row of `z` to zero; one k for each member of a stack."""
    if len(set(ks)) == 1:
        top = z.topk(ks[0], dim=-1, sorted=False)
        return torch.zeros_like(z).scatter(-1, top.indices, top.values)
    return torch.stack([keep_largest(member, [k]) for member, k in zip(z, ks)])


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
