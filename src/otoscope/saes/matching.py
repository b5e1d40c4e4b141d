"""Do dictionaries of different seeds hold the same latents?

Atoms of two dictionaries are matched one to one so that the sum of their cosines is largest (the Hungarian method).
The mean |cosine| of the best matching of absolute values is the PW-MCC of Song et al., "Mechanistic Interpretability
Should Prioritize Feature Consistency in SAEs" (2025). What an untrained dictionary, or one trained on permuted
activations, reaches is what it has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.errors import InputError

if TYPE_CHECKING:
    from otoscope.saes.base import SparseAutoencoder

RECURS = (0.7, 0.9)
"""Cosines above which a latent is said to recur in the other dictionary."""


@dataclass(frozen=True)
class Stability:
    """What :func:`stability` finds."""

    pairs: pd.DataFrame
    """A row per pair: seed, other_seed, n_matched, pw_mcc, matched_cosine, recurring_0.7, recurring_0.9 (shares of the
    matched latents), and max_cosine (mean over latents of the highest cosine with any of the other's)."""
    latents: pd.DataFrame
    """A row per dictionary and living latent: seed, latent, matched_cosine (mean over the other dictionaries; a latent
    left over where the other has fewer counts 0), recurring_0.7, recurring_0.9 (shares of them)."""

    @property
    def summary(self) -> dict[str, float]:
        """Means over the pairs."""
        kept = [name for name in self.pairs if name not in ("seed", "other_seed")]
        return {name: float(self.pairs[name].mean()) for name in kept}


def stability(
    saes: Sequence[SparseAutoencoder],
    *,
    alive: Sequence[np.ndarray] | None = None,
    scale: np.ndarray | None = None,
) -> Stability:
    """Match the atoms of autoencoders that differ in their seed, pair by pair.

    Parameters
    ----------
    saes
        Two or more of one layer.
    alive : [n_latents] of bool each, optional
        Which latents to match: those that ever fire. All by default; dead ones keep what they started from.
    scale : [n_inputs], optional
        Standard deviation of each dimension, by which atoms are divided before they are compared: where one dimension
        is far larger than the others, all atoms point along it. Default: what the first autoencoder was trained with,
        if its notes have it (``about["training"]["scale"]``), else none.

    Raises
    ------
    InputError
        If there are fewer than two autoencoders, or they read different widths.
    """
    if len(saes) < 2:
        raise InputError(f"stability compares two or more autoencoders, got {len(saes)}")
    widths = sorted({sae.n_inputs for sae in saes})
    if len(widths) > 1:
        raise InputError(f"stability compares autoencoders of one layer, got widths {widths}")
    if alive is not None and len(alive) != len(saes):
        raise InputError(f"alive has {len(alive)} masks for {len(saes)} autoencoders")
    if scale is None:
        scale = saes[0].about.get("training", {}).get("scale")
    kept = [np.flatnonzero(mask) for mask in alive] if alive is not None else None
    kept = kept or [np.arange(sae.n_latents) for sae in saes]
    atoms = [unit_atoms(sae, chosen, scale) for sae, chosen in zip(saes, kept)]
    if not all(map(len, atoms)):
        raise InputError("an autoencoder has no living latent: there is nothing to match")
    pairs = []
    cosines = [np.zeros((len(chosen), len(saes) - 1)) for chosen in kept]
    for first, second in combinations(range(len(saes)), 2):
        between = atoms[first] @ atoms[second].T
        rows, columns = _match(between)
        matched = between[rows, columns]
        cosines[first][rows, second - 1] = matched
        cosines[second][columns, first] = matched
        pairs.append(
            {"seed": saes[first].seed, "other_seed": saes[second].seed, "n_matched": len(rows)}
            | _measure(between, matched)
        )
    latents = [
        pd.DataFrame(
            {"seed": sae.seed, "latent": chosen, "matched_cosine": values.mean(1)}
            | {f"recurring_{level:g}": (values > level).mean(1) for level in RECURS}
        )
        for sae, chosen, values in zip(saes, kept, cosines)
    ]
    return Stability(pd.DataFrame(pairs), pd.concat(latents, ignore_index=True))


def _measure(between: np.ndarray, matched: np.ndarray) -> dict[str, float]:
    absolute = np.abs(between)
    return {
        "pw_mcc": float(absolute[_match(absolute)].mean()),
        "matched_cosine": float(matched.mean()),
        **{f"recurring_{level:g}": float((matched > level).mean()) for level in RECURS},
        "max_cosine": float((between.max(1).mean() + between.max(0).mean()) / 2),
    }


def _match(between: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(between, maximize=True)


def unit_atoms(sae: SparseAutoencoder, kept: np.ndarray | slice, scale: np.ndarray | None) -> np.ndarray:
    """Return the decoder's rows of the `kept` latents at norm 1, [kept, n_inputs]."""
    atoms = getattr(sae, "decoder_weight", None)
    if atoms is None:
        raise InputError(f"kind '{sae.config.kind}' has no decoder_weight [n_latents, n_inputs] to compare")
    rows = atoms.detach().cpu().double().numpy()[kept]
    if scale is not None:
        rows = rows / np.asarray(scale, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
