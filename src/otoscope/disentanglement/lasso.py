"""Many Lasso fits on one set of features: every factor, every penalty, from one Gram matrix.

Minimises, for each target y, scikit-learn's objective ``||y - X w||^2 / (2 n) + alpha ||w||_1``. The Gram matrix is
made once and shared by all factors, penalties and threads, and the folds of a cross-validation are differences of Gram
matrices: this is where the time is won over one solver call per factor (``benchmarks/lasso.py``).
"""

from __future__ import annotations

import numpy as np

from otoscope.compute import cpu_count, thread_map
from otoscope.disentanglement.coordinate_descent import solve, start
from otoscope.errors import InputError

TOL = 1e-7
MAX_SWEEPS = 10_000


def lasso_path(
    x: np.ndarray,
    y: np.ndarray,
    alphas: np.ndarray,
    *,
    tol: float = TOL,
    max_sweeps: int = MAX_SWEEPS,
    workers: int | None = None,
) -> np.ndarray:
    """Fit every target at every penalty; no intercept (centre `x` and `y` first).

    Parameters
    ----------
    x : np.ndarray [rows, features]
    y : np.ndarray [rows, targets]
    alphas : np.ndarray [penalties] or [targets, penalties]
        Above 0, shared by the targets or each its own. Results come in the order given; they are computed
        from the largest to the smallest.
    tol : float
        Stop when the duality gap is below this fraction of the objective.
    max_sweeps : int
        Give up on a (target, penalty) after so many passes over its working set.
    workers : int, optional
        Threads; default: as many as there are cores.

    Returns
    -------
    np.ndarray [targets, penalties, features], float64

    Raises
    ------
    InputError
        If shapes do not match or a penalty is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # orthogonal: coefficients shrink by alpha
    >>> lasso_path(x, 3 * x[:, :1], np.array([0.5, 4.0])).round(6)
    array([[[2.5, 0. ],
            [0. , 0. ]]])
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise InputError(f"expected x [rows, features] and y [rows, targets]; got {x.shape} and {y.shape}")
    n = len(x)
    return lasso_gram(
        x.T @ x / n, y.T @ x / n, (y**2).mean(axis=0), alphas, tol=tol, max_sweeps=max_sweeps, workers=workers
    )


def lasso_gram(
    gram: np.ndarray,
    xy: np.ndarray,
    yy: np.ndarray,
    alphas: np.ndarray,
    *,
    tol: float = TOL,
    max_sweeps: int = MAX_SWEEPS,
    workers: int | None = None,
) -> np.ndarray:
    """As `lasso_path`, from ``X'X/n [features, features]``, ``Y'X/n [targets, features]``, ``diag(Y'Y)/n``."""
    alphas = _checked(alphas, len(xy))
    order = np.argsort(-alphas, axis=1, kind="stable")
    gram, xy = _contiguous(gram), _contiguous(xy)
    coefs = np.zeros((*alphas.shape, len(gram)))

    def fit(target: int) -> None:
        state = start(xy[target])
        for a in order[target]:
            solve(gram, xy[target], float(yy[target]), alphas[target, a], tol, max_sweeps, state)
            coefs[target, a] = state[0]

    for _ in thread_map(fit, range(len(xy)), workers=workers or cpu_count()):
        pass
    return coefs


def lasso_held_out(
    gram: np.ndarray,
    xy: np.ndarray,
    yy: np.ndarray,
    alphas: np.ndarray,
    x_out: np.ndarray,
    y_out: np.ndarray,
    *,
    parts: np.ndarray | None = None,
    at_least: np.ndarray | None = None,
    patience: int = 2,
    tol: float = TOL,
    workers: int | None = None,
) -> np.ndarray:
    """Predict held-out rows along the path, and stop where they are predicted worse and worse.

    The weakest penalties take the longest, and for a target that cannot be predicted they only overfit: once
    `patience` penalties in a row do not improve on the best, the last prediction stands for the rest.

    Parameters
    ----------
    gram, xy, yy
        Of the training rows, as in `lasso_gram`.
    alphas : np.ndarray [penalties]
        Decreasing.
    x_out, y_out : np.ndarray [rows, features], [rows, targets]
        Held out, in the units of the training rows.
    parts : np.ndarray [rows], optional
        Numbers from 0: held-out rows of one part stop by themselves, and say nothing about when another stops.
    at_least : np.ndarray [targets], optional
        How many penalties must be fitted whatever the held-out rows say.
    patience, tol, workers
        See above, and `lasso_path`.

    Returns
    -------
    np.ndarray [targets, penalties, rows]
    """
    alphas = _checked(alphas, len(xy))
    if (np.diff(alphas, axis=1) >= 0).any():
        raise InputError(f"expected decreasing penalties; got {alphas[0]}")
    gram, xy = _contiguous(gram), _contiguous(xy)
    needed = np.zeros(len(xy), dtype=int) if at_least is None else at_least
    parts = np.zeros(len(x_out), dtype=int) if parts is None else parts
    predictions = np.empty((*alphas.shape, len(x_out)))

    def fit(target: int) -> None:
        state = start(xy[target])
        lowest, since = np.full(parts.max() + 1, np.inf), np.zeros(parts.max() + 1, dtype=int)
        for a, alpha in enumerate(alphas[target]):
            going = (since < patience) | (a < needed[target])
            if not going.any():
                predictions[target, a:] = predictions[target, a - 1]
                return
            solve(gram, xy[target], float(yy[target]), alpha, tol, MAX_SWEEPS, state)
            active = np.flatnonzero(state[0])
            found = x_out[:, active] @ state[0][active]
            predictions[target, a] = np.where(going[parts], found, predictions[target, a - 1])
            losses = np.bincount(parts, (y_out[:, target] - found) ** 2)
            since = np.where(going & (losses < lowest), 0, since + 1)
            lowest = np.minimum(losses, lowest)

    for _ in thread_map(fit, range(len(xy)), workers=workers or cpu_count()):
        pass
    return predictions


def _checked(alphas: np.ndarray, n_targets: int) -> np.ndarray:
    """Return the penalties as [targets, penalties]."""
    alphas = np.asarray(alphas, dtype=np.float64)
    if alphas.size == 0 or not (alphas > 0).all():
        raise InputError(f"Lasso penalties must be above 0; got {np.unique(alphas)}")
    return np.broadcast_to(alphas, (n_targets, alphas.shape[-1]))


def _contiguous(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float64)
