"""DCI scores of an importance matrix (Eastwood & Williams 2018, section 3), and the effective number of dimensions.

An importance matrix R is [latents, factors], not negative: how much latent i matters for factor j.
"""

from __future__ import annotations

import numpy as np


def completeness(importance: np.ndarray, *, base: int | None = None, empty: float = np.nan) -> np.ndarray:
    """Return how few latents hold each factor: ``1 - H(p) / log(base)``, ``p = R[:, j] / sum R[:, j]``.

    1: a single latent; 0: as many of them, all alike, as `base` says. Divided by the log of its own width, as
    published, a wide code scores higher with the same latents in use (20 equal ones of 768: 0.549, of 2,048:
    0.607): representations are comparable on one base only. `effective_dims` needs none.

    Parameters
    ----------
    importance : np.ndarray [latents, factors]
    base : int, optional
        How many dimensions would be none at all; default: the number of latents.
    empty : float
        The score of a factor that no latent holds. The published code gives 1.0; nothing is complete about
        it, so NaN here.

    Returns
    -------
    np.ndarray [factors]

    Examples
    --------
    >>> import numpy as np
    >>> completeness(np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])).round(6) + 0  # a latent each; alike in all
    array([1., 0.])
    """
    entropy = _entropy(importance)
    base = len(importance) if base is None else base
    scores = 1 - entropy / np.log(base) if base > 1 else np.ones(importance.shape[1])
    return np.where(np.isnan(entropy), empty, scores)


def effective_dims(importance: np.ndarray) -> np.ndarray:
    """Return the effective number of latents of each factor, ``exp(H(p))`` [factors]: 1 to latents; NaN where none.

    Examples
    --------
    >>> import numpy as np
    >>> effective_dims(np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])).round(6)
    array([1., 3.])
    """
    return np.exp(_entropy(importance))


def disentanglement(importance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how few factors each latent holds, ``1 - H(R[i] / sum R[i]) / log(factors)``, and its weight.

    Returns
    -------
    scores : np.ndarray [latents]
        NaN for a latent that holds nothing.
    weights : np.ndarray [latents]
        Share of all importance, summing to 1. The score of the whole code is ``sum(weights * scores)``.
    """
    total = importance.sum()
    weights = importance.sum(axis=1) / total if total > 0 else np.zeros(len(importance))
    return completeness(importance.T), weights


def weighted_mean(scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean of the ``scores [n]`` that are not NaN, by ``weights [n]``; NaN if there is none."""
    there = ~np.isnan(scores) & (weights > 0)
    return float(np.average(scores[there], weights=weights[there])) if there.any() else float("nan")


def _entropy(importance: np.ndarray) -> np.ndarray:
    """Entropy in nats of each column; NaN for a column of zeros."""
    importance = np.asarray(importance, dtype=np.float64)
    total = importance.sum(axis=0)
    p = np.divide(importance, total, out=np.zeros_like(importance), where=total > 0)
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=0)
    return np.where(total > 0, np.maximum(entropy, 0.0), np.nan)
