"""Which latents are near each other, by where they point and when they fire; and which recur in other dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

NEAREST = 10
"""Neighbours of a latent in the table."""
_CHUNK = 512


def neighbours(
    atoms: np.ndarray | None, sample: sparse.csr_matrix, alive: np.ndarray, *, n: int = NEAREST
) -> pd.DataFrame:
    """Return the latents nearest to each living one: half of them by cosine, the rest by how often both fire.

    Parameters
    ----------
    atoms : float [latents, inputs], optional
        Where latents point, at norm 1; None where a dictionary has no such thing.
    sample : sparse [sampled rows, latents]
        Codes.
    alive : bool [latents]
        Dead latents are nobody's neighbours.

    Returns
    -------
    DataFrame
        ``latent, other, cosine, cofiring``, at most `n` a latent, nearest first. `cofiring` is the share of the sampled
        rows with either in which both are active.
    """
    on = (sample > 0).astype(np.float32).tocsc()
    counts = np.asarray(on.sum(0)).ravel()
    living = np.flatnonzero(alive)
    tables = []
    for start in range(0, len(living), _CHUNK):
        chunk = living[start : start + _CHUNK]
        both = np.asarray((on[:, chunk].T @ on).todense())
        either = counts[chunk, None] + counts - both
        together = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        cosine = np.full(together.shape, np.nan) if atoms is None else atoms[chunk] @ atoms.T
        for table in (together, cosine):
            table[:, ~alive] = -np.inf
            table[np.arange(len(chunk)), chunk] = -np.inf
        tables.append(_nearest(chunk, cosine, together, min(n, len(living) - 1)))
    columns = ["latent", "other", "cosine", "cofiring"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def recurrence(atoms: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Return how near the nearest atom of other dictionaries is to each, the mean over them [latents].

    Parameters
    ----------
    atoms : float [latents, inputs]
        At norm 1.
    others : sequence of float [other latents, inputs]
        Of the same layer, other seeds; at norm 1. Without any, NaN.
    """
    if not others:
        return np.full(len(atoms), np.nan)
    best = np.zeros(len(atoms))
    for other in others:
        for start in range(0, len(atoms), _CHUNK):
            best[start : start + _CHUNK] += (atoms[start : start + _CHUNK] @ other.T).max(1)
    return best / len(others)


def _nearest(chunk: np.ndarray, cosine: np.ndarray, together: np.ndarray, n: int) -> pd.DataFrame:
    """Return the first half by cosine and the rest by co-firing, without doubles."""
    rows = np.arange(len(chunk))[:, None]
    if np.isnan(cosine).all():
        chosen = np.argsort(-together, axis=1, kind="stable")[:, :n]
    else:
        by_aim = np.argsort(-cosine, axis=1, kind="stable")[:, : (n + 1) // 2]
        later = together.copy()
        later[rows, by_aim] = -np.inf
        by_time = np.argsort(-later, axis=1, kind="stable")[:, : n - by_aim.shape[1]]
        chosen = np.concatenate([by_aim, by_time], axis=1)
    return pd.DataFrame(
        {
            "latent": np.repeat(chunk, chosen.shape[1]),
            "other": chosen.ravel(),
            "cosine": cosine[rows, chosen].ravel(),
            "cofiring": together[rows, chosen].ravel(),
        }
    )
