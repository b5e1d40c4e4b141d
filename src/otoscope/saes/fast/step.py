"""A training step and a reconstruction, each the fastest way that is right for the kind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otoscope.compute import Lanes
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.fast import dense
from otoscope.saes.fast.adam import Adam

SPARSE_BELOW, SPARSE_BELOW_BF16 = 0.4, 0.25
"""Shares of active latents below which `otoscope.saes.fast.sparse` is faster than dense products on a CPU.

Measured by ``benchmarks/saes.py crossover``. On a GPU dense products run on matrix units and are kept.
"""


def train_step(
    sae: SparseAutoencoder,
    x: Tensor,
    optimiser: Adam,
    lr: float,
    lanes: Lanes,
    *,
    progress: float = 1.0,
    half: bool = False,
    frozen: Sequence[str] = (),
) -> Tensor:
    """Take a whole step on the rows ``x [rows, n_inputs]`` and return the mean squared error.

    Parameters
    ----------
    sae
        An autoencoder or a stack, in train mode.
    x : [rows, n_inputs]
    optimiser, lr
        Holds all parameters of `sae`.
    lanes
        Cores that may share the work.
    progress
        Share of training that is done.
    half
        Compute products in bfloat16.
    frozen
        Names of parameters that stay as they are.
    """
    if sparse_wins(sae, half) and not frozen and not sae.needs_autograd(len(x)):
        from otoscope.saes.fast import sparse

        step = sparse.train_step(sae, x, optimiser, lr, lanes, half=half)
        sae.note_active(step.n_active > 0, step.smallest, len(x))
        return step.mse
    mse = backward(sae, x, progress=progress, half=half)
    sae.adjust_gradients()
    for name in frozen:
        sae.get_parameter(name).grad = None
    optimiser.step(lr)
    sae.after_step()
    return mse


def backward(sae: SparseAutoencoder, x: Tensor, *, progress: float = 1.0, half: bool = False) -> Tensor:
    """Fill every parameter's ``.grad`` for one step on ``x [rows, features]`` and return the mean squared error."""
    plain = sae.selection.by == "row" and not getattr(sae, "subtracts_bias", False)
    if plain and in_closed_form(sae) and not sae.needs_autograd(len(x)):
        mse, z = dense.backward(sae, x, half)
        sae.note_active((z != 0).any(-2), None, len(x))
        return mse
    for parameter in sae.parameters():
        parameter.grad = None
    with torch.enable_grad():
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            loss = sae.loss(x, progress)
        loss.total.sum().backward()
    return loss.mse.detach()


def reconstruct(sae: SparseAutoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reconstruction of ``x [rows, n_inputs]`` and, for each latent, in how many rows it is active."""
    if sae.selection.by == "row" and sparse_wins(sae):
        from otoscope.saes.fast import sparse

        return sparse.reconstruct(sae, x)
    z = sae.encode(x)
    return sae.decode(z), (z != 0).sum(-2)


def sparse_wins(sae: SparseAutoencoder, half: bool = False) -> bool:
    """Whether work on the active latents alone is right for this kind, and faster than dense products."""
    if not in_closed_form(sae) or sae.get_parameter("encoder_weight").device.type != "cpu":
        return False
    return max(sae.selection.ks) < (SPARSE_BELOW_BF16 if half else SPARSE_BELOW) * sae.n_latents


def in_closed_form(sae: SparseAutoencoder) -> bool:
    """Whether its class itself says so: what a subclass inherits may not hold for what it changed."""
    return vars(type(sae)).get("closed_form", False)
