"""Written-out gradients of the mean squared error, for kinds whose codes are linear where they are active.

With z = W x + b at the active latents and x_hat = V z (+ c), the error e = x_hat - x gives, for
G = 2 e / (rows * width): dV = z^T G, dz = G V^T at the active latents, dW = dz^T x, db = sum dz,
dc = sum G. Kinds whose encoder reads x - c add -(sum dz) W to dc. Tests hold all of it against autograd in float64.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from otoscope.saes import kernels
from otoscope.saes.kernels import Active, ByColumn


def sparse_wins(sae: Any) -> bool:
    """Whether products that touch only active latents are the faster ones."""
    on_cpu = sae.encoder_weight.device.type == "cpu"
    return on_cpu and sae.config.active < kernels.SPARSE_BELOW * sae.config.n_latents


def product(sae: Any, left: Tensor, right: Tensor) -> Tensor:
    """Multiply, with both factors rounded to bfloat16 where training asks for it."""
    if sae.half_products and sae.training:
        return (left.bfloat16() @ right.bfloat16()).to(left.dtype)
    return left @ right


def affine(sae: Any, x: Tensor) -> Tensor:
    """Return the encoder's output ``W x + b``."""
    weight, bias = sae.encoder_weight, sae.encoder_bias
    if weight.ndim == 2 and x.ndim == 2 and not sae.half_products:
        return torch.addmm(bias, x, weight.T)  # one pass over the codes less
    return product(sae, x, weight.mT).add_(bias.unsqueeze(-2))


def select_rows(pre: Tensor, ks: tuple[int, ...]) -> Active:
    """Find the ReLU'd k largest of each row of ``pre [..., rows, n_latents]``; one k for each member of a stack."""
    n_rows, n_latents = pre.shape[-2:]
    values, columns = [], []
    for index, (member, k) in enumerate(zip(pre.view(-1, n_rows, n_latents), ks, strict=True)):
        top = member.topk(k, dim=-1, sorted=False)
        values.append(top.values.view(-1))
        columns.append(top.indices.view(-1).int() + index * n_latents)
    starts, rows = _layout(ks, n_rows, pre.device)
    return Active(torch.cat(values).relu_(), torch.cat(columns), starts, rows)


def select_batch(pre: Tensor, n_kept: int) -> Active:
    """Find the ReLU'd `n_kept` largest entries over all rows of each member's ``pre [..., rows, n_latents]``."""
    n_rows, n_latents = pre.shape[-2:]
    members = pre.reshape(-1, n_rows * n_latents)
    index = members.topk(n_kept, dim=-1, sorted=False).indices
    index = (index + torch.arange(len(members), device=pre.device)[:, None] * n_rows * n_latents).view(-1)
    index = index.sort().values  # back into rows
    rows = index // n_latents
    counts = torch.bincount(rows, minlength=len(members) * n_rows)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    columns = index % n_latents + rows // n_rows * n_latents
    values = members.reshape(-1)[index].relu_()
    return Active(values, columns.int(), starts.int(), rows.int())


def sparse_reconstruct(sae: Any, active: Active, n_rows: int) -> Tensor:
    """Decode active entries: [..., rows, n_inputs]."""
    shape = sae.decoder_weight.shape
    reconstruction = kernels.decode(active, sae.decoder_weight.view(-1, shape[-1])).view(
        *shape[:-2], n_rows, shape[-1]
    )
    return reconstruction if sae.decoder_bias is None else reconstruction.add_(sae.decoder_bias.unsqueeze(-2))


def active_counts(sae: Any, active: Active) -> Tensor:
    """Return in how many rows each latent is active, [..., n_latents]."""
    shape = sae.encoder_bias.shape
    return torch.bincount(active.columns[active.values > 0], minlength=shape.numel()).view(shape)


def sparse_backward(sae: Any, active: Active, x: Tensor, encoded: Tensor) -> Tensor:
    """Set all gradients from the active entries and return the mean squared error; `encoded` is what W multiplies."""
    shape, width = sae.decoder_weight.shape, x.shape[-1]
    decoder = sae.decoder_weight.view(-1, width)
    error = sparse_reconstruct(sae, active, x.shape[-2]).sub_(x)
    mse = _scale_error(error)
    _bias_gradient(sae, error)
    error = error.view(-1, width)
    by_column = ByColumn(active, decoder.shape[0])
    d_pre = by_column.sort(kernels.code_gradient(active, error, decoder).mul_(active.values > 0))
    sae.decoder_weight.grad = by_column.outer(by_column.sort(active.values), error).view(shape)
    sae.encoder_weight.grad = by_column.outer(d_pre, encoded.reshape(-1, width)).view(shape)
    sae.encoder_bias.grad = by_column.total(d_pre).view(shape[:-1])
    _pre_bias_gradient(sae)
    return mse


def dense_backward(sae: Any, z: Tensor, x: Tensor, encoded: Tensor) -> Tensor:
    """Like :func:`sparse_backward`, from whole codes ``z [..., rows, n_latents]``."""
    error = product(sae, z, sae.decoder_weight)
    if sae.decoder_bias is not None:
        error = error.add_(sae.decoder_bias.unsqueeze(-2))
    error = error.sub_(x)
    mse = _scale_error(error)
    _bias_gradient(sae, error)
    d_pre = product(sae, error, sae.decoder_weight.mT).mul_(z > 0)
    sae.decoder_weight.grad = product(sae, z.mT, error)
    sae.encoder_weight.grad = product(sae, d_pre.mT, encoded)
    sae.encoder_bias.grad = d_pre.sum(-2)
    _pre_bias_gradient(sae)
    return mse


def _scale_error(error: Tensor) -> Tensor:
    """Turn the error into the gradient of its mean square, in place, and return that mean square."""
    n_values = error.shape[-2] * error.shape[-1]
    mse = torch.linalg.vector_norm(error, dim=(-2, -1)).square() / n_values  # makes no copy
    error.mul_(2 / n_values)
    return mse


def _bias_gradient(sae: Any, error: Tensor) -> None:
    if sae.decoder_bias is not None:
        sae.decoder_bias.grad = error.sum(-2)


def _pre_bias_gradient(sae: Any) -> None:
    if getattr(sae, "subtracts_bias", False):
        sae.decoder_bias.grad -= (sae.encoder_bias.grad.unsqueeze(-2) @ sae.encoder_weight).squeeze(-2)


@lru_cache(maxsize=16)
def _layout(ks: tuple[int, ...], n_rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where each row's entries start, and each entry's row: the same for all batches of a size."""
    lengths = torch.tensor(ks, device=device).repeat_interleave(n_rows)
    starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return starts.int(), torch.repeat_interleave(lengths).int()
