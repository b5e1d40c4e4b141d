"""Centre, scale or whiten activations in training, and fold that into the trained weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from otoscope.errors import InputError
from otoscope.saes.base import SparseAutoencoder, build_sae
from otoscope.saes.config import SAEConfig
from otoscope.saes.training.preflight import Moments, MomentTally, Preflight, divisors
from otoscope.saes.training.preflight import preflight as judge
from otoscope.saes.training.rows import Block, Layer

PART_ROWS = 4096
"""Rows of which there are copies in float64 at a time."""
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
    preflight: Preflight
    """What the rows looked like."""

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise rows ``x [rows, features]``, in float64, some thousand at a time."""
        mean, transform = self.mean.to(x.device), self.transform.to(x.device)
        scales = None if self._scales is None else self._scales.to(x.device)
        found = torch.empty_like(x)
        for part, into in zip(x.split(PART_ROWS), found.split(PART_ROWS)):
            centred = part.double() - mean
            into.copy_(centred @ transform if scales is None else centred * scales)
        return found

    @cached_property
    def _scales(self) -> Tensor | None:
        """The transform's diagonal [features], where it is nothing else: a product for each number, not a row."""
        scales = self.transform.diagonal()
        return scales if torch.equal(torch.diag(scales), self.transform) else None


def fit_normalisers(kind: str, blocks: Iterator[Block]) -> dict[Layer, Normaliser]:
    """Estimate a normaliser for each layer from all rows of `blocks`, in float64.

    Parameters
    ----------
    kind
        ``"auto"``: subtract the mean, divide by the median standard deviation, and bring dimensions of over 6 times
        it down to that (:func:`otoscope.saes.training.preflight.divisors`). ``"center"``: subtract the mean.
        ``"scale"``: divide by each dimension's standard deviation too.
        ``"whiten"``: rotate and scale to unit covariance (ZCA).
    """
    tallies: dict[Layer, MomentTally] = {}
    for block in blocks:
        for layer, rows in block.items():
            tallies.setdefault(layer, MomentTally()).add(rows.cpu().numpy())
    return {layer: _normaliser(kind, tally.moments()) for layer, tally in tallies.items()}


def with_decoder_bias(config: SAEConfig) -> SAEConfig:
    """Return a config whose decoder has a bias, where that is an option.

    Folding needs one in any case. Training needs it too: sparse features taken from their mean are a sum less a
    constant, and a decoder without a bias spends a latent on the constant that is on in every row.
    """
    return dataclasses.replace(config, decoder_bias=True) if hasattr(config, "decoder_bias") else config  # type: ignore[call-arg]


def can_fold(config: SAEConfig) -> bool:
    """Whether :func:`fold` knows how to fold a normalisation into autoencoders of this config."""
    from otoscope.saes.base import build_sae

    sae = build_sae(with_decoder_bias(config), 2, seed=0)
    return hasattr(sae, "decoder_bias") and hasattr(sae, "encoder_weight")


def check_foldable(sae: SparseAutoencoder) -> None:
    """Raise InputError if :func:`fold` does not know how to fold a normalisation into this kind."""
    if not hasattr(sae, "decoder_bias") or not hasattr(sae, "encoder_weight"):
        raise InputError(
            f"kind '{sae.config.kind}' cannot fold a normalisation: train it with normalise=\"none\""
        )


@torch.no_grad()
def fold(sae: SparseAutoencoder, normaliser: Normaliser) -> SparseAutoencoder:
    """Return an autoencoder of raw activations that does what `sae` does on normalised ones.

    Codes are the same; the decoder's rows become directions in the raw space (no longer of norm 1), and a decoder
    bias takes up the mean, also where the config has none.
    """
    check_foldable(sae)
    config = with_decoder_bias(sae.config)
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


def _normaliser(kind: str, found: Moments) -> Normaliser:
    mean, covariance = torch.from_numpy(found.mean), torch.from_numpy(found.covariance)
    width = len(mean)
    identity = torch.eye(width, dtype=torch.float64)
    preflight = judge(found)
    if kind == "center":
        return Normaliser(mean, identity, identity, preflight)
    if kind == "auto":
        deviations = torch.from_numpy(divisors(found))
        return Normaliser(mean, torch.diag(1 / deviations), torch.diag(deviations), preflight)
    floor = SHRINK * float(covariance.diagonal().mean())
    if floor <= 0:
        raise InputError("all rows are equal: there is nothing to scale by")
    if kind == "whiten":
        values, vectors = torch.linalg.eigh(covariance)
        deviations = (values.clamp_min(0) + floor).sqrt()
        forth, back = (vectors / deviations) @ vectors.T, (vectors * deviations) @ vectors.T
        return Normaliser(mean, forth, back, preflight)
    deviations = (covariance.diagonal() + floor).sqrt()
    return Normaliser(mean, torch.diag(1 / deviations), torch.diag(deviations), preflight)
