"""Centre, scale or whiten activations in training, and fold that into the trained weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.errors import InputError
from otoscope.saes.base import SparseAutoencoder, build_sae
from otoscope.saes.training.rows import Block, Layer

SHRINK = 1e-4
"""Variances are raised by this share of their mean, so that constant dimensions do not explode."""


@dataclass(frozen=True)
class Normaliser:
    """x' = (x - mean) @ transform, and x = x' @ inverse + mean."""

    mean: Tensor
    """[features]"""
    transform: Tensor
    """[features, features]"""
    inverse: Tensor
    """[features, features]"""

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise rows ``x [rows, features]``."""
        return ((x.double() - self.mean.to(x.device)) @ self.transform.to(x.device)).to(x.dtype)


def fit_normalisers(kind: str, blocks: Iterator[Block]) -> dict[Layer, Normaliser]:
    """Estimate a normaliser for each layer from all rows of `blocks`, in float64.

    Parameters
    ----------
    kind
        ``"center"``: subtract the mean. ``"scale"``: divide by each dimension's standard deviation too.
        ``"whiten"``: rotate and scale to unit covariance (ZCA).
    """
    sums: dict[Layer, tuple[int, Tensor, Tensor]] = {}
    for block in blocks:
        for layer, rows in block.items():
            rows = rows.double().cpu()
            n_rows, mean, scatter = sums.get(layer, (0, torch.zeros(()), torch.zeros(())))
            new = rows.mean(0)
            centred = rows - new
            total = n_rows + len(rows)
            gap = new - mean
            between = torch.outer(gap, gap) * (n_rows * len(rows) / total) if n_rows else 0.0
            sums[layer] = (total, mean + gap * len(rows) / total, scatter + centred.T @ centred + between)
    return {layer: _normaliser(kind, mean, scatter / n) for layer, (n, mean, scatter) in sums.items()}


@torch.no_grad()
def fold(sae: SparseAutoencoder, normaliser: Normaliser) -> SparseAutoencoder:
    """Return an autoencoder of raw activations that does what `sae` does on normalised ones.

    Codes are the same; the decoder's rows become directions in the raw space (no longer of norm 1), and a decoder
    bias takes up the mean, also where the kind has none.
    """
    config = sae.config
    if not hasattr(sae, "decoder_bias") or not hasattr(sae, "encoder_weight"):
        raise InputError(
            f"kind '{config.kind}' cannot fold a normalisation: train it with normalise=\"none\""
        )
    if sae.decoder_bias is None:
        config = dataclasses.replace(config, decoder_bias=True)
    weight = sae.get_parameter("encoder_weight")
    device, dtype, mean = weight.device, weight.dtype, normaliser.mean.cpu()
    transform, inverse = normaliser.transform.cpu(), normaliser.inverse.cpu()
    state = {name: value.cpu().clone() for name, value in sae.state_dict().items()}
    state["encoder_weight"] = (weight.double().cpu() @ transform.T).to(dtype)
    bias = state.get("decoder_bias", torch.zeros(sae.n_inputs))
    state["decoder_bias"] = (bias.double() @ inverse + mean).to(dtype)
    if not getattr(sae, "subtracts_bias", False):
        shift = state["encoder_weight"].double() @ mean
        state["encoder_bias"] = (state["encoder_bias"].double() - shift).to(dtype)
    for name in ("decoder_weight", "points", "relaxation"):
        if name in state:
            state[name] = (state[name].double() @ inverse).to(dtype)
    folded = build_sae(config, sae.n_inputs, seed=sae.seed).to(dtype=dtype)
    folded.load_state_dict(state)
    folded.layer, folded.history, folded.about = sae.layer, sae.history, sae.about
    return folded.to(device).eval()


def _normaliser(kind: str, mean: Tensor, covariance: Tensor) -> Normaliser:
    width = len(mean)
    identity = torch.eye(width, dtype=torch.float64)
    if kind == "center":
        return Normaliser(mean, identity, identity)
    floor = SHRINK * float(covariance.diagonal().mean())
    if floor <= 0:
        raise InputError("all rows are equal: there is nothing to scale by")
    if kind == "scale":
        deviations = (covariance.diagonal() + floor).sqrt()
        return Normaliser(mean, torch.diag(1 / deviations), torch.diag(deviations))
    values, vectors = torch.linalg.eigh(covariance)
    deviations = (values.clamp_min(0) + floor).sqrt()
    return Normaliser(mean, (vectors / deviations) @ vectors.T, (vectors * deviations) @ vectors.T)
