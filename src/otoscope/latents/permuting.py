"""What would be found by chance: the same numbers after labels or factors were dealt out anew, groups respected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

CHUNK = 256
"""Latents that are tested at a time, at most."""
_NUMBERS = 32_000_000
"""Of permuted columns that are in memory at a time."""

Null = Literal["within groups", "whole groups", "clips", "shifted in time"]
"""How labels or factors are dealt out anew. Within groups: each group keeps its own, in another order. Whole groups:
groups, whose label is one, swap it. Clips: all are dealt out, as each clip is its own group, or the group itself is
the label. Shifted in time: the moments of each clip are turned round by a random lag."""


def draw(null: Null, groups: np.ndarray, n_draws: int, *, seed: int) -> np.ndarray:
    """Return whose label each row gets, in each draw [draws, rows].

    Parameters
    ----------
    null : str
        See `Null`.
    groups : int [rows]
        The group of each row, from 0; for shifts in time the clip, whose rows follow each other.
    n_draws, seed : int
    """
    rng = np.random.default_rng(seed)
    n = len(groups)
    found = np.empty((n_draws, n), np.int32)
    by_group = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    first = np.cumsum(sizes) - sizes
    place = np.arange(n) - first[groups[by_group]]
    for number in range(n_draws):
        if null == "clips":
            found[number] = rng.permutation(n)
        elif null == "within groups":
            found[number, by_group] = np.lexsort((rng.random(n), groups))
        elif null == "whole groups":
            found[number] = by_group[first[rng.permutation(len(sizes))]][groups]
        else:
            lag = rng.integers(sizes)[groups[by_group]]
            there = first[groups[by_group]] + (place + lag) % sizes[groups[by_group]]
            found[number, by_group] = by_group[there]
    return found


@dataclass(frozen=True)
class Tested:
    """Linear statistics of latents and columns, beside what chance gives.

    Attributes
    ----------
    statistic, null95, z, p : float [latents, columns]
        The statistic; the 95th percentile of chance; how many standard deviations of chance it lies above its mean; the
        share of draws that reach it. Two-sided tests take absolute values.
    highest : float [draws]
        The highest z of any latent and column in each draw.
    """

    statistic: np.ndarray
    null95: np.ndarray
    z: np.ndarray
    p: np.ndarray
    highest: np.ndarray


def permutation_test(
    ranks: Iterator[np.ndarray], columns: np.ndarray, draws: np.ndarray, *, two_sided: bool
) -> Tested:
    """Test ``ranks.T @ columns`` against the same with the rows of `columns` dealt out anew.

    Parameters
    ----------
    ranks : iterator of [rows, some latents]
        Centred; all latents, a chunk at a time.
    columns : float [rows, columns]
        Centred, and scaled as the statistic wants it.
    draws : int [draws, rows]
        From `draw`.
    """
    turned = np.ascontiguousarray(columns.T, dtype=np.float32)
    n_draws, n = draws.shape
    per_pass = max(1, _NUMBERS // max(turned.size, 1))
    highest = np.full(n_draws, -np.inf)
    parts = []
    for chunk in ranks:
        x = np.ascontiguousarray(chunk, dtype=np.float32)
        statistic = (turned @ x).T
        null = np.empty((n_draws, x.shape[1], len(turned)), np.float32)
        for start in range(0, n_draws, per_pass):
            dealt = turned[:, draws[start : start + per_pass]]  # [columns, draws, rows]
            product = dealt.reshape(-1, n) @ x
            null[start : start + per_pass] = product.reshape(len(turned), -1, x.shape[1]).transpose(1, 2, 0)
        centre, spread = null.mean(0), null.std(0)
        spread = np.where(spread > 1e-9, spread, np.inf)
        z, chance = (statistic - centre) / spread, (null - centre) / spread
        if two_sided:
            z, chance, null = np.abs(z), np.abs(chance), np.abs(null)
        p = (1 + (chance >= z - 1e-6).sum(0)) / (1 + n_draws)
        highest = np.maximum(highest, chance.max(axis=(1, 2), initial=-np.inf))
        parts.append((statistic, np.quantile(null, 0.95, axis=0), z, p))
    statistic, null95, z, p = (np.concatenate(part) for part in zip(*parts))
    return Tested(statistic, null95, z, p, highest)


def corrected(z: np.ndarray, highest: np.ndarray, *, n_families: int = 1) -> np.ndarray:
    """Return p corrected for all latents and columns of a family, and for the number of families.

    Within a family it is the share of draws in which any latent and column reaches `z` (Westfall & Young 1993, max-T);
    between families Bonferroni's, so that one with heavy tails (rare labels) does not hide what another finds.
    """
    ordered = np.sort(highest)
    above = len(ordered) - np.searchsorted(ordered, z - 1e-6, side="left")
    return np.minimum(n_families * (1 + above) / (1 + len(ordered)), 1.0)
