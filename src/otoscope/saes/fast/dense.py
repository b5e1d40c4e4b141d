"""A step with dense products: the gradients of the error of ``x_hat = V select(ReLU(W x + b))``, written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def product(left: Tensor, right: Tensor, half: bool = False) -> Tensor:
    """Multiply [n, k] by [k, m], with both factors rounded to bfloat16 where `half` asks for it."""
    if half:
        return (left.bfloat16() @ right.bfloat16()).to(left.dtype)
    return left @ right


def affine(sae: Any, x: Tensor, half: bool = False) -> Tensor:
    """Return the encoder's output ``W x + b``, [..., rows, n_latents]."""
    weight, bias = sae.encoder_weight, sae.encoder_bias
    if weight.ndim == 2 and x.ndim == 2 and not half:
        return torch.addmm(bias, x, weight.T)  # one pass over the codes less
    return product(x, weight.mT, half).add_(bias.unsqueeze(-2))


@torch.no_grad()
def backward(sae: Any, x: Tensor, half: bool = False) -> tuple[Tensor, Tensor]:
    """Set all gradients for the rows ``x [rows, n_inputs]``.

    Returns
    -------
    mse : [...]
        Mean squared error.
    z : [..., rows, n_latents]
        The codes.
    """
    z = sae.selection.keep(affine(sae, x, half).relu())
    error = product(z, sae.decoder_weight, half)
    if sae.decoder_bias is not None:
        error = error.add_(sae.decoder_bias.unsqueeze(-2))
    error = error.sub_(x)
    n_values = error.shape[-2] * error.shape[-1]
    mse = torch.linalg.vector_norm(error, dim=(-2, -1)).square() / n_values  # makes no copy
    error.mul_(2 / n_values)
    d_pre = product(error, sae.decoder_weight.mT, half).mul_(z > 0)
    sae.decoder_weight.grad = product(z.mT, error, half)
    sae.encoder_weight.grad = product(d_pre.mT, x, half)
    sae.encoder_bias.grad = d_pre.sum(-2)
    if sae.decoder_bias is not None:
        sae.decoder_bias.grad = error.sum(-2)
    return mse, z
