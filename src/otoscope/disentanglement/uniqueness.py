"""Is the Lasso solution the only one? Codes that fire for one clip alone are equal once standardised.

All solutions have the same fit and the same correlations with the residual, and live on the columns whose
correlation is as large as the penalty (the equicorrelation set). If these columns are linearly independent
the solution is unique (Tibshirani 2013, "The lasso problem and uniqueness", lemma 2); each dependence among
them is a direction along which weights may move, and completeness with them.
"""

from __future__ import annotations

import numpy as np

from otoscope.disentanglement import scores

_CORRELATION_TOL = 1e-4  # of the penalty: the solver stops near the optimum, not on it
_RANK_TOL = 1e-8  # of the largest eigenvalue
_EQUAL = 1 - 1e-9  # correlation of columns that are the same


def free_directions(gram: np.ndarray, xy: np.ndarray, coefs: np.ndarray, alpha: float) -> int:
    """Return by how many directions the solution for one factor may move: 0 means that it is the only one.

    Parameters
    ----------
    gram : np.ndarray [latents, latents]
        ``X'X / n`` of standardised codes.
    xy : np.ndarray [latents]
        ``X'y / n``.
    coefs : np.ndarray [latents]
        A solution.
    alpha : float
        Its penalty.
    """
    members = _equicorrelation_set(gram, xy, coefs, alpha)
    if len(members) < 2:
        return 0
    values = np.linalg.eigvalsh(gram[np.ix_(members, members)])
    return int((values <= _RANK_TOL * values[-1]).sum())


def completeness_range(
    gram: np.ndarray, xy: np.ndarray, coefs: np.ndarray, alpha: float
) -> tuple[float, float]:
    """Return the completeness if equal columns share their weight evenly, and if one takes it all (``coefs [p]``).

    Both are solutions, as good as `coefs`; solvers differ in which they return. Other dependences than
    equality can widen the range further.
    """
    members = _equicorrelation_set(gram, xy, coefs, alpha)
    spread, gathered = np.zeros(len(coefs)), np.zeros(len(coefs))
    left = list(members)
    while left:
        first = left[0]
        scale = np.sqrt(gram[first, first] * np.diag(gram)[left])
        same = [j for j, s in zip(left, scale) if abs(gram[first, j]) >= _EQUAL * s]
        left = [j for j in left if j not in same]
        total = np.abs(coefs[same]).sum()
        spread[same] = total / len(same)
        gathered[first] = total
    low, high = scores.completeness(np.column_stack([spread, gathered]))
    return float(low), float(high)


def _equicorrelation_set(gram: np.ndarray, xy: np.ndarray, coefs: np.ndarray, alpha: float) -> np.ndarray:
    active = np.flatnonzero(coefs)
    slope = xy - coefs[active] @ gram[active]
    return np.flatnonzero((coefs != 0) | (np.abs(slope) >= alpha * (1 - _CORRELATION_TOL)))
