"""Products, and the written-out gradients of the mean squared error of a TopK autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SPARSE_BELOW, SPARSE_BELOW_BF16 = 0.4, 0.25
"""Shares of active latents below which `otoscope.saes.fast.sparse` is faster than dense products on a CPU.

Measured by ``benchmarks/saes.py crossover``. On a GPU dense products run on matrix units and are kept.
"""


def sparse_wins(sae: Any) -> bool:
    """Whether work on the active latents alone is right for this class, and faster than dense products."""
    if "train_step" not in vars(
        type(sae)
    ):  # a subclass may have changed any method that this work stands for
        return False
    on_cpu = sae.encoder_weight.device.type == "cpu"
    below = SPARSE_BELOW_BF16 if sae.half_products else SPARSE_BELOW
    return on_cpu and sae.config.active < below * sae.config.n_latents


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


def dense_backward(sae: Any, z: Tensor, x: Tensor) -> Tensor:
    """Set all gradients, given the codes ``z [..., rows, n_latents]`` of `x`, and return the mean squared error."""
    error = product(sae, z, sae.decoder_weight)
    if sae.decoder_bias is not None:
        error = error.add_(sae.decoder_bias.unsqueeze(-2))
    error = error.sub_(x)
    n_values = error.shape[-2] * error.shape[-1]
    mse = torch.linalg.vector_norm(error, dim=(-2, -1)).square() / n_values  # makes no copy
    error.mul_(2 / n_values)
    d_pre = product(sae, error, sae.decoder_weight.mT).mul_(z > 0)
    sae.decoder_weight.grad = product(sae, z.mT, error)
    sae.encoder_weight.grad = product(sae, d_pre.mT, x)
    sae.encoder_bias.grad = d_pre.sum(-2)
    if sae.decoder_bias is not None:
        sae.decoder_bias.grad = error.sum(-2)
    return mse
