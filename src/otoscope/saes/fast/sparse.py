"""Training steps and reconstructions that touch only the active latents: the fast path of the TopK kinds on a CPU.

With z = W x + b at the active latents and x_hat = V z (+ c), the error e = x_hat - x gives, for
G = 2 e / (rows * width): dV = z^T G, dz = G V^T at the active latents, dW = dz^T x, db = sum dz,
dc = sum G. Kinds whose encoder reads x - c add -(sum dz) W to dc. Tests hold all of it against autograd in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from otoscope.compute import Lanes, one_core
from otoscope.saes.fast import kernels
from otoscope.saes.fast.adam import Adam
from otoscope.saes.fast.dense import affine, product
from otoscope.saes.fast.kernels import Active


class Step(NamedTuple):
    """What a training step tells; a value for each member where weights are stacked."""

    mse: Tensor
    n_active: Tensor
    """[..., n_latents]: in how many rows each latent was active."""
    smallest: Tensor | None
    """[...]: the smallest active code, infinity where there is none; only where a whole batch selects."""


@torch.no_grad()
@one_core()
def train_step(sae: Any, x: Tensor, optimiser: Adam, lr: float, lanes: Lanes, *, half: bool = False) -> Step:
    """Take a step of Adam on the mean squared error of the rows `x`.

    Parameters
    ----------
    sae
        An autoencoder, or a stack, whose class says `closed_form` and whose `selection` is per row or per batch, with
        ``encoder_weight`` and ``decoder_weight`` [..., n_latents, n_inputs],
        ``encoder_bias``, ``decoder_bias`` or None; ``subtracts_bias`` where the encoder reads ``x - decoder_bias``,
        ``unit_norm`` where atoms keep norm 1.
    x : [rows, n_inputs]
    optimiser, lr
        Holds all parameters of `sae`.
    lanes
        Cores that share the work.
    half
        Compute the encoder's products in bfloat16.
    """
    x = x.contiguous()
    read = _encoder_input(sae, x)
    pre = _encode(sae, read, lanes, half)
    active, error, squares = _code(sae, pre, x, lanes)
    n_active = _update(sae, active, error, read, optimiser, lr, lanes)
    mse = squares.reshape(-1, len(x)).sum(1) / x.numel()
    shape = sae.encoder_bias.shape
    least = None
    if sae.selection.by == "batch":
        least = x.new_tensor(smallest(active, len(x))).view(shape[:-1])
    return Step(torch.from_numpy(mse).view(shape[:-1]), torch.from_numpy(n_active).view(shape), least)


@torch.no_grad()
def reconstruct(sae: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reconstruction of ``x [rows, n_inputs]`` and, for each latent, in how many rows it is active."""
    shape, n_rows = sae.decoder_weight.shape, x.shape[-2]
    pre = affine(sae, _encoder_input(sae, x)).view(-1, shape[-2]).numpy()
    active = _room(sae.selection.ks, n_rows, pre)
    kernels.select_rows(*_with_bits(pre), n_rows, active, 0, len(pre))
    reconstruction, squares = np.empty((len(pre), shape[-1]), pre.dtype), np.empty(len(pre), pre.dtype)
    decoder, nothing = sae.decoder_weight.view(-1, shape[-1]).numpy(), np.zeros((1, shape[-1]), pre.dtype)
    kernels.decode(active, decoder, _decoder_bias(sae), nothing, reconstruction, squares, 0, len(pre))
    counts = torch.from_numpy(kernels.count(active, len(decoder)))
    return torch.from_numpy(reconstruction).view(*shape[:-2], n_rows, shape[-1]), counts.view(shape[:-1])


def smallest(active: Active, n_rows: int) -> list[float]:
    """Return the smallest code of each member, infinity where none is active; for codes of whole batches."""
    parts = [active.values[first:last] for first, last in pairwise(active.starts[::n_rows])]
    return [float(part.min(initial=np.inf)) for part in parts]


def _encoder_input(sae: Any, x: Tensor) -> Tensor:
    return x - sae.decoder_bias.unsqueeze(-2) if getattr(sae, "subtracts_bias", False) else x


def _encode(sae: Any, x: Tensor, lanes: Lanes, half: bool) -> np.ndarray:
    """Return the encoder's output, [members * rows, n_latents]; each lane computes some latents."""
    weight, bias = sae.encoder_weight.detach(), sae.encoder_bias.detach()
    pre = x.new_empty((*weight.shape[:-2], x.shape[-2], weight.shape[-2]))

    def encode(first: int, last: int) -> None:
        part, offset = weight[..., first:last, :], bias[..., first:last].unsqueeze(-2)
        if weight.ndim == 2 and not half:
            torch.addmm(offset, x, part.T, out=pre[:, first:last])
        else:
            torch.add(product(x, part.mT, half), offset, out=pre[..., first:last])

    lanes(encode, weight.shape[-2])
    return pre.view(-1, weight.shape[-2]).numpy()


def _code(sae: Any, pre: np.ndarray, x: Tensor, lanes: Lanes) -> tuple[Active, np.ndarray, np.ndarray]:
    """Return the active entries, the error of the reconstruction, [members * rows, n_inputs], and its squares' sums."""
    (n_rows, width), n_latents = x.shape, pre.shape[1]
    active = _room(sae.selection.ks, n_rows, pre)
    whole_batch = sae.selection.by == "batch"
    if whole_batch:
        for index, first in enumerate(range(0, len(pre), n_rows)):
            n_kept = sae.selection.ks[index] * n_rows
            kernels.select_batch(*_with_bits(pre), index * n_latents, n_kept, active, first, first + n_rows)
    error, squares = np.empty((len(pre), width), pre.dtype), np.empty(len(pre), pre.dtype)
    rows, bias, decoder = x.numpy(), _decoder_bias(sae), sae.decoder_weight.view(-1, width).numpy()

    def code(first: int, last: int) -> None:
        if not whole_batch:
            kernels.select_rows(*_with_bits(pre), n_rows, active, first, last)
        kernels.decode(active, decoder, bias, rows, error, squares, first, last)

    lanes(code, len(pre))
    return active, error, squares


def _update(
    sae: Any, active: Active, error: np.ndarray, read: Tensor, optimiser: Adam, lr: float, lanes: Lanes
) -> np.ndarray:
    """Take the weights and the optimiser through a step; return in how many rows each latent was active."""
    width = error.shape[1]
    encoder, decoder = optimiser.matrix("encoder_weight"), optimiser.matrix("decoder_weight")
    inputs, rates = read.reshape(-1, width).numpy(), optimiser.next_rates(lr)
    scale = error.dtype.type(2 * len(sae.selection.ks) / error.size)  # each member's mean is its own
    flags = (bool(getattr(sae, "unit_norm", False)), bool(getattr(sae, "subtracts_bias", False)))
    n_active, d_bias = np.empty(len(decoder.value), np.int64), np.empty(len(decoder.value), error.dtype)

    def update(first: int, last: int) -> np.ndarray:
        d_input = np.zeros((len(sae.selection.ks), width), error.dtype)
        kernels.update(
            active,
            error,
            inputs,
            encoder,
            decoder,
            rates,
            scale,
            flags,
            n_active,
            d_bias,
            d_input,
            first,
            last,
        )
        return d_input

    d_input = lanes(update, len(decoder.value))
    sae.encoder_bias.grad = torch.from_numpy(d_bias).view(sae.encoder_bias.shape)
    if sae.decoder_bias is not None:
        d_decoder_bias = scale * error.reshape(len(sae.selection.ks), -1, width).sum(1) - sum(d_input)
        sae.decoder_bias.grad = torch.from_numpy(d_decoder_bias).view(sae.decoder_bias.shape)
    optimiser.step(lr)  # of the biases; the kernels have moved the matrices
    return n_active


def _decoder_bias(sae: Any) -> np.ndarray:
    """Return each member's decoder bias, [members, n_inputs]; zeros where the kind has none."""
    if sae.decoder_bias is None:
        return sae.decoder_weight.new_zeros(len(sae.selection.ks), sae.n_inputs).numpy()
    return sae.decoder_bias.detach().view(-1, sae.n_inputs).numpy()


def _room(ks: Sequence[int], n_rows: int, pre: np.ndarray) -> Active:
    """Return room for k active entries in each of the `n_rows` rows of every member."""
    starts = np.concatenate([[0], np.repeat(ks, n_rows).cumsum()])
    return Active(np.empty(starts[-1], pre.dtype), np.empty(starts[-1], np.int32), starts, starts[1:].copy())


def _with_bits(pre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `pre`, and the same memory read as whole numbers."""
    return pre, pre.view(np.int32 if pre.dtype == np.float32 else np.int64)
